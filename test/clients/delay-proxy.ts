// A TCP proxy that holds everything back for a fixed time in both directions, ends and resets included, in order.
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

export interface DelayProxy {
  readonly port: number
  close(): Promise<void>
}

/** Listens on 127.0.0.1 and passes on to `target`, `delayMs` late each way. */
export async function openDelayProxy(target: number, delayMs: number): Promise<DelayProxy> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    }
    pass(client, upstream, delayMs)
    pass(upstream, client, delayMs)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}

/** Timers of one length fire in the order in which they were set, so pieces stay in order. */
function pass(from: Socket, to: Socket, delayMs: number): void {
  from.on('data', (piece) => setTimeout(() => to.write(piece), delayMs))
  from.on('end', () => setTimeout(() => to.end(), delayMs))
  from.on('error', () => setTimeout(() => to.resetAndDestroy(), delayMs))
}
