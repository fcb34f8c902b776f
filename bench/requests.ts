// Requests made before the run: simulated transactions as whole HTTP requests in bytes. Only the id and the time are
// written at the moment of sending, in place, at fixed width; so building a request costs the generator nothing.
// Invariant: no id comes twice within a run; ids hold letters, so none can be taken for a card number.
import { createSimulator } from '../src/simulate/generator.js'

const ID_DIGITS = 9
const TIME_BYTES = 24

export interface RequestPool {
  /** The next request, with a new id and this wall-clock time. Its bytes stay as they are for the next `size` calls. */
  next(nowMs: number): Buffer
  readonly size: number
  readonly bytesMean: number
}

export interface RequestPoolOptions {
  readonly seed: number
  readonly size: number
  readonly customers: number
  readonly terminals: number
  /** Begins each id; letters. Two pools of one run have different ones. */
  readonly prefix: string
  readonly headers?: readonly string[]
}

/** The population of the published handbook: 5,000 customers, 10,000 terminals. */
export const POPULATION = { customers: 5_000, terminals: 10_000 } as const

/** Builds `size` requests from a seeded simulator, used in turn. */
export function createRequestPool(options: RequestPoolOptions): RequestPool {
  const simulator = createSimulator({ ...options, startMs: Date.UTC(2026, 0, 5), idPrefix: 'x' })
  const requests: Buffer[] = []
  const idAt: number[] = []
  const timeAt: number[] = []
  let bytes = 0
  for (let i = 0; i < options.size; i++) {
    const body = JSON.stringify({
      ...simulator.next().wire,
      transaction_id: options.prefix + '0'.repeat(ID_DIGITS),
      occurred_at: new Date(0).toISOString(),
    })
    const request = httpRequest('/v1/score', body, options.headers)
    requests.push(request)
    idAt.push(request.indexOf('"transaction_id":"') + '"transaction_id":"'.length + options.prefix.length)
    timeAt.push(request.indexOf('"occurred_at":"') + '"occurred_at":"'.length)
    bytes += request.length
  }
  let count = 0
  let textMs = -1
  let text = ''
  return {
    size: options.size,
    bytesMean: bytes / options.size,
    next(nowMs) {
      const slot = count % options.size
      const request = requests[slot]
      if (request === undefined) throw new RangeError('an empty pool')
      if (nowMs !== textMs) {
        textMs = nowMs
        text = new Date(nowMs).toISOString()
      }
      let rest = count
      const at = idAt[slot] ?? 0
      for (let digit = ID_DIGITS - 1; digit >= 0; digit--) {
        request[at + digit] = 48 + (rest % 10)
        rest = Math.floor(rest / 10)
      }
      request.write(text, timeAt[slot] ?? 0, TIME_BYTES, 'latin1')
      count += 1
      return request
    },
  }
}

/** A whole POST request as bytes. */
export function httpRequest(path: string, body: string, headers: readonly string[] = []): Buffer {
  const content = Buffer.from(body)
  const head = [
    `POST ${path} HTTP/1.1`,
    'Host: 127.0.0.1',
    'Content-Type: application/json',
    `Content-Length: ${content.length}`,
    ...headers,
  ]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), content])
}
