// Sends a script of history to a server, at rest or running, from the place on that its decision log does not hold yet.
// Invariant: transactions and labels arrive in the order of the script, and a place that the log holds is not sent
// again. Refuses history that leaves a gap to what the server has observed itself, or reaches into it.
import type { ImportedHistory } from '../../contract/control-state.js'
import { isoTime } from '../../contract/time.js'
import { AssayError, type ErrorCode } from '../../errors.js'
import type { CompiledCatalogue } from '../../features/compile.js'
import type { Clock } from '../../runtime/clock.js'
import type { Script } from './script.js'

/** Event times between which a server has seen payments. */
export interface Observed {
  readonly sinceMs: number
  readonly untilMs: number
}

/** What a server knows of a history. */
export interface Known {
  /** Transactions from the first on that its log holds. */
  readonly done: number
  /** It was imported to its end, with these labels. */
  readonly isWhole: boolean
  /** Null before the first payment. */
  readonly observed: Observed | null
}

/** What became of what was sent. */
export interface Tally {
  /** Folded and logged now. */
  imported: number
  /** Observed or decided before. */
  known: number
  /** Refused by the server; the first few with place and code. */
  refused: number
  readonly firstRefused: { readonly place: number; readonly code: ErrorCode }[]
  labels: number
}

/** A server that takes history in. What a call returns is to be waited for before the next. */
export interface HistoryTarget {
  known(script: Pick<Script, 'source' | 'digest'>): Promise<Known>
  transaction(bytes: Buffer, source: string, place: number): Promise<void> | undefined
  label(bytes: Buffer): Promise<void> | undefined
  /** Everything sent is durable. */
  settled(): Promise<void>
  /** All was sent: writes that down, durably. */
  finish(history: ImportedHistory): Promise<void>
  readonly tally: Tally
}

export interface ImportOptions {
  readonly clock: Clock
  readonly catalogue: Pick<CompiledCatalogue, 'names' | 'plan'>
  readonly gapMsMax: number
  /** Told how far it is, now and then. */
  readonly onProgress: (transactions: number) => void
}

export interface ImportReport extends Tally {
  readonly source: string
  readonly transactions: number
  readonly from: string
  readonly until: string
  /** Places that the log held before. */
  readonly done: number
  readonly ms: number
  readonly windows: Windows
}

/** Features that look back, as they are for a payment right after all that was observed. */
export interface Windows {
  /** Their windows were observed for their whole length. */
  readonly full: readonly string[]
  readonly cold: readonly { readonly feature: string; readonly warm_from: string | null }[]
}

const REFUSED_SHOWN = 5
const PROGRESS_MS = 2_000

export function emptyTally(): Tally {
  return { imported: 0, known: 0, refused: 0, firstRefused: [], labels: 0 }
}

/** Counts a transaction that the server does not take. */
export function noteRefused(tally: Tally, place: number, code: ErrorCode): void {
  tally.refused++
  if (tally.firstRefused.length < REFUSED_SHOWN) tally.firstRefused.push({ place: place + 1, code })
}

/** Runs the import, or what is left of it. Throws ASSAY_INPUT_INVALID where the history does not fit the server. */
export async function importHistory(
  script: Script,
  target: HistoryTarget,
  { clock, catalogue, gapMsMax, onProgress }: ImportOptions,
): Promise<ImportReport> {
  const { source, digest, transactions, labels, fromMs, untilMs } = script
  const startedMs = clock.monoMs()
  const { done, isWhole, observed } = await target.known(script)
  if (!isWhole) {
    if (done === 0) checkFit(script, observed, gapMsMax)
    let place = 0
    let toldMs = startedMs
    await script.read((isLabel, bytes) => {
      if (isLabel) return place < done ? undefined : target.label(bytes)
      if (place++ < done) return undefined
      if (place % 1_000 === 0 && clock.monoMs() - toldMs > PROGRESS_MS) {
        toldMs = clock.monoMs()
        onProgress(place)
      }
      return target.transaction(bytes, source, place - 1)
    })
    await target.settled()
    await target.finish({ source, digest, transactions, labels, from_ms: fromMs, until_ms: untilMs })
  }
  const now = await target.known(script)
  return {
    ...target.tally,
    ...{ source, transactions, from: isoTime(fromMs), until: isoTime(untilMs), done: Math.min(done, transactions) },
    ...{ ms: Math.round(clock.monoMs() - startedMs), windows: windowsOf(catalogue, now.observed) },
  }
}

function windowsOf({ names, plan }: ImportOptions['catalogue'], observed: Observed | null): Windows {
  const looking = names.map((feature, at) => ({ feature, spanMs: plan.spansMs[at] })).filter(({ spanMs }) => spanMs > 0)
  const isFull = (spanMs: number): boolean => observed !== null && observed.sinceMs + spanMs <= observed.untilMs
  return {
    full: looking.filter(({ spanMs }) => isFull(spanMs)).map(({ feature }) => feature),
    cold: looking
      .filter(({ spanMs }) => !isFull(spanMs))
      .map(({ feature, spanMs }) => {
        return { feature, warm_from: observed === null ? null : isoTime(observed.sinceMs + spanMs) }
      }),
  }
}

/** History joins what was observed, before it or behind it, without a gap between. */
function checkFit({ fromMs, untilMs }: Script, observed: Observed | null, gapMsMax: number): void {
  if (observed === null) return
  const { sinceMs, untilMs: newestMs } = observed
  const refuse = (detail: string): never => {
    throw new AssayError('ASSAY_INPUT_INVALID', detail)
  }
  const [since, newest] = [isoTime(sinceMs), isoTime(newestMs)]
  if (untilMs > sinceMs && fromMs < newestMs) {
    refuse(`the server has observed payments from ${since} to ${newest} itself: --until ${since} leaves them out`)
  }
  const isBefore = untilMs <= sinceMs
  if ((isBefore ? sinceMs - untilMs : fromMs - newestMs) <= gapMsMax) return
  const between = isBefore ? `${isoTime(untilMs)} and ${since}` : `${newest} and ${isoTime(fromMs)}`
  refuse(`a gap: nothing is known of the time between ${between}; --gap-max allows a longer one`)
}
