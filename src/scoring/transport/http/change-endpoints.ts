// The endpoints by which operators change who answers and under which policy: `PUT /v1/routes`, `PUT /v1/policy`,
// `PUT /v1/lists/{name}`, `POST /v1/routes:<verb>`, `/v1/policy:rollback` and `/v1/models/{name}/{version}:<verb>`; and
// say that history was imported: `POST /v1/history`.
// Invariant: whoever asks is known and may, names why and, for new routes, the revision that they replace; all of it is
// checked from the headers before the body is read. It decides nothing of the change itself.
import type { Refusal } from '../../../access/ledger.js'
import { Value } from '@sinclair/typebox/value'
import { ModelRef } from '../../../contract/policy.js'
import { isRejection } from '../../../contract/problem.js'
import {
  ApprovalChange,
  type ChangeBody,
  checkChange,
  ForceChange,
  HistoryChange,
  PlainChange,
  RoutesChange,
} from '../../../contract/routes-change.js'
import { AssayError, faultsText, type Rejection, reject } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import { ListChange, PolicyChange } from '../../../contract/policy-live.js'
import { PolicyName } from '../../../contract/rules.js'
import type { Change } from '../../change.js'
import type { By, Control } from '../../control.js'
import { isOfPolicy, type PolicyAsked } from '../../policy-change.js'
import type { Standing } from '../../serving.js'
import { actOf, type Admit, type Caller } from './auth.js'
import type { UwsRequest } from './binding.js'
import { isEncoded, readLength, readMediaType, waitsForContinue } from './headers.js'
import type { HttpExchange } from './http-exchange.js'
import type { Handle, Route } from './listener.js'
import { JSON_TYPE } from './reply.js'
import type { Parse } from './begin.js'

/** The server that is changed. */
export interface Changes extends Pick<
  Control,
  'change' | 'load' | 'preview' | 'prepare' | 'revision' | 'policyRevision'
> {
  /** As `/v1/routes`, `/v1/models` and `/v1/policy` show them. */
  routes(): object
  models(): object
  policy(): object
  /** What a policy would have decided of the newest decisions. Rejects with AssayError. */
  tryPolicy(standing: Standing, last: number): Promise<object>
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
type Read = (value: unknown) => { readonly change: Change | PolicyAsked; readonly reason: string } | Rejection

/** What is asked of an endpoint. */
interface Asked {
  readonly read: Read
  readonly role: NonNullable<Caller['role']>
  /** New routes name what they replace. */
  readonly needsRevision: boolean
  /** What the answer shows beside the outcome. */
  readonly shows: 'routes' | 'models' | 'policy'
  /** Only what it would do is asked for, of so many decisions. */
  readonly trial?: number
}

const ROUTES = { role: 'operator', needsRevision: false, shows: 'routes' } as const
const MODELS = { role: 'operator', needsRevision: false, shows: 'models' } as const
const ROUTE_VERBS: Readonly<Record<string, Asked>> = {
  rollback: { ...ROUTES, read: reading(PlainChange, () => ({ kind: 'rollback' })) },
  resume: { ...ROUTES, read: reading(PlainChange, () => ({ kind: 'resume' })) },
  force: { ...ROUTES, read: reading(ForceChange, ({ model }) => ({ kind: 'force', model: model ?? null })) },
  release: { ...ROUTES, read: reading(ForceChange, ({ model }) => ({ kind: 'release', model: model ?? null })) },
}
const NEW_ROUTES: Asked = {
  ...{ ...ROUTES, needsRevision: true },
  read: reading(RoutesChange, (wanted) => ({ kind: 'set', wanted })),
}
const HISTORY: Asked = {
  ...ROUTES,
  read: reading(HistoryChange, ({ reason: _, ...history }) => ({ kind: 'history', history })),
}
const POLICY = { role: 'operator', needsRevision: true, shows: 'policy' } as const
const NEW_POLICY: Asked = { ...POLICY, read: reading(PolicyChange, ({ policy: given }) => ({ kind: 'policy', given })) }
const POLICY_ROLLBACK: Asked = {
  ...{ ...POLICY, needsRevision: false },
  read: reading(PlainChange, () => ({ kind: 'policy_rollback' })),
}
const MODEL_VERBS: Readonly<Record<string, (model: string) => Asked>> = {
  load: (model) => ({ ...MODELS, read: reading(PlainChange, () => ({ kind: 'load', model })) }),
  unload: (model) => ({ ...MODELS, read: reading(PlainChange, () => ({ kind: 'unload', model })) }),
  approve: (model) => ({
    ...{ ...MODELS, role: 'approver' },
    read: reading(ApprovalChange, ({ digest }) => ({ kind: 'approve', model, digest })),
  }),
}

function reading<Schema extends ChangeBody>(
  schema: Schema,
  changeOf: (body: Schema['static']) => Change | PolicyAsked,
): Read {
  return (value) => {
    const body = checkChange(schema, value)
    return isRejection(body) ? body : { change: changeOf(body), reason: body.reason }
  }
}

/** The endpoints, to stand beside those that only read. */
export function changeEndpoints(deps: ChangeDeps): Route[] {
  const handling = (askedOf: (req: UwsRequest) => Asked | Rejection): Handle => {
    return (exchange, req) => handle(deps, askedOf(req), exchange, req)
  }
  return [
    { method: 'put', pattern: '/v1/routes', handle: handling(() => NEW_ROUTES) },
    ...Object.entries(ROUTE_VERBS).map(([verb, asked]): Route => {
      return { method: 'post', pattern: `/v1/routes:${verb}`, handle: handling(() => asked) }
    }),
    { method: 'post', pattern: '/v1/history', handle: handling(() => HISTORY) },
    { method: 'post', pattern: '/v1/models/:name/:version', handle: handling(readModelVerb) },
    { method: 'put', pattern: '/v1/policy', handle: handling((req) => trying(req, NEW_POLICY, deps.limits)) },
    { method: 'post', pattern: '/v1/policy:rollback', handle: handling(() => POLICY_ROLLBACK) },
    { method: 'put', pattern: '/v1/lists/:name', handle: handling((req) => readListName(req, deps.limits)) },
  ]
}

/** `{name}/{version}:{verb}`: which model, and what is to become of it. */
function readModelVerb(req: UwsRequest): Asked | Rejection {
  const [name = '', last = ''] = [req.getParameter(0), req.getParameter(1)]
  const at = last.lastIndexOf(':')
  const [version, verb] = [last.slice(0, Math.max(0, at)), last.slice(at + 1)]
  if (!Object.hasOwn(MODEL_VERBS, verb) || at < 0) {
    return reject('ASSAY_ROUTE_UNKNOWN', `a model's path ends with one of :${Object.keys(MODEL_VERBS).join(', :')}`)
  }
  const model = `${name}@${version}`
  if (Value.Check(ModelRef, model)) return MODEL_VERBS[verb](model)
  return reject('ASSAY_SCHEMA_INVALID', 'the path names no model', [{ path: '/model', message: 'name/version' }])
}

/** `?dry_run=true&last=N`: only what the change would do, of the newest N decisions; it needs no revision. */
function trying(req: UwsRequest, asked: Asked, { trialDecisionsMax }: Limits): Asked | Rejection {
  const [dryRun = '', last = ''] = [req.getQuery('dry_run'), req.getQuery('last')]
  if (dryRun === '' || dryRun === 'false') return asked
  const decisions = last === '' ? Math.min(TRIAL_DECISIONS, trialDecisionsMax) : Number(last)
  const faults = [
    ...(dryRun === 'true' ? [] : [{ path: '/query/dry_run', message: 'true or false' }]),
    ...(Number.isInteger(decisions) && decisions >= 1 && decisions <= trialDecisionsMax
      ? []
      : [{ path: '/query/last', message: `an integer from 1 to ${trialDecisionsMax}` }]),
  ]
  if (faults.length === 0) return { ...asked, needsRevision: false, trial: decisions }
  return reject('ASSAY_SCHEMA_INVALID', faultsText(faults), faults)
}

function readListName(req: UwsRequest, limits: Limits): Asked | Rejection {
  const name = req.getParameter(0) ?? ''
  const read = reading(ListChange, ({ reason: _, ...list }) => ({ kind: 'policy_list', name, list }))
  if (Value.Check(PolicyName, name)) return trying(req, { ...POLICY, read }, limits)
  return reject('ASSAY_SCHEMA_INVALID', 'the path names no list', [
    { path: '/name', message: String(PolicyName.pattern) },
  ])
}

/** Decisions that a policy is tried on where nobody says how many. */
const TRIAL_DECISIONS = 10_000

/** The entity tag of a revision. */
export function tagOf(revision: number): string {
  return `"${revision}"`
}

function handle(deps: ChangeDeps, asked: Asked | Rejection, exchange: HttpExchange, req: UwsRequest): void {
  const caller = deps.admit(exchange, req)
  if (caller === null) return
  const asker = { actor: caller.name, act: actOf(req), remoteAddress: exchange.remoteAddress() }
  exchange.onRefused = (code) => deps.onRefused({ ...asker, code })
  if (isRejection(asked)) return exchange.refuseHeader(asked, req)
  const revision = readRevision(req, asked.needsRevision)
  const refused = refusalOf(caller, asked, req, deps) ?? (typeof revision === 'object' ? revision : null)
  if (refused !== null) return exchange.refuseHeader(refused, req)
  const { actor, remoteAddress } = asker
  const by = { actor, remoteAddress, revision: typeof revision === 'number' ? revision : null }
  const consume = (bytes: Uint8Array): void => {
    const parsed = deps.parseJson(bytes)
    const read = isRejection(parsed) ? parsed : asked.read(parsed.value)
    if (isRejection(read)) return exchange.reject(read)
    const changes = deps.changes()
    if (changes === null) return exchange.reject(reject('ASSAY_NOT_READY', 'the server is starting'))
    const { change, reason } = read
    const full = { ...by, reason }
    if (!isOfPolicy(change)) return carryOut(changes, exchange, { asked, change, by: full })
    inTurns(changes.prepare(change), () => {
      if (asked.trial === undefined) carryOut(changes, exchange, { asked, change, by: full })
      else tryOut(changes, exchange, { change, by: full, last: asked.trial })
    })
  }
  exchange.receive(consume, readLength(req), waitsForContinue(req))
}

/** A piece in each turn of the loop, so that payments pass between them. */
function inTurns(pieces: Iterator<void>, then: () => void): void {
  if (pieces.next().done === true) then()
  else setImmediate(inTurns, pieces, then)
}

interface Ordered {
  readonly asked: Asked
  readonly change: Change | PolicyAsked
  readonly by: By
}

function carryOut(changes: Changes, exchange: HttpExchange, { asked, change, by }: Ordered): void {
  const done: Parameters<Control['load']>[2] = (result) => {
    if ('code' in result) return exchange.reject(result)
    const body = JSON.stringify({ ...changes[asked.shows](), change: result })
    answer(exchange, result.durable && result.shared !== false ? 200 : 202, body, result.revision)
  }
  const rejection = change.kind === 'load' ? changes.load(change.model, by, done) : changes.change(change, by, done)
  if (rejection !== null) exchange.reject(rejection)
}

interface Trial {
  readonly change: PolicyAsked
  readonly by: By
  readonly last: number
}

/** Says what would differ, and what the newest decisions would have been. */
function tryOut(changes: Changes, exchange: HttpExchange, { change, by, last }: Trial): void {
  const standing = changes.preview(change, by)
  if (isRejection(standing)) return exchange.reject(standing)
  changes.tryPolicy(standing, last).then(
    (shown) => answer(exchange, 200, JSON.stringify(shown), changes.policyRevision()),
    (error: unknown) => {
      if (error instanceof AssayError) exchange.reject(reject(error.code, error.message))
      else exchange.fault(error)
    },
  )
}

function answer(exchange: HttpExchange, status: number, body: string, revision: number): void {
  exchange.answerWith({ status, type: JSON_TYPE, body, extra: ['ETag', tagOf(revision)] })
}

/** What the headers alone refuse. */
function refusalOf(caller: Caller, { role }: Asked, req: UwsRequest, { limits }: ChangeDeps): Rejection | null {
  if (caller.role !== role) return reject('ASSAY_ROLE_REFUSED', `only a token with the role ${role} may do that`)
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
    return isNeeded ? reject('ASSAY_REVISION_MISSING', 'send If-Match with the revision that GET shows') : 'any'
  }
  const match = /^"(\d{1,15})"$|^(\d{1,15})$/.exec(text)
  if (match !== null) return Number(match[1] ?? match[2])
  const message = 'must be one revision, as "3"'
  return reject('ASSAY_HEADER_INVALID', `If-Match ${message}`, [{ path: '/headers/if-match', message }])
}
