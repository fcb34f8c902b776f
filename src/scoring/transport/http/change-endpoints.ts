// The endpoints by which operators change who answers: `PUT /v1/routes`, `POST /v1/routes:<verb>`.
// Invariant: whoever asks is known and may, names why and, for new routes, the revision that they replace; all of it is
// checked from the headers before the body is read. It decides nothing of the change itself.
import type { Refusal } from '../../../access/ledger.js'
import { isRejection } from '../../../contract/problem.js'
import { checkChange, ForceChange, PlainChange, RoutesChange } from '../../../contract/routes-change.js'
import { type Rejection, reject } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Change } from '../../change.js'
import type { Control } from '../../control.js'
import { actOf, type Admit, type Caller } from './auth.js'
import type { UwsRequest } from './binding.js'
import { isEncoded, readLength, readMediaType, waitsForContinue } from './headers.js'
import type { HttpExchange } from './http-exchange.js'
import type { Handle, Route } from './listener.js'
import { JSON_TYPE } from './reply.js'
import type { Parse } from './score-listener.js'

/** The server that is changed. */
export interface Changes extends Pick<Control, 'change' | 'revision'> {
  /** The routes as `/v1/routes` shows them. */
  routes(): object
}

export interface ChangeDeps {
  readonly limits: Limits
  readonly parseJson: Parse
  /** Null before readiness. */
  readonly changes: () => Changes | null
  readonly admit: Admit
  /** A change that was asked for was not taken. */
  onRefused(refusal: Refusal): void
}

/** A change with its reason, read from a body; or what is wrong with the body. */
type Read = (value: unknown) => { readonly change: Change; readonly reason: string } | Rejection

const READS: Readonly<Record<'set' | 'rollback' | 'resume' | 'force' | 'release', Read>> = {
  set: reading(RoutesChange, (wanted) => ({ kind: 'set', wanted })),
  rollback: reading(PlainChange, () => ({ kind: 'rollback' })),
  resume: reading(PlainChange, () => ({ kind: 'resume' })),
  force: reading(ForceChange, ({ model }) => ({ kind: 'force', model: model ?? null })),
  release: reading(ForceChange, ({ model }) => ({ kind: 'release', model: model ?? null })),
}

function reading<Schema extends typeof RoutesChange | typeof PlainChange | typeof ForceChange>(
  schema: Schema,
  changeOf: (body: Schema['static']) => Change,
): Read {
  return (value) => {
    const body = checkChange(schema, value)
    return isRejection(body) ? body : { change: changeOf(body), reason: body.reason }
  }
}

/** The endpoints, to stand beside those that only read. */
export function changeEndpoints(deps: ChangeDeps): Route[] {
  const post = (verb: 'rollback' | 'resume' | 'force' | 'release'): Route => {
    return { method: 'post', pattern: `/v1/routes:${verb}`, handle: handling(deps, READS[verb], false) }
  }
  return [
    { method: 'put', pattern: '/v1/routes', handle: handling(deps, READS.set, true) },
    ...(['rollback', 'resume', 'force', 'release'] as const).map(post),
  ]
}

/** The entity tag of a revision. */
export function tagOf(revision: number): string {
  return `"${revision}"`
}

function handling(deps: ChangeDeps, read: Read, needsRevision: boolean): Handle {
  return (exchange, req) => {
    const caller = deps.admit(exchange, req)
    if (caller === null) return
    const asker = { actor: caller.name, act: actOf(req), remoteAddress: exchange.remoteAddress() }
    exchange.onRefused = (code) => deps.onRefused({ ...asker, code })
    const revision = readRevision(req, needsRevision)
    const refused = refusalOf(caller, req, deps) ?? (typeof revision === 'object' ? revision : null)
    if (refused !== null) return exchange.refuseHeader(refused, req)
    const { actor, remoteAddress } = asker
    const by = { actor, remoteAddress, revision: typeof revision === 'number' ? revision : null }
    const consume = (bytes: Uint8Array): void => {
      const parsed = deps.parseJson(bytes)
      const asked = isRejection(parsed) ? parsed : read(parsed.value)
      if (isRejection(asked)) return exchange.reject(asked)
      const changes = deps.changes()
      if (changes === null) return exchange.reject(reject('ASSAY_NOT_READY', 'the server is starting'))
      const rejection = changes.change(asked.change, { ...by, reason: asked.reason }, (outcome) => {
        const body = JSON.stringify({ ...changes.routes(), change: outcome })
        answer(exchange, outcome.durable ? 200 : 202, body, outcome.revision)
      })
      if (rejection !== null) exchange.reject(rejection)
    }
    exchange.receive(consume, readLength(req), waitsForContinue(req))
  }
}

function answer(exchange: HttpExchange, status: number, body: string, revision: number): void {
  exchange.answerWith({ status, type: JSON_TYPE, body, extra: ['ETag', tagOf(revision)] })
}

/** What the headers alone refuse. */
function refusalOf({ role }: Caller, req: UwsRequest, { limits }: ChangeDeps): Rejection | null {
  if (role !== 'operator') return reject('ASSAY_ROLE_REFUSED', 'only a token with the role operator may change routes')
  if (readMediaType(req) !== 'application/json' || isEncoded(req)) {
    return reject('ASSAY_MEDIA_TYPE_REFUSED', 'send application/json, without a content coding')
  }
  if (readLength(req) <= limits.bodyBytesMax) return null
  return reject('ASSAY_BODY_TOO_LARGE', `a body has at most ${limits.bodyBytesMax} bytes`)
}

/** The revision of If-Match; 'any' where none is named and none is needed. */
function readRevision(req: UwsRequest, isNeeded: boolean): number | 'any' | Rejection {
  const text = req.getHeader('if-match').trim()
  if (text === '') {
    return isNeeded
      ? reject('ASSAY_REVISION_MISSING', 'send If-Match with the revision that GET /v1/routes shows')
      : 'any'
  }
  const match = /^"(\d{1,15})"$|^(\d{1,15})$/.exec(text)
  if (match !== null) return Number(match[1] ?? match[2])
  const message = 'must be one revision, as "3"'
  return reject('ASSAY_HEADER_INVALID', `If-Match ${message}`, [{ path: '/headers/if-match', message }])
}
