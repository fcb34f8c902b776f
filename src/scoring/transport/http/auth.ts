// Who may call a listener: the key of a request put before the listener's guard, and the refusal written where it does
// not pass. Invariant: it looks at the headers alone; nothing of a key is kept or shown.
import type { Denied, Guard } from '../../../access/guard.js'
import type { Refusal } from '../../../access/ledger.js'
import type { Key } from '../../../contract/keys.js'
import type { UwsRequest } from './binding.js'
import type { HttpExchange } from './http-exchange.js'

/** Whose key a request carries, and what it may do. */
export type Caller = Pick<Key, 'name' | 'role'>

/** Who asks; null where the request has been refused. */
export type Admit = (exchange: HttpExchange, req: UwsRequest) => Caller | null

/** Makes the check of `Authorization: Bearer` or `X-API-Key`; `onDenied` hears of each that did not pass. */
export function createAdmit(guard: Pick<Guard, 'admit'>, onDenied: (refusal: Refusal) => void): Admit {
  return (exchange, req) => {
    const verdict = guard.admit(presentedKey(req), exchange)
    if (!('code' in verdict)) return verdict
    onDenied({ ...verdict, act: actOf(req), remoteAddress: exchange.remoteAddress() })
    refuse(exchange, verdict, req)
    return null
  }
}

/**
 * What is asked for, without what stands for a single thing: `PUT /v1/routes`, `POST /v1/routes:force`,
 * `GET /v1/decisions`, and `POST /v1/models:load` of one model.
 */
export function actOf(req: UwsRequest): string {
  const [, version = '', kind = '', ...rest] = req.getUrl().split('/')
  const verb = /:[a-z]+$/.exec(rest.at(-1) ?? '')?.[0] ?? ''
  return `${req.getMethod().toUpperCase()} /${version}/${kind}${verb}`
}

function refuse(exchange: HttpExchange, { code, waitS }: Denied, req: UwsRequest): void {
  const { refusals } = exchange
  if (waitS > 0) return exchange.refuse(code, { ...refusals.tooManyFailures, extra: ['Retry-After', `${waitS}`] }, req)
  exchange.refuse(code, code === 'ASSAY_KEY_EXPIRED' ? refusals.keyExpired : refusals.unauthenticated, req)
}

function presentedKey(req: UwsRequest): string {
  const direct = req.getHeader('x-api-key')
  if (direct !== '') return direct
  const authorization = req.getHeader('authorization')
  return /^bearer /i.test(authorization) ? authorization.slice(7).trim() : ''
}
