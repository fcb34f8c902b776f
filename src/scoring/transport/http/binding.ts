// The only door to uWebSockets.js: which build runs here, and the few calls of it that we use.
// Invariant: nothing outside transport/http and governance/api sees these objects. It refuses to fall back to a slower
// server in silence: either a native build loads, or the start fails and says what each candidate answered.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { AssayError } from '../../../errors.js'

/** The response of one request; dead after `end`, `close` or an abort. */
export interface UwsResponse {
  onAborted(handler: () => void): UwsResponse
  /** The chunk is detached when the handler returns. */
  onData(handler: (chunk: ArrayBuffer, last: boolean) => void): UwsResponse
  writeStatus(status: string): UwsResponse
  writeHeader(key: string, value: string): UwsResponse
  end(body: string | Uint8Array, closeConnection?: boolean): UwsResponse
  endWithoutBody(reportedContentLength?: number, closeConnection?: boolean): UwsResponse
  close(): UwsResponse
  /** Of the connection, as text; only while the response lives. */
  getRemoteAddressAsText(): ArrayBuffer
  cork(write: () => void): UwsResponse
}

/** The request; dead when the handler returns. */
export interface UwsRequest {
  /** Lower-case name; '' where absent. */
  getHeader(name: string): string
  getUrl(): string
  /** Lower-case. */
  getMethod(): string
  getParameter(index: number): string | undefined
  getQuery(key: string): string | undefined
}

export type UwsHandler = (res: UwsResponse, req: UwsRequest) => void

/** An open listening socket; only handed back to the binding. */
export type ListenSocket = object

export interface UwsApp {
  any(pattern: string, handler: UwsHandler): UwsApp
  get(pattern: string, handler: UwsHandler): UwsApp
  post(pattern: string, handler: UwsHandler): UwsApp
  put(pattern: string, handler: UwsHandler): UwsApp
  listen(host: string, port: number, done: (socket: ListenSocket | false) => void): UwsApp
  close(): UwsApp
}

/** Names of PEM files. A build that cannot use them throws. */
export interface UwsTls {
  readonly cert_file_name: string
  readonly key_file_name: string
}

export interface Uws {
  App(): UwsApp
  SSLApp(options: UwsTls): UwsApp
  us_listen_socket_close(socket: ListenSocket): void
  us_socket_local_port(socket: ListenSocket): number
}

export interface Binding {
  readonly uws: Uws
  /** Package and version that runs, for the logger, status and `assay_build_info`. */
  readonly name: string
}

/**
 * In order of preference. Under the first name stands upstream's own package where the operator installed it, else a
 * build for glibc ≥ 2.38; the second runs on glibc ≥ 2.34 and is imported past its main file, which would replace a
 * build that does not load by a server written in JavaScript, without a word.
 */
const CANDIDATES = ['uWebSockets.js', 'uws-unofficial/dist/uws.js'] as const

/** Bytes of headers that may come in pieces, for builds that know the setting; others end at 4 KiB (README.md). */
const HEADER_BYTES_MAX = '16384'

/** Loads the first build that runs here. Throws ASSAY_BINDING_MISSING with the reason of each. */
export function loadBinding(candidates: readonly string[] = CANDIDATES): Binding {
  // Read once, by the native code, while it is loaded.
  process.env['UWS_HTTP_MAX_HEADERS_SIZE'] ??= HEADER_BYTES_MAX
  const load = createRequire(import.meta.url)
  const reasons: string[] = []
  for (const candidate of candidates) {
    try {
      const uws: unknown = load(candidate)
      if (isUws(uws)) return { uws, name: packageName(load.resolve(candidate), candidate) }
      reasons.push(`${candidate}: not a build of uWebSockets.js`)
    } catch (error) {
      reasons.push(`${candidate}: ${reasonOf(error)}`)
    }
  }
  throw new AssayError('ASSAY_BINDING_MISSING', `no build of uWebSockets.js loads here. ${reasons.join('; ')}`)
}

function isUws(module: unknown): module is Uws {
  return (
    typeof module === 'object' &&
    module !== null &&
    'App' in module &&
    'SSLApp' in module &&
    'us_listen_socket_close' in module
  )
}

/** The last line of a loader's message names the library that is missing. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return (
    text
      .split('\n')
      .filter((line) => line.trim() !== '' && !line.startsWith('- '))
      .at(-1) ?? text
  )
}

function packageName(file: string, fallback: string): string {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    const path = join(folder, 'package.json')
    if (!existsSync(path)) continue
    const manifest: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof manifest !== 'object' || manifest === null || !('name' in manifest)) continue
    return `${String(manifest.name)}@${'version' in manifest ? String(manifest.version) : 'unknown'}`
  }
  return fallback
}
