// Takes history into the decision log and state that this process holds: by the server's own stages from validate to
// log, with more rows under way than requests may have, and patience for the disk.
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import { problemCode } from '../../contract/problem.js'
import type { StreamSource } from '../../contract/record-types.js'
import { AssayError } from '../../errors.js'
import type { Clock } from '../../runtime/clock.js'
import { createMetrics } from '../../telemetry/metrics.js'
import { assemble, type Fixed, type Live } from '../assemble.js'
import type { Control } from '../control.js'
import type { Exchange } from '../exchange.js'
import { emptyTally, type HistoryTarget, noteRefused } from './import.js'
import { historySource, placesDone } from './source.js'

/** A server of this process, before it answers anybody. */
export interface HeldServer {
  readonly fixed: Fixed
  readonly live: Omit<Live, 'lanes' | 'loaded' | 'shared' | 'serving' | 'open'>
  readonly control: Pick<Control, 'serving' | 'change'>
  /** Called whenever the log has moved. */
  readonly progress: { call: () => void }
}

/** Rows under way: while the disk syncs some, the next are folded. */
const ROWS_MAX = 2_048
/** Rows between two turns of the event loop, in which they are handed to the log's thread. */
const TURN_ROWS = 256
/** Milliseconds for a record to become durable, and for the log to have room again. */
const LOG_WAIT_MS = 120_000
const RETRY_MS = 5
/** Looks at the clock that one reading serves: a row takes some ten, of 0.1 µs each. */
const CLOCK_LOOKS = 64

/** What an entry came to. */
type Note = (row: Row, status: number, body: string, replayed: boolean) => void

/** A class, since a literal with spreads costs as much per row as the fold: one shape, made at once. */
class Row implements Exchange {
  readonly mode = 'observe'
  readonly deadlineMs = LOG_WAIT_MS
  readonly traceparent = null
  readonly decidedElsewhere = null
  readonly stale = false
  readonly begunAtMs: number
  receivedAtMs: number
  serverTiming: string | null = null
  /** It is being handed over. */
  isOffered = true
  /** False where the log had no room for it. */
  isTaken = true

  constructor(
    /** Null for a label. */
    readonly source: StreamSource | null,
    nowMs: number,
    private readonly note: Note,
  ) {
    this.begunAtMs = this.receivedAtMs = nowMs
  }

  answer(status: number, body: string, replayed: boolean): void {
    this.note(this, status, body, replayed)
  }
}

/** Time as it was a few rows ago: nobody waits for these. */
function createCoarseClock(clock: Clock): Clock {
  let looks = 0
  let [wallMs, monoMs] = [0, 0]
  const look = (): void => {
    if (looks++ % CLOCK_LOOKS === 0) [wallMs, monoMs] = [clock.nowMs(), clock.monoMs()]
  }
  return {
    nowMs() {
      look()
      return wallMs
    },
    monoMs() {
      look()
      return monoMs
    },
  }
}

type Submit = (exchange: Exchange) => void

function stuck(): AssayError {
  return new AssayError('ASSAY_LOG_IO', 'the decision log takes no records')
}

/** Makes the target; `close` before the server begins. `reason` stands in the log. */
export function intoLog(
  { fixed, live, control, progress }: HeldServer,
  reason: string,
): HistoryTarget & { close(): void } {
  const { clock, limits, policy } = fixed
  const metrics = createMetrics(limits)
  const rowClock = createCoarseClock(clock)
  const assembly = assemble(
    {
      ...{ ...fixed, metrics, clock: rowClock, limits: { ...limits, inFlightMax: ROWS_MAX } },
      // What cannot be logged now is tried again: it is never answered without a record.
      policy: { ...policy, on_log_unavailable: 'reject', budgets: { ...policy.budgets, log_wait_ms: LOG_WAIT_MS } },
    },
    { ...live, lanes: [], loaded: null, shared: null, serving: () => control.serving(), open: () => true },
  )
  const { scoring } = assembly
  const before = progress.call
  progress.call = () => {
    before()
    assembly.progress()
  }
  const tally = emptyTally()
  let out = 0
  let offered = 0
  let failure: AssayError | null = null
  let onSettled = (): void => undefined

  function note(row: Row, status: number, body: string, replayed: boolean): void {
    out--
    const code = status < 400 ? null : problemCode(JSON.parse(body))
    if (status === 503) {
      if (row.isOffered) row.isTaken = false
      else failure ??= stuck()
    } else if (row.source === null) {
      if (code === null) tally.labels++
      else failure ??= new AssayError(code, 'a label was refused')
    } else if (replayed || code === 'ASSAY_DECISION_UNKNOWN') tally.known++
    else if (code === null) tally.imported++
    else noteRefused(tally, row.source.offset, code)
    onSettled()
  }

  /** Hands one over; false where the log has no room now. */
  function offer(submit: Submit, source: StreamSource | null): boolean {
    const row = new Row(source, rowClock.monoMs(), note)
    out++
    submit(row)
    row.isOffered = false
    return row.isTaken
  }

  /** Waits until at most so many are under way. Throws what has failed meanwhile. */
  async function settled(most: number): Promise<void> {
    while (out > most && failure === null) await new Promise<void>((resolve) => (onSettled = resolve))
    if (failure !== null) throw failure
  }

  async function insist(submit: Submit, source: StreamSource | null): Promise<void> {
    const endMs = clock.monoMs() + LOG_WAIT_MS
    do {
      if (clock.monoMs() > endMs) throw stuck()
      await delay(RETRY_MS)
    } while (!offer(submit, source))
  }

  function send(submit: Submit, source: StreamSource | null): Promise<void> | undefined {
    if (!offer(submit, source)) return insist(submit, source)
    if (out >= ROWS_MAX) return settled(ROWS_MAX / 2)
    return ++offered % TURN_ROWS === 0 ? turn() : undefined
  }

  return {
    tally,
    known({ source, digest }) {
      const partitions = live.decided.partitions()
      const [sinceMs, untilMs] = [live.features.observedSinceMs(), live.features.observedUntilMs()]
      return Promise.resolve({
        ...{ done: placesDone(partitions, source), isWhole: placesDone(partitions, digest) > 0 },
        observed: Number.isNaN(sinceMs) ? null : { sinceMs, untilMs },
      })
    },
    transaction: (bytes, source, place) =>
      send((exchange) => scoring.submit(bytes, exchange), historySource(source, place)),
    label(bytes) {
      const value: unknown = JSON.parse(bytes.toString())
      return send((exchange) => scoring.submitLabels(value, exchange), null)
    },
    settled: () => settled(0),
    finish: (history) =>
      new Promise((resolve, reject) => {
        const by = { actor: 'history import', reason, revision: null, remoteAddress: null }
        const refused = control.change({ kind: 'history', history }, by, () => resolve())
        if (refused !== null) reject(new AssayError(refused.code, refused.detail))
      }),
    close() {
      progress.call = before
      assembly.close()
      metrics.close()
    },
  }
}
