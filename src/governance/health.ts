// What the sidecar says of itself: how far it has come, what it found, what is wrong. Behind /metrics, /livez, /readyz.
// Pure but for the clock, which counts lag in seconds and nothing else.
import { type Finding, isDamage } from '../decision-log/finding.js'
import type { AssayError } from '../errors.js'
import type { Clock } from '../runtime/clock.js'
import type { Publisher } from './pipeline.js'
import type { Batch } from './port.js'
import type { Tail } from './tail.js'

export interface GovernFacts {
  /** starting: no store yet; waiting: no log yet; paused: the disk is full; failed: retried with back-off. */
  readonly state: 'starting' | 'waiting' | 'reading' | 'paused' | 'failed'
  readonly ready: boolean
  /** In words: what is wrong, and whom it concerns. */
  readonly troubles: readonly string[]
  readonly logId: string | null
  readonly epoch: number
  readonly sequence: number
  readonly lagRecords: number
  readonly lagSeconds: number
  /** Record time of the newest record, ms; 0 before the first. */
  readonly recordedAtMs: number
  /** Since this process began. */
  readonly recordsTotal: number
  readonly batchesTotal: number
  readonly findingsTotal: number
  readonly damageTotal: number
  /** Times that the store was made anew because the log took records back. */
  readonly rebuildsTotal: number
  /** Records that had been read and that the log took back. */
  readonly takenBackTotal: number
}

export interface Health {
  opened(recordedAtMs: number): void
  committed(batch: Batch): void
  /** Null: there is room again. */
  paused(why: string | null): void
  failed(error: AssayError): void
  /** The log ends at `to`: what was read beyond it, up to `from`, is gone. */
  takenBack(batch: Batch, span: { readonly from: number; readonly to: number }): void
  closed(): void
  /** True, once, after `takenBack`. */
  wantsRebuild(): boolean
  facts(open: Watched | null, publishers: readonly Publisher[]): GovernFacts
}

/** What is looked at when facts are asked for. */
interface Watched {
  readonly tail: Pick<Tail, 'end' | 'fault'>
  readonly store: {
    resume(): {
      readonly position: { readonly logId: Buffer; readonly epoch: number; readonly sequence: number }
    } | null
    recordedAtMs(): number
  }
}

export function createHealth(clock: Clock): Health {
  const totals = {
    recordsTotal: 0,
    batchesTotal: 0,
    findingsTotal: 0,
    damageTotal: 0,
    rebuildsTotal: 0,
    takenBackTotal: 0,
  }
  let failure: AssayError | null = null
  let pause: string | null = null
  let rebuild = false
  let caughtUpAtMs = clock.nowMs()

  const count = (findings: readonly Finding[]): void => {
    totals.findingsTotal += findings.length
    totals.damageTotal += findings.filter(isDamage).length
  }

  /** Time since there was nothing more to read, or since the newest record read: whichever is shorter. */
  const lagSeconds = (records: number, recordedAtMs: number): number => {
    if (records === 0) caughtUpAtMs = clock.nowMs()
    return records === 0 ? 0 : Math.max(0, clock.nowMs() - Math.max(recordedAtMs, caughtUpAtMs)) / 1000
  }

  return {
    opened() {
      failure = null
    },
    committed(batch) {
      totals.recordsTotal += batch.records.length
      totals.batchesTotal += 1
      count(batch.findings)
    },
    paused: (why) => void (pause = why),
    failed: (error) => void (failure = error),
    takenBack(batch, { from, to }) {
      totals.rebuildsTotal += 1
      totals.takenBackTotal += Math.max(0, from - to)
      count(batch.findings)
      rebuild = true
    },
    closed: () => undefined,
    wantsRebuild() {
      const wanted = rebuild
      rebuild = false
      return wanted
    },
    facts(open, publishers) {
      const fault = open?.tail.fault() ?? failure
      const position = open?.store.resume()?.position ?? null
      const recordedAtMs = open?.store.recordedAtMs() ?? 0
      const lagRecords = open === null ? 0 : Math.max(0, open.tail.end() - (position?.sequence ?? 0))
      const troubles = publishers.flatMap((one) => {
        const words = one.trouble()
        return words === null ? [] : [`${one.name}: ${words}`]
      })
      if (fault !== null) troubles.unshift(`${fault.code}: ${fault.message}`)
      if (pause !== null) troubles.unshift(pause)
      if (totals.damageTotal > 0) troubles.push(`${totals.damageTotal} findings of lost or changed evidence`)
      return {
        ...totals,
        state: stateOf({ pause, fault, isOpen: open !== null, hasRead: position !== null }),
        ready: open !== null && fault === null,
        troubles,
        logId: position?.logId.toString('hex') ?? null,
        epoch: position?.epoch ?? 0,
        sequence: position?.sequence ?? 0,
        lagRecords,
        lagSeconds: lagSeconds(lagRecords, recordedAtMs),
        recordedAtMs,
      }
    },
  }
}

function stateOf(now: {
  readonly pause: string | null
  readonly fault: AssayError | null
  readonly isOpen: boolean
  readonly hasRead: boolean
}): GovernFacts['state'] {
  if (now.pause !== null) return 'paused'
  if (now.fault !== null) return 'failed'
  if (!now.isOpen) return 'starting'
  return now.hasRead ? 'reading' : 'waiting'
}
