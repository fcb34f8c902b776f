// A listening address with routes, and its end: shared by the score and the operations listener.
// Invariant: every request reaches a handler inside one catch (the binding aborts the process on a throw), and every
// path and method has an answer (it would close the socket). It refuses an address that somebody else listens on, and
// to run in a worker: a thread that ends while its app has open sockets aborts the process, with every build.
import assert from 'node:assert'
import { createServer } from 'node:net'
import { isMainThread } from 'node:worker_threads'
import { AssayError, type ErrorCode } from '../../../errors.js'
import type { ListenerTls } from '../../../contract/tls.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { ListenSocket, Uws, UwsApp, UwsHandler, UwsRequest } from './binding.js'
import { type Host, HttpExchange, type Relay } from './http-exchange.js'
import { prepareRefusal } from './reply.js'

/** Answers a request, now or later. The request object is dead when it returns. */
export type Handle = (exchange: HttpExchange, req: UwsRequest) => void

export interface Route {
  readonly method: 'get' | 'post' | 'put'
  readonly pattern: string
  readonly handle: Handle
}

export interface Listener {
  /** The port really bound. */
  readonly port: number
  /**
   * Stops listening: from here on every answer closes its connection. What comes when nothing is scored here any more
   * goes to `relay`.
   */
  leave(relay?: Relay): void
  /**
   * Leaves at once; connections that are open are answered with `Connection: close` until nobody asks any
   * more or the deadline is over; then everything is closed.
   */
  close(deadlineMs: number): Promise<void>
}

export interface ListenerDeps {
  readonly uws: Uws
  readonly limits: Limits
  readonly clock: Clock
  onRejected(code: ErrorCode): void
  onFault(error: unknown): void
}

export interface Address {
  readonly host: string
  readonly port: number
  /** Skips the test whether the port is free: a server that takes over listens beside the one before it. */
  readonly shared?: boolean
  readonly tls?: ListenerTls
}

/** Milliseconds between two looks at slow bodies, and at the state of a drain. */
const SWEEP_MS = 50

/**
 * Opens the address, whose certificate was found to be in order. Throws ASSAY_ADDRESS_REFUSED with the system's reason.
 */
export async function openListener(deps: ListenerDeps, address: Address, routes: readonly Route[]): Promise<Listener> {
  assert(isMainThread, 'a listener belongs to the main thread')
  const port = address.shared === true ? address.port : await freePort(address)
  const host = createHost(deps)
  const { tls = null } = address
  const { uws } = deps
  const app = tls === null ? uws.App() : uws.SSLApp({ cert_file_name: tls.cert_file, key_file_name: tls.key_file })
  addRoutes(app, routes, host)
  const socket = await new Promise<ListenSocket | false>((resolve) => {
    app.listen(address.host, port, resolve)
  })
  if (socket === false) throw new AssayError('ASSAY_ADDRESS_REFUSED', `cannot listen on ${address.host}:${port}`)
  const sweep = setInterval(() => sweepSlow(host), SWEEP_MS)
  sweep.unref()
  const leave = (relay: Relay | null = null): void => {
    if (!host.draining) deps.uws.us_listen_socket_close(socket)
    host.draining = true
    host.relay ??= relay
  }
  return {
    port: deps.uws.us_socket_local_port(socket),
    leave,
    async close(deadlineMs) {
      leave()
      await drained(host, deadlineMs)
      clearInterval(sweep)
      app.close()
    },
  }
}

function createHost(deps: ListenerDeps): Host {
  return {
    limits: deps.limits,
    clock: deps.clock,
    refusals: {
      overloaded: prepareRefusal('ASSAY_OVERLOADED', 'more rows or bytes are in flight than the server takes'),
      notReady: prepareRefusal('ASSAY_NOT_READY', 'the server replays its log, warms up or drains'),
      tooLarge: prepareRefusal('ASSAY_BODY_TOO_LARGE', `a body has at most ${deps.limits.bodyBytesMax} bytes`, {
        path: '',
      }),
      tooSlow: prepareRefusal('ASSAY_BODY_TIMEOUT', `a body arrives within ${deps.limits.bodyTimeoutMs} ms`, {
        path: '',
      }),
      unauthenticated: prepareRefusal('ASSAY_UNAUTHENTICATED', 'send Authorization: Bearer or X-API-Key', {
        extra: ['WWW-Authenticate', 'Bearer'],
      }),
      tooManyFailures: prepareRefusal(
        'ASSAY_TOO_MANY_FAILURES',
        'wait as long as Retry-After says, then send a valid key',
      ),
      keyExpired: prepareRefusal('ASSAY_KEY_EXPIRED', 'ask for another key', {
        extra: ['WWW-Authenticate', 'Bearer error="invalid_token"'],
      }),
    },
    slow: new Set(),
    pendingBytes: 0,
    open: 0,
    begun: 0,
    draining: false,
    relay: null,
    onRejected: (code) => deps.onRejected(code),
    onFault: (error) => deps.onFault(error),
  }
}

/** Specific methods first, then 405 for each path that is known, then 404 for all others. */
function addRoutes(app: UwsApp, routes: readonly Route[], host: Host): void {
  const guarded = (handle: Handle): UwsHandler => {
    return (res, req) => new HttpExchange(host, res).run(handle, req)
  }
  for (const route of routes) app[route.method](route.pattern, guarded(route.handle))
  for (const pattern of new Set(routes.map((route) => route.pattern))) {
    const allow = routes.filter((route) => route.pattern === pattern).map((route) => route.method.toUpperCase())
    const reply = prepareRefusal('ASSAY_METHOD_REFUSED', `use ${allow.join(' or ')}`, {
      extra: ['Allow', allow.join(', ')],
    })
    app.any(
      pattern,
      guarded((exchange, req) => exchange.refuse('ASSAY_METHOD_REFUSED', reply, req)),
    )
  }
  const unknown = prepareRefusal('ASSAY_ROUTE_UNKNOWN', 'GET /openapi.json lists what there is')
  app.any(
    '/*',
    guarded((exchange, req) => exchange.refuse('ASSAY_ROUTE_UNKNOWN', unknown, req)),
  )
}

/** Bodies wait in the order of their beginning: the first that is in time ends the look. */
function sweepSlow(host: Host): void {
  const latest = host.clock.monoMs() - host.limits.bodyTimeoutMs
  for (const exchange of host.slow) {
    if (exchange.begunAtMs > latest) return
    exchange.expire()
  }
}

/** Resolves when nothing is open and nobody has asked for `drainQuietMs`, or when the deadline is over. */
function drained(host: Host, deadlineMs: number): Promise<void> {
  const { clock, limits } = host
  const end = clock.monoMs() + deadlineMs
  let begun = host.begun
  let quietSince = clock.monoMs()
  return new Promise((resolve) => {
    const look = setInterval(() => {
      const now = clock.monoMs()
      if (host.open > 0 || host.begun !== begun) quietSince = now
      begun = host.begun
      if (now < end && now - quietSince < limits.drainQuietMs) return
      clearInterval(look)
      resolve()
    }, SWEEP_MS)
  })
}

/**
 * The binding shares a port with whoever else listens there, without a word: an exclusive listen beforehand shows
 * whether it is free, and why not. Port 0 becomes the port found.
 */
function freePort(address: Address): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (cause) =>
      reject(
        new AssayError('ASSAY_ADDRESS_REFUSED', `cannot listen on ${address.host}:${address.port}: ${cause.message}`, {
          cause,
        }),
      ),
    )
    probe.listen({ host: address.host, port: address.port, exclusive: true }, () => {
      const bound = probe.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : address.port
      probe.close(() => resolve(port))
    })
  })
}
