// HTTP/1.1 over kept-alive sockets, as cheap as Node allows: it shares the cores with what it measures.
// One request is out per connection (the server refuses pipelining). A reply is read by its Content-Length; its status
// and the presence of a decision are all that is looked at. A lost connection is reported and opened again.
import { connect, type Socket } from 'node:net'

const REPLY_BYTES_MAX = 64 << 10
const REOPEN_MS = 5
const CLOSE = /\r\nconnection: *close/i
const LENGTH = /\r\ncontent-length: *(\d+)/i

export interface More {
  /** Only where asked for. */
  readonly body: string
  /** The server lets go of the connection: it takes no more requests, and is opened again. */
  readonly closes: boolean
}

export interface ClientListener {
  /** A whole reply on this connection. `decided`: the body carries a decision_id. */
  onReply(connection: number, status: number, decided: boolean, more: More): void
  /**
   * The connection was lost, or not opened; `busy`: with a request out, which gets no reply. `code`: of the socket's
   * error, if there was one. A new one is being opened.
   */
  onLost(connection: number, busy: boolean, code: string | null): void
  /** The connection is open again after a loss. */
  onOpen(connection: number): void
}

export interface Client {
  /** Writes a whole request; the bytes must stay as they are until the reply is there. */
  send(connection: number, bytes: Buffer): void
  close(): void
}

interface Line {
  socket: Socket
  busy: boolean
  held: Buffer
  heldBytes: number
}

export interface ClientOptions {
  readonly port: number
  readonly connections: number
  /** Hand whole bodies over as text, for checks; off where speed matters. */
  readonly bodies?: boolean
  /** Reopen lost connections; off for a server that is meant to die. */
  readonly reopen?: boolean
}

/** Opens all connections and resolves when they stand. */
export async function openClient(options: ClientOptions, listener: ClientListener): Promise<Client> {
  const lines: Line[] = []
  let closing = false

  function read(connection: number, line: Line, bytes: number, chunk: Uint8Array): void {
    line.held.set(chunk.subarray(0, bytes), line.heldBytes)
    line.heldBytes += bytes
    const text = line.held.toString('latin1', 0, line.heldBytes)
    const headEnd = text.indexOf('\r\n\r\n')
    if (headEnd === -1) return
    const length = LENGTH.exec(text)
    const bodyAt = headEnd + 4
    if (length === null || line.heldBytes < bodyAt + Number(length[1])) return
    line.heldBytes = 0
    line.busy = false
    const status = Number(text.slice(9, 12))
    const decided = text.indexOf('"decision_id":"d_', bodyAt) !== -1
    const body = options.bodies === true ? line.held.toString('utf8', bodyAt, bodyAt + Number(length[1])) : ''
    listener.onReply(connection, status, decided, { body, closes: CLOSE.test(text.slice(0, headEnd)) })
  }

  /** Resolves with whether the connection stands. */
  function open(connection: number): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({
        host: '127.0.0.1',
        port: options.port,
        noDelay: true,
        onread: {
          buffer: Buffer.allocUnsafe(REPLY_BYTES_MAX),
          callback: (bytes, chunk) => {
            read(connection, line, bytes, chunk)
            return true
          },
        },
      })
      const line: Line = { socket, busy: false, held: Buffer.allocUnsafe(2 * REPLY_BYTES_MAX), heldBytes: 0 }
      lines[connection] = line
      socket.once('connect', () => {
        resolve(true)
      })
      let code: string | null = null
      socket.on('error', (error: NodeJS.ErrnoException) => (code = error.code ?? error.message))
      socket.once('close', () => {
        resolve(false)
        if (closing) return
        listener.onLost(connection, line.busy, code)
        if (options.reopen !== false) setTimeout(reopen, REOPEN_MS, connection)
      })
    })
  }
  function reopen(connection: number): void {
    if (closing) return
    void open(connection).then((stands) => {
      if (stands) listener.onOpen(connection)
    })
  }

  await Promise.all(Array.from({ length: options.connections }, (_, connection) => open(connection)))
  return {
    send(connection, bytes) {
      const line = lines[connection]
      if (line === undefined) throw new RangeError(`connection ${connection}`)
      line.busy = true
      line.socket.write(bytes)
    },
    close() {
      closing = true
      for (const line of lines) line.socket.destroy()
    },
  }
}
