// Who may call a listener: the key of a request put before the listener's guard, and the refusal written where it does
// not pass. Invariant: it looks at the headers alone; nothing of a key is kept or shown.
import type { Denied, Guard } from '../../../access/guard.js'
import type { Key } from '../../../contract/keys.js'
import type { UwsRequest } from './binding.js'
import type { HttpExchange } from './http-exchange.js'

/** Whose key a request carries, and what it may do. */
export type Caller = Pick<Key, 'name' | 'role'>

/** Who asks; null where the request has been refused. */
export type Admit = (exchange: HttpExchange, req: UwsRequest) => Caller | null

/** Makes the check of `Authorization: Bearer` or `X-API-Key`. */
export function createAdmit(guard: Pick<Guard, 'admit'>): Admit {
  return (exchange, req) => {
    const verdict = guard.admit(presentedKey(req))
    if (!('code' in verdict)) return verdict
    refuse(exchange, verdict, req)
    return null
  }
}

function refuse(exchange: HttpExchange, { code }: Denied, req: UwsRequest): void {
  const { refusals } = exchange
  exchange.refuse(code, code === 'ASSAY_KEY_EXPIRED' ? refusals.keyExpired : refusals.unauthenticated, req)
}

function presentedKey(req: UwsRequest): string {
  const direct = req.getHeader('x-api-key')
  if (direct !== '') return direct
  const authorization = req.getHeader('authorization')
  return /^bearer /i.test(authorization) ? authorization.slice(7).trim() : ''
}
