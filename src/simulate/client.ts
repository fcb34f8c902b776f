// A keep-alive HTTP client for the traffic command: posts JSON, says status and body; a post never throws.
// Invariant: every post ends in exactly one call of `done`, after at most `timeoutMs`. A connection that the server had
// already closed is tried once more: safe, since a repeated transaction_id gets its first decision again.
import http from 'node:http'
import https from 'node:https'
import { AssayError } from '../errors.js'

export interface Reply {
  /** HTTP status; 0 where none came. */
  readonly status: number
  readonly body: string
  /** The error's code where no reply came, such as ECONNREFUSED or TIMEOUT. */
  readonly failure: string | null
}

export interface Client {
  post(path: string, body: string, done: (reply: Reply) => void): void
  /** Resolves once a server has answered anything at all. Throws ASSAY_SERVER_UNREACHABLE. */
  reach(): Promise<void>
  close(): void
}

export interface ClientOptions {
  readonly url: URL
  readonly connections: number
  readonly timeoutMs: number
  /** A scoring key, or null. */
  readonly key: string | null
}

interface Message {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body: string
}

/** Makes the client; nothing is opened before the first post. */
export function createClient(options: ClientOptions): Client {
  const { url, connections, timeoutMs, key } = options
  const isTls = url.protocol === 'https:'
  const { Agent, request } = isTls ? https : http
  const agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: 'fifo' })
  const headers = { 'content-type': 'application/json', ...(key === null ? {} : { authorization: `Bearer ${key}` }) }
  const base = { agent, host: url.hostname, port: url.port === '' ? (isTls ? 443 : 80) : url.port }

  const send = ({ method, path, body }: Message, done: (reply: Reply) => void, again = true): void => {
    const sent = { ...headers, 'content-length': Buffer.byteLength(body) }
    let ended = false
    const end = (reply: Reply): void => {
      if (ended) return
      ended = true
      done(reply)
    }
    const posted = request({ ...base, method, path, headers: sent, timeout: timeoutMs }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => end({ status: response.statusCode ?? 0, body: text, failure: null }))
      response.on('error', (error: NodeJS.ErrnoException) => end(failed(error)))
    })
    posted.on('timeout', () => {
      end({ status: 0, body: '', failure: 'TIMEOUT' })
      posted.destroy()
    })
    posted.on('error', (error: NodeJS.ErrnoException) => {
      if (ended) return
      if (again && posted.reusedSocket && error.code === 'ECONNRESET') {
        ended = true
        send({ method, path, body }, done, false)
      } else {
        end(failed(error))
      }
    })
    posted.end(body)
  }
  const reach = async (): Promise<void> => {
    const reply = await new Promise<Reply>((resolve) =>
      send({ method: 'GET', path: '/openapi.json', body: '' }, resolve),
    )
    if (reply.status !== 0) return
    const detail = `${url.origin} does not answer (${reply.failure}); \`npm start\` runs a server, --url names another`
    throw new AssayError('ASSAY_SERVER_UNREACHABLE', detail)
  }
  return { post: (path, body, done) => send({ method: 'POST', path, body }, done), reach, close: () => agent.destroy() }
}

function failed(error: NodeJS.ErrnoException): Reply {
  return { status: 0, body: '', failure: error.code ?? error.name }
}
