// What a model would have decided over a past range of a decision log: the shadow monitor over records read again, the
// vectors scored here and now. Nothing is shed, nothing is written, and no server or sidecar is needed.
import { AssayError } from '../../errors.js'
import { type Finding, isDamage } from '../../decision-log/finding.js'
import { LIMITS, type Limits } from '../../limits.js'
import { createShadowMonitor } from '../monitors/shadow.js'
import type { Batch, DerivedRow, TailRecord } from '../port.js'
import { createTail, type Tail } from '../tail.js'
import { chooseShadows } from './choose.js'
import { groupRecords, withScores } from './grouping.js'
import { createShadowScorer, type ShadowScorer } from './scorer.js'

export interface RangeOptions {
  /** Of the decision log. */
  readonly directory: string
  readonly modelsDir: string
  /** name@version */
  readonly model: string
  /** By the time of the decision: from the first, up to and without the second. */
  readonly sinceMs: number
  readonly untilMs: number
  readonly limits?: Limits
}

export interface RangeResult {
  /** Rows of `shadow_windows` over the whole range: one per champion and segment. */
  readonly rows: readonly DerivedRow['row'][]
  /** Lost or changed evidence within what was read. */
  readonly damage: readonly Finding[]
  /** False where the log could not be read to the end that it states. */
  readonly whole: boolean
}

/** How long nothing may come of a log that states more: what is missing there is missing. */
const IDLE_MS = 10_000

/**
 * Compares over the range. Throws ASSAY_INPUT_INVALID where there is no decision log, ASSAY_BUNDLE_REFUSED where the
 * model cannot score a single row of it.
 */
export async function runShadowRange(options: RangeOptions): Promise<RangeResult> {
  const { directory, modelsDir, model, sinceMs, untilMs, limits = LIMITS } = options
  const { manifestThresholds } = await chooseShadows({ configured: [model], modelsDir, limits })
  const monitor = createShadowMonitor({ manifestThresholds, limits, keepsTotal: true })
  const scorer = createShadowScorer(modelsDir, limits)
  const tail = createTail({ directory, from: null, limits: { ...limits, tailGatherMs: 0 } })
  const damage: Finding[] = []
  let whole = true
  try {
    const end = tail.end()
    if (end === 0) throw new AssayError('ASSAY_INPUT_INVALID', `there is no decision log in ${directory}`)
    for (let at = 0; at < end;) {
      const batch = await nextWithin(tail, IDLE_MS)
      whole = batch !== null
      if (batch === null) break
      damage.push(...batch.findings.filter(isDamage))
      at = batch.position?.sequence ?? at
      const inRange = batch.records.filter((record) => isBetween(record, sinceMs, untilMs))
      for (const record of await scored(scorer, inRange, model)) monitor.take(record)
      monitor.drain()
    }
    // The challenger that answered some of it is paired too, but was not asked about.
    const all = monitor.total(sinceMs, untilMs).map(({ row }) => row)
    const rows = all.filter((row) => row.shadow === model)
    const fault = scorer.models().find(({ reference }) => reference === model)?.fault ?? null
    if (fault !== null && rows.every((row) => row.pairs === 0)) throw new AssayError('ASSAY_BUNDLE_REFUSED', fault)
    return { rows, damage, whole }
  } finally {
    tail.close()
    await scorer.close()
  }
}

function isBetween({ record }: TailRecord, sinceMs: number, untilMs: number): boolean {
  return record.type === 'decision' && record.facts.decidedAtMs >= sinceMs && record.facts.decidedAtMs < untilMs
}

async function scored(scorer: ShadowScorer, records: readonly TailRecord[], model: string): Promise<TailRecord[]> {
  const groups = groupRecords(records, [model])
  const scores: Float64Array[] = []
  for (const group of groups) scores.push(await scorer.score(group))
  return withScores(records, groups, scores)
}

async function nextWithin(tail: Tail, ms: number): Promise<Batch | null> {
  const timer = setTimeout(() => {
    tail.close()
  }, ms)
  try {
    return await tail.next()
  } finally {
    clearTimeout(timer)
  }
}
