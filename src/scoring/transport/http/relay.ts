// What still comes to a server that is followed, over connections that were idle when it left: passed on to the server
// that now has the address, so that nobody is refused for having kept a connection. The answer closes it.
import { reject } from '../../../errors.js'
import { readLength, waitsForContinue } from './headers.js'
import type { HttpExchange, Relay } from './http-exchange.js'
import { PROBLEM_TYPE } from './reply.js'

const PASSED = [
  ...['authorization', 'x-api-key', 'content-type', 'content-encoding', 'traceparent', 'assay-mode'],
  ...['assay-timeout-ms', 'inference-header-content-length'],
]
/** Addresses that stand for all of the machine's. */
const ANY = new Set(['0.0.0.0', '::'])
const ANSWER_MS_MAX = 5_000

/** To the same port of the same machine, in the clear. */
export function createRelay({ host, port }: { readonly host: string; readonly port: number }): Relay {
  const origin = `http://${ANY.has(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host}:${port}`

  async function pass(exchange: HttpExchange, path: string, request: RequestInit): Promise<void> {
    try {
      const answer = await fetch(origin + path, { ...request, signal: AbortSignal.timeout(ANSWER_MS_MAX) })
      const type = answer.headers.get('content-type') ?? PROBLEM_TYPE
      const body = new Uint8Array(await answer.arrayBuffer())
      const jsonBytes = answer.headers.get('inference-header-content-length')
      const extra = jsonBytes === null ? null : (['Inference-Header-Content-Length', jsonBytes] as const)
      exchange.answerWith({ status: answer.status, type, body, extra })
    } catch {
      exchange.reject(reject('ASSAY_NOT_READY', 'another server has taken over: connect anew'))
    }
  }

  return (exchange, req) => {
    const sent = PASSED.map((name): [string, string] => [name, req.getHeader(name)])
    const headers = sent.filter(([, value]) => value !== '')
    const path = req.getUrl()
    const length = readLength(req)
    exchange.receive(
      (bytes) => void pass(exchange, path, { method: 'POST', headers, body: Uint8Array.from(bytes) }),
      length,
      waitsForContinue(req),
    )
  }
}
