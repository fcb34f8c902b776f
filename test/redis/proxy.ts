// A TCP proxy that stands for the network between a client and a server: it delays both directions, ends and resets
// included, holds everything back, cuts connections and refuses new ones. What it passes on stays in order. No test.
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export interface Proxy {
  readonly port: number
  /** Milliseconds that everything read from now on is late, each way. */
  delay(ms: number): void
  /** Nothing passes until `release`; connections are still taken. */
  hold(): void
  release(): void
  /** Resets every connection that is open. */
  cut(): void
  /** New connections are refused until `accept`; those that are open stay. */
  refuse(): void
  accept(): Promise<void>
  close(): void
}

/** Where it passes on to: a port of 127.0.0.1, or the path of a socket. */
export type Target = number | string

/** Listens on 127.0.0.1 and passes on to `target`, `delayMs` late each way. */
export async function openProxy(target: Target, delayMs = 0): Promise<Proxy> {
  const way = { delayMs, isHeld: false }
  const sockets = new Set<Socket>()
  /** Passes on what is due; there is one for each direction of each connection. */
  const pumps = new Set<() => void>()
  const at = typeof target === 'number' ? { port: target, host: '127.0.0.1' } : { path: target }

  function join(from: Socket, to: Socket): void {
    const pipe = createPipe(way)
    sockets.add(from)
    pumps.add(pipe.pump)
    from.on('data', (piece) => pipe.push(() => to.write(piece)))
    from.on('end', () => pipe.push(() => to.end()))
    from.on('error', () => pipe.push(() => reset(to)))
    from.on('close', () => sockets.delete(from))
    to.on('close', () => pumps.delete(pipe.pump))
  }
  const listen = async (port: number): Promise<Server> => {
    const opened = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      const upstream = connect({ ...at, allowHalfOpen: true, noDelay: true })
      join(client, upstream)
      join(upstream, client)
    })
    opened.listen(port, '127.0.0.1')
    await once(opened, 'listening')
    return opened
  }
  const cut = (): void => {
    for (const socket of sockets) reset(socket)
  }

  let server = await listen(0)
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    port,
    delay: (ms) => void (way.delayMs = ms),
    hold: () => void (way.isHeld = true),
    release() {
      way.isHeld = false
      for (const pump of pumps) pump()
    },
    cut,
    refuse: () => void server.close(),
    async accept() {
      server = await listen(port)
    },
    close() {
      server.close()
      cut()
    },
  }
}

/** A socket of a path knows no reset. */
function reset(socket: Socket): void {
  if (socket.remoteFamily === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

/** Does what is pushed in that order, when it is due and nothing is held. */
function createPipe(way: { readonly delayMs: number; readonly isHeld: boolean }) {
  const pieces: { readonly dueMs: number; readonly pass: () => void }[] = []
  let timer: NodeJS.Timeout | null = null
  const pump = (): void => {
    if (timer !== null) clearTimeout(timer)
    timer = null
    for (let next = pieces[0]; next !== undefined && !way.isHeld; next = pieces[0]) {
      const waitMs = next.dueMs - performance.now()
      if (waitMs > 0) {
        timer = setTimeout(pump, waitMs)
        return
      }
      pieces.shift()
      next.pass()
    }
  }
  return {
    pump,
    push(pass: () => void) {
      pieces.push({ dueMs: performance.now() + way.delayMs, pass })
      pump()
    },
  }
}
