// The proof of the live routes, its judgement: from the log alone, what each revision prescribes and what each decision
// did. It computes buckets by itself and knows the routes from segment heads and control records.
import { createHmac } from 'node:crypto'
import { decisionId } from '../../src/contract/decision.js'
import { type ControlState, routingOf, stateAfter, type Routing } from '../../src/contract/control-state.js'
import type { ControlRecord, DecisionFacts, DecisionPersonal } from '../../src/contract/record-types.js'
import { AT_ONCE } from '../../src/scoring/change.js'
import { readDecisionLog } from '../../src/scoring/restore.js'

export interface RoutesLog {
  readonly logId: Buffer
  /** Revision → what held under it. */
  readonly routings: ReadonlyMap<number, Routing>
  readonly controls: readonly ControlRecord[]
  readonly decisions: readonly { readonly facts: DecisionFacts; readonly entity: string }[]
  /** Two routings of one revision. */
  readonly findings: readonly string[]
}

/** Reads a log at rest. */
export async function readRoutesLog(directory: string): Promise<RoutesLog> {
  const routings = new Map<number, Routing>()
  const controls: ControlRecord[] = []
  const decisions: RoutesLog['decisions'][number][] = []
  const findings: string[] = []
  let logId: Buffer = Buffer.alloc(8)
  let state: ControlState | null = null
  let sticky = -1
  const hold = (next: ControlState, where: string): void => {
    state = next
    const { revision } = next.routes
    const known = routings.get(revision)
    if (known !== undefined && JSON.stringify(known.routes) !== JSON.stringify(next.routes)) {
      findings.push(`${where}: revision ${revision} says something else than before`)
    }
    routings.set(revision, routingOf(next))
    sticky = next.policy.schema.fields.findIndex(({ name }) => name === next.routes.sticky_by)
  }
  const entityOf = ({ transaction }: DecisionPersonal): string => {
    const value = transaction.fields[sticky]
    return typeof value === 'string' ? value : transaction.transactionId
  }
  await readDecisionLog(directory, {
    onSegment(header, next) {
      logId = Buffer.from(header.logId)
      hold(next, `the head of a segment of epoch ${header.epoch}`)
    },
    onRecord(record) {
      if (record.type === 'control' && state !== null) {
        controls.push(record.control)
        hold(stateAfter(state, record.control.state), `control record ${record.control.ordinal}`)
      }
      if (record.type === 'decision') decisions.push({ facts: record.facts, entity: entityOf(record.personal) })
    },
  })
  return { logId, routings, controls, decisions, findings }
}

/**
 * What is wrong: one line each; nothing where every decision was prescribed and made as its revision says. A server of
 * a fleet may pass revisions over, those that came while it was away.
 */
export function judgeRoutes(
  log: RoutesLog,
  told: { decided: ReadonlyMap<string, number> },
  { isFleet = false }: { readonly isFleet?: boolean } = {},
): string[] {
  const findings = [...log.findings]
  const buckets = new Map<string, number>()
  for (const decision of log.decisions) findings.push(...wrongIn(decision, log, buckets))
  findings.push(...order(log, isFleet))
  const logged = new Map(
    log.decisions.map(({ facts }) => [decisionId(log.logId, facts.epoch, facts.ordinal, facts.unfolded), facts]),
  )
  for (const [id, revision] of told.decided) {
    const facts = logged.get(id)
    if (facts === undefined) findings.push(`${id} was answered and is not in the log`)
    else if (facts.routesRevision !== revision) findings.push(`${id} was answered under ${revision}, logged otherwise`)
  }
  return findings
}

function wrongIn({ facts, entity }: RoutesLog['decisions'][number], log: RoutesLog, buckets: Map<string, number>) {
  const { ordinal, routesRevision: revision } = facts
  const found: string[] = []
  const routing = log.routings.get(revision)
  if (routing === undefined) return [`${ordinal}: nobody made revision ${revision}`]
  const { champion, challenger, share, baseline, experiment_key: key } = routing.routes
  const name = `${key} ${entity}`
  const bucket = buckets.get(name) ?? bucketOf(key, entity)
  buckets.set(name, bucket)
  if (facts.bucket !== bucket) found.push(`${ordinal}: bucket ${facts.bucket}, by the key ${bucket}`)
  const challenged = challenger !== null && bucket < share
  const prescribed = challenged ? challenger : champion
  if (facts.prescribedModel !== prescribed)
    found.push(`${ordinal}: prescribed ${facts.prescribedModel}, not ${prescribed}`)
  const chain = [...(challenged ? [challenger] : []), champion, baseline]
  const answered = facts.model === null ? null : `${facts.model.name}@${facts.model.version}`
  const hops = facts.fallback.map(({ model }) => model)
  if (JSON.stringify([...hops, answered]) !== JSON.stringify(chain.slice(0, hops.length + 1))) {
    found.push(`${ordinal}: went ${[...hops, answered].join(' → ')}, its chain is ${chain.join(' → ')}`)
  }
  const { baseline: all, open } = routing.forced
  for (const model of chain.slice(0, -1)) {
    const hop = facts.fallback.find((one) => one.model === model)
    const isForced = all || open.includes(model)
    if (isForced && answered === model) found.push(`${ordinal}: ${model} answered, which revision ${revision} forbids`)
    if (isForced && hop !== undefined && hop.reason !== 'forced')
      found.push(`${ordinal}: left for ${hop.reason}, was forced`)
    // A row under way may come to a lane that is held open by then, under a later revision.
    if (!isForced && hop?.reason === 'forced' && !wasForcedBy(log, model, facts))
      found.push(`${ordinal}: nobody forced ${model}`)
  }
  return found
}

function wasForcedBy({ controls, routings }: RoutesLog, model: string, { decidedAtMs }: DecisionFacts): boolean {
  return controls.some(({ foldedAtMs, state }) => {
    const { routes } = JSON.parse(state) as ControlState
    return foldedAtMs <= decidedAtMs && routings.get(routes.revision)?.forced.open.includes(model) === true
  })
}

/** Revisions never fall as ordinals rise; a change acts on nothing before its record, one at once on all behind it. */
function order({ decisions, controls }: RoutesLog, isFleet: boolean): string[] {
  const found: string[] = []
  const places = [
    ...decisions
      .filter(({ facts }) => !facts.unfolded)
      .map(({ facts }) => ({ at: facts.ordinal, facts, control: null })),
    ...controls.map((control) => ({ at: control.ordinal, facts: null, control })),
  ].sort((one, other) => one.at - other.at)
  let served = 0
  let newest = 0
  let previous = -1
  for (const { at, facts, control } of places) {
    if (at === previous) found.push(`ordinal ${at} was given twice`)
    previous = at
    if (control !== null) {
      const { revision } = (JSON.parse(control.state) as ControlState).routes
      if (isFleet ? revision <= newest : revision !== newest + 1)
        found.push(`control record ${at} has revision ${revision} after ${newest}`)
      newest = revision
      if (isAtOnce(control.kind)) served = revision
    } else {
      const { routesRevision: revision } = facts
      if (revision < served) found.push(`${at}: revision ${revision} after ${served}`)
      if (revision > newest) found.push(`${at}: revision ${revision} before its record`)
      served = Math.max(served, revision)
    }
  }
  return found
}

function isAtOnce(kind: string): boolean {
  return [...AT_ONCE].some((known) => known === kind)
}

function bucketOf(key: string, entity: string): number {
  const first = createHmac('sha256', Buffer.from(key, 'hex')).update(entity, 'utf8').digest().readUInt32BE(0)
  return Number((BigInt(first) * 10_000n) >> 32n)
}
