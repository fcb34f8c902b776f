// The governance listener: API, stream, console, metrics and probes over node:http. Off the hot path: it serves
// people. Invariant: it only reads; connections, queries, streams, headers and answers are bounded; nothing of a
// request is ever echoed but in a problem's path. It refuses other origins (no CORS, a strict policy, foreign Host
// names).
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { isOwnHost, plainAddress } from '../../contract/address.js'
import { renderProblem } from '../../contract/problem.js'
import { AssayError, ERRORS, reject, type Rejection } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import type { Denied } from '../../access/guard.js'
import type { TlsFiles } from '../../access/tls-files.js'
import type { Refusal } from '../../access/ledger.js'
import type { CheckAccess, Granted } from './auth.js'
import { createQueue, type Queue } from './queue.js'
import { endpoints, type Answer, type Endpoint } from './endpoints.js'
import { streamQuery } from './query.js'
import type { Source } from './source.js'
import type { StaticFile, StaticFiles } from './static-files.js'
import { createStreams, type Streams } from './stream.js'

export interface ApiDeps {
  readonly source: Source
  readonly limits: Limits
  readonly clock: Clock
  readonly access: CheckAccess
  /** True where tokens are asked for; then any Host name may be used. */
  readonly guarded: boolean
  readonly files: StaticFiles
  readonly openApi: string
  readonly scrape: (accept: string) => Promise<{ contentType: string; body: string }>
  readonly readiness: () => { readonly ready: boolean; readonly reasons: readonly string[] }
  /** Somebody was turned away for the token. */
  onDenied(refusal: Refusal): void
  onFault(error: unknown): void
}

export interface ApiListener {
  readonly port: number
  readonly streams: Pick<Streams, 'count' | 'missed'>
  /** Ends streams and connections; waits at most `deadlineMs` for answers under way. */
  close(deadlineMs: number): Promise<void>
}

const HEADER_BYTES_MAX = 16 << 10
const HEADERS_TIMEOUT_MS = 10_000
const RETRY_AFTER_S = 1

const SECURITY_HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
} as const

/** Opens the listener. Throws ASSAY_ADDRESS_REFUSED where the address is taken or not ours. */
export async function openApiListener(
  deps: ApiDeps,
  address: { readonly host: string; readonly port: number; readonly tls: TlsFiles | null },
): Promise<ApiListener> {
  const { limits } = deps
  const streams = createStreams(deps)
  const queue = createQueue({
    running: limits.apiQueriesMax,
    waiting: limits.apiQueriesWaitingMax,
    timeoutMs: limits.apiQueryMs,
  })
  const context: Context = { deps, streams, queue, table: endpoints(deps.source), host: address.host }
  const server = serverFor(address.tls, (req, res) => {
    handle(context, req, res).catch((error: unknown) => refuseError(context, res, error))
  })
  server.maxConnections = limits.apiConnectionsMax
  await listen(server, address)
  const bound = server.address()
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : address.port,
    streams,
    close: (deadlineMs) => closeServer(server, streams, deadlineMs),
  }
}

interface Context {
  readonly deps: ApiDeps
  readonly streams: Streams
  readonly queue: Queue
  readonly table: readonly Endpoint[]
  readonly host: string
}

/** Where there are authorities, whoever shows no certificate of theirs gets no further than the handshake. */
function serverFor(
  tls: TlsFiles | null,
  onRequest: (req: IncomingMessage, res: ServerResponse) => void,
): Server | TlsServer {
  const bounds = { maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: HEADERS_TIMEOUT_MS }
  if (tls === null) return createServer(bounds, onRequest)
  const { cert, key, ca } = tls
  const clients = ca === null ? {} : { ca, requestCert: true, rejectUnauthorized: true }
  return createTlsServer({ ...bounds, ...clients, cert, key, handshakeTimeout: HEADERS_TIMEOUT_MS }, onRequest)
}

function listen(server: Server | TlsServer, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, refuse) => {
    server.once('error', (cause) =>
      refuse(new AssayError('ASSAY_ADDRESS_REFUSED', `governance cannot listen on ${host}:${port}`, { cause })),
    )
    server.listen(port, host, () => resolve())
  })
}

async function closeServer(server: Server | TlsServer, streams: Streams, deadlineMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  streams.close()
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), deadlineMs)
  await closed
  clearTimeout(timer)
}

/** The order of refusal: host, address, method, origin, token, query. */
async function handle(context: Context, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { deps } = context
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) res.setHeader(name, value)
  // No endpoint takes a body: what comes is not read, and the connection is not used again.
  if (req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined) {
    res.setHeader('Connection', 'close')
  }
  if (!deps.guarded && !isOwnHost(req.headers.host ?? '', context.host)) {
    return refuse(res, reject('ASSAY_ROUTE_UNKNOWN', 'this listener is not known under that Host'))
  }
  const url = new URL(req.url ?? '/', 'http://listener')
  const served = find(context, url.pathname)
  if (served === null) return refuse(res, reject('ASSAY_ROUTE_UNKNOWN', 'there is nothing at this address'))
  if (req.method !== 'GET' && req.method !== 'HEAD') {
    res.setHeader('Allow', 'GET, HEAD')
    return refuse(res, reject('ASSAY_METHOD_REFUSED', 'this listener only reads'))
  }
  if (served.kind === 'file') return answerFile(req, res, served.file)
  if (served.kind === 'open') return served.answer(req, res)
  if (isForeign(req.headers['sec-fetch-site'])) {
    return refuse(res, reject('ASSAY_ORIGIN_REFUSED', 'only the console of this listener asks it through a browser'))
  }
  const from = { remoteAddress: () => plainAddress(req.socket.remoteAddress ?? '') }
  const access = deps.access(req.headers.authorization, from)
  if ('code' in access) {
    deps.onDenied({
      ...access,
      act: `GET ${url.pathname.split('/', 4).join('/')}`,
      remoteAddress: from.remoteAddress(),
    })
    return refuseAccess(res, access)
  }
  if (served.kind === 'stream') return openStream(context, req, res, { params: url.searchParams, access })
  const { endpoint, parameter } = served
  return answerEndpoint(context, res, { endpoint, parameter, params: url.searchParams })
}

/** What a browser sends for a page of another site; its own pages, typed addresses and programs pass. */
function isForeign(site: string | string[] | undefined): boolean {
  return site === 'cross-site' || site === 'same-site'
}

type Served =
  | { kind: 'file'; file: StaticFile }
  | { kind: 'open'; answer: (req: IncomingMessage, res: ServerResponse) => Promise<void> | void }
  | { kind: 'stream' }
  | { kind: 'endpoint'; endpoint: Endpoint; parameter: string }

function find({ deps, table }: Context, pathname: string): Served | null {
  const file = deps.files.get(pathname)
  if (file !== undefined) return { kind: 'file', file }
  switch (pathname) {
    case '/metrics':
      return { kind: 'open', answer: (req, res) => answerScrape(deps, req, res) }
    case '/livez':
      return { kind: 'open', answer: (_, res) => sendJson(res, 200, '{"alive":true}') }
    case '/readyz':
      return { kind: 'open', answer: (_, res) => answerReadiness(deps, res) }
    case '/openapi.json':
      return { kind: 'open', answer: (_, res) => sendJson(res, 200, deps.openApi) }
    case '/api/v1/stream':
      return { kind: 'stream' }
  }
  for (const endpoint of table) {
    const parameter = endpoint.match(pathname)
    if (parameter !== null) return { kind: 'endpoint', endpoint, parameter }
  }
  return null
}

function answerFile(req: IncomingMessage, res: ServerResponse, file: StaticFile): void {
  res.setHeader('ETag', file.etag)
  res.setHeader('Cache-Control', 'no-cache')
  res.setHeader('Vary', 'Accept-Encoding')
  if (req.headers['if-none-match'] === file.etag) {
    res.writeHead(304).end()
    return
  }
  const zipped = /\bgzip\b/.test(req.headers['accept-encoding']?.toString() ?? '')
  if (zipped) res.setHeader('Content-Encoding', 'gzip')
  send(res, 200, file.type, zipped ? file.gzipped : file.body)
}

async function answerScrape(deps: ApiDeps, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { contentType, body } = await deps.scrape(req.headers.accept ?? '')
  res.setHeader('Cache-Control', 'no-store')
  send(res, 200, contentType, body)
}

function answerReadiness(deps: ApiDeps, res: ServerResponse): void {
  const readiness = deps.readiness()
  if (readiness.ready) return sendJson(res, 200, JSON.stringify(readiness))
  const problem = renderProblem(reject('ASSAY_NOT_READY', readiness.reasons.join('; ')))
  res.setHeader('Retry-After', RETRY_AFTER_S)
  res.setHeader('Cache-Control', 'no-store')
  send(res, 503, 'application/problem+json', `${problem.slice(0, -1)},${JSON.stringify(readiness).slice(1)}`)
}

async function answerEndpoint(
  { queue }: Context,
  res: ServerResponse,
  asked: { endpoint: Endpoint; parameter: string; params: URLSearchParams },
): Promise<void> {
  const { endpoint, parameter, params } = asked
  const question = endpoint.ask(parameter, params)
  if ('code' in question) return refuse(res, question)
  const answer: Answer = await queue(() => question.answer())
  if (answer.kind === 'absent') return refuse(res, answer.rejection)
  res.setHeader('Cache-Control', 'no-store')
  if (answer.kind === 'json') return sendJson(res, 200, JSON.stringify(answer.value))
  res.setHeader('Content-Disposition', `attachment; filename="assay-${answer.name}.csv"`)
  if (answer.next !== null) res.setHeader('Assay-Next', answer.next)
  send(res, 200, 'text/csv; charset=utf-8', answer.text)
}

async function openStream(
  context: Context,
  req: IncomingMessage,
  res: ServerResponse,
  { params, access }: { readonly params: URLSearchParams; readonly access: Granted },
): Promise<void> {
  const query = streamQuery(params)
  if ('code' in query) return refuse(res, query)
  const { streams, deps } = context
  if (streams.count() >= deps.limits.streamsMax) {
    return refuse(res, reject('ASSAY_OVERLOADED', `${deps.limits.streamsMax} streams are open already`))
  }
  const last = req.headers['last-event-id']?.toString() ?? ''
  // Before the head of the answer: what cannot be followed is refused as a whole.
  const after = await context.queue(() => (last === '' ? deps.source.newest() : deps.source.resume(last)))
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' })
  if (req.method === 'HEAD') {
    res.end()
    return
  }
  streams.open(res, { kinds: query.kinds, after, stands: access.stands })
}

function refuseAccess(res: ServerResponse, { code, waitS }: Denied): void {
  if (waitS > 0) {
    res.setHeader('Retry-After', waitS)
    return refuse(res, reject(code, 'wait as long as Retry-After says, then send a valid token'))
  }
  if (code === 'ASSAY_ROLE_REFUSED') return refuse(res, reject(code, 'role viewer, approver or operator is needed'))
  const isExpired = code === 'ASSAY_KEY_EXPIRED'
  res.setHeader('WWW-Authenticate', `Bearer realm="assay governance"${isExpired ? ', error="invalid_token"' : ''}`)
  refuse(res, reject(code, isExpired ? 'ask for another token' : 'a bearer token of the tokens file is needed'))
}

function refuse(res: ServerResponse, rejection: Rejection): void {
  const { status } = ERRORS[rejection.code]
  if (status === 503) res.setHeader('Retry-After', RETRY_AFTER_S)
  res.setHeader('Cache-Control', 'no-store')
  send(res, status, 'application/problem+json', renderProblem(rejection))
}

/** A fault of ours or of the store: coded where it is one of the table, else said without its text. */
function refuseError({ deps }: Context, res: ServerResponse, error: unknown): void {
  const code = error instanceof AssayError ? error.code : 'ASSAY_INTERNAL'
  if (ERRORS[code].kind === 'fault') deps.onFault(error)
  if (res.headersSent) {
    res.destroy()
    return
  }
  const detail = error instanceof AssayError && ERRORS[code].kind === 'rejection' ? error.message : 'see the logger'
  refuse(res, reject(code, detail))
}

function sendJson(res: ServerResponse, status: number, body: string): void {
  if (!res.hasHeader('Cache-Control')) res.setHeader('Cache-Control', 'no-store')
  send(res, status, 'application/json', body)
}

function send(res: ServerResponse, status: number, type: string, body: string | Buffer): void {
  res.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) })
  res.end(body)
}
