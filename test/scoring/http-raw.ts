// A client that writes bytes and reads what comes back: what HTTP libraries would hide is what these tests are about.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface Raw {
  readonly socket: Socket
  write(text: string | Uint8Array): void
  /** The next complete response, interim ones included. Rejects when the connection ends before it. */
  next(): Promise<RawAnswer>
  /** The next response, which has no body whatever its length says. */
  nextHead(): Promise<RawAnswer>
  /** Resolves when the server has ended the connection; what was left unread is returned. */
  closed(): Promise<string>
  destroy(): void
}

export async function openRaw(port: number): Promise<Raw> {
  const socket = connect(port, '127.0.0.1')
  let buffer = ''
  let ended = false
  let wake: (() => void) | null = null
  const changed = () => {
    wake?.()
    wake = null
  }
  socket.on('data', (data) => {
    buffer += data.toString('latin1')
    changed()
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    ended = true
    changed()
  })
  await once(socket, 'connect')
  const more = () => new Promise<void>((resolve) => (wake = resolve))
  const read = async (hasBody: boolean) => {
    for (;;) {
      const parsed = parse(buffer, hasBody)
      if (parsed !== null) {
        buffer = buffer.slice(parsed.length)
        return parsed.answer
      }
      if (ended) throw new Error(`connection ended after ${JSON.stringify(buffer)}`)
      await more()
    }
  }
  return {
    socket,
    write: (text) => socket.write(text),
    next: () => read(true),
    nextHead: () => read(false),
    async closed() {
      while (!ended) await more()
      return buffer
    },
    destroy: () => socket.destroy(),
  }
}

/** One request on a connection of its own. */
export async function ask(port: number, text: string): Promise<RawAnswer> {
  const raw = await openRaw(port)
  raw.write(text)
  try {
    return await raw.next()
  } finally {
    raw.destroy()
  }
}

export function post(path: string, body: string, headers: Record<string, string> = {}): string {
  const all = {
    Host: 'h',
    'Content-Type': 'application/json',
    'Content-Length': String(Buffer.byteLength(body)),
    ...headers,
  }
  return `POST ${path} HTTP/1.1\r\n${lines(all)}\r\n${body}`
}

export function get(path: string, headers: Record<string, string> = {}): string {
  return `GET ${path} HTTP/1.1\r\n${lines({ Host: 'h', ...headers })}\r\n`
}

function lines(headers: Record<string, string>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
}

function parse(text: string, hasBody: boolean): { answer: RawAnswer; length: number } | null {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return null
  const [first, ...rest] = text.slice(0, end).split('\r\n')
  const headers = Object.fromEntries(
    rest.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  )
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1] ?? NaN)
  const length = status < 200 || !hasBody ? 0 : Number(headers['content-length'] ?? 0)
  if (text.length < end + 4 + length) return null
  return { answer: { status, headers, body: text.slice(end + 4, end + 4 + length) }, length: end + 4 + length }
}
