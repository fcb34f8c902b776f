// What a lane thread does: drain the rows that wait, join them into one run, answer by row, sleep when nothing waits.
// A batch is whatever waited, capped by rows and by measured time, never by a timer.
// A run that throws is repeated once, flight by flight, where it joined several: one poisonous row must not fail
// flights that merely shared its batch, and the flight is what the breaker counts. Within its flight it does fail all.
// Rows that nobody waits for any more are not run. It decides nothing, logs nothing, touches no sockets.

import assert from 'node:assert'
import { AssayError } from '../../errors.js'
import type { ProviderInUse } from '../../contract/providers.js'
import type { Bundle } from '../../models/bundle.js'
import { goldenDifference } from '../../models/golden-difference.js'
import type { ModelSession, SessionOptions } from '../../models/session.js'
import type { OnFrame } from '../../runtime/ring.js'
import { createRests } from '../../runtime/rests.js'
import { ringReader, ringWriter } from '../../runtime/ring.js'
import { createBatch } from './batch.js'
import type { Batch } from './batch.js'
import { createCost } from './cost.js'
import type { LaneWire, ThreadMessage } from './wire.js'
import { CONTROL, OUTCOME, PROBED_BYTES, RESULT_HEADER_BYTES, RESULT_ROW_BYTES, ringViews } from './wire.js'

/** Runs of the warm-up; a slow model ends it by time. */
const WARM_RUNS = 200

export interface ThreadDeps {
  open(bundle: Bundle, options: SessionOptions): Promise<ModelSession>
  post(message: ThreadMessage): void
  /** Monotonic milliseconds with fraction. */
  monoMs(): number
}

/** Loads the model, says `ready` or `failed`, and serves until the rows ring is closed and empty. */
export async function serveLane(wire: LaneWire, deps: ThreadDeps): Promise<void> {
  const rows = ringReader(wire.rows)
  let runner: Runner
  try {
    runner = await prepare(wire, deps, () => rows.ended())
  } catch (error) {
    const refused = error instanceof AssayError && error.code === 'ASSAY_BUNDLE_REFUSED'
    deps.post({ kind: 'failed', refused, detail: textOf(error) })
    return
  }
  const batch = createBatch(wire)
  const answers = createAnswers(wire, deps)
  const take: OnFrame = (buffer, at, length) => batch.take(buffer, at, length)
  let threwBefore = false
  deps.post({ kind: 'ready', provider: runner.provider })
  while (!rows.ended()) {
    batch.clear()
    rows.drain(take, runner.rowsNow() * batch.frameBytes)
    rows.release()
    if (batch.size() > 0) {
      const error = await runner.run(batch)
      answers.batch(batch)
      if (error !== null && !threwBefore) deps.post({ kind: 'threw', detail: error })
      threwBefore = error !== null
    }
    if (batch.probeAsked()) answers.probe(await runner.probe())
    runner.roundDone()
    if (batch.size() === 0 && !batch.probeAsked()) rows.sleep(Infinity)
  }
  await runner.close()
}

interface Probed {
  readonly matched: boolean
  readonly slowestMs: number
}

interface Runner {
  readonly provider: ProviderInUse
  /** Rows the next run may have. */
  rowsNow(): number
  /** Fills `out`; returns the text of the error where the run threw, its rows then marked. */
  run(batch: Batch): Promise<string | null>
  /** Scores the golden rows again and measures anew. */
  probe(): Promise<Probed>
  roundDone(): void
  close(): Promise<void>
}

/** Opens the session, matches the golden rows and warms up. Throws where the model is not what its bundle says. */
async function prepare(wire: LaneWire, deps: ThreadDeps, stopped: () => boolean): Promise<Runner> {
  const { bundle, batchRowsMax, batchMicrosMax } = wire
  const session = await deps.open(bundle, { rowsMax: batchRowsMax, providers: wire.providers })
  const control = new Int32Array(wire.control)
  const cost = createCost()

  const timed: Timed = async (rows, count, out) => {
    const before = deps.monoMs()
    await session.run(rows, count, out)
    const tookMs = deps.monoMs() - before
    cost.add(count, tookMs * 1000)
    return tookMs
  }
  let rest = wire.isBeside ? createRests(deps) : null
  /** Of golden rows: a thread that nobody waits for any more stops between two of them. */
  const timedUnlessStopped: Timed = (rows, count, out) => {
    if (stopped()) throw new AssayError('ASSAY_MODEL_FAILED', 'stopped while loading')
    rest?.()
    return timed(rows, count, out)
  }
  const publish = (): void => {
    Atomics.store(control, CONTROL.rowNs, Math.min(cost.perRowUs() * 1000, 0x7fffffff))
    Atomics.store(control, CONTROL.runNs, Math.min(cost.perRunUs() * 1000, 0x7fffffff))
    Atomics.store(control, CONTROL.batchRows, rowsNow())
    Atomics.add(control, CONTROL.rounds, 1)
  }
  const rowsNow = (): number => cost.rowsWithin(batchMicrosMax, wire.batchRowsPlain, batchRowsMax)
  const match = (): Promise<Probed> => matchGolden(bundle.golden, batchRowsMax, { timed: timedUnlessStopped, rowsNow })
  const first = await match()
  if (!first.matched) {
    throw new AssayError('ASSAY_BUNDLE_REFUSED', `${bundle.directory}: the golden rows do not score as the bundle says`)
  }
  await warm(bundle.golden, { batchRowsMax, warmMs: wire.warmMs, timed: timedUnlessStopped })
  // A probe is waited for.
  rest = null
  publish()
  return {
    provider: session.provider,
    rowsNow,
    async run(batch) {
      if (batch.packed() === 0) return null
      try {
        await timed(batch.input, batch.packed(), batch.out)
        return null
      } catch (error) {
        await runApart(batch, session)
        return textOf(error)
      }
    },
    async probe() {
      cost.reset()
      try {
        return await match()
      } catch {
        return { matched: false, slowestMs: 0 }
      }
    },
    roundDone: publish,
    close: () => session.close(),
  }
}

/** After a run that threw: each flight by itself, once. Flights that throw alone are marked row by row. */
async function runApart(batch: Batch, session: ModelSession): Promise<void> {
  const { input, columns, out } = batch
  const packed = batch.packed()
  if (batch.flight(0) === batch.flight(packed - 1)) {
    out.scores.fill(OUTCOME.threw, 0, packed)
    return
  }
  const part = { raw: new Float64Array(packed), scores: new Float64Array(packed) }
  for (let from = 0, to = 0; from < packed; from = to) {
    while (to < packed && batch.flight(to) === batch.flight(from)) to++
    try {
      input.copyWithin(0, from * columns, to * columns)
      await session.run(input, to - from, part)
      out.raw.set(part.raw.subarray(0, to - from), from)
      out.scores.set(part.scores.subarray(0, to - from), from)
    } catch {
      out.scores.fill(OUTCOME.threw, from, to)
    }
  }
}

type Timed = (rows: Float32Array | Float64Array, count: number, out: Batch['out']) => Promise<number>

/**
 * Whether every golden row scores as the bundle says, and how long the slowest run of them took. Runs are as long as
 * those of payments would be: a slow model is not held against a deadline with a batch that it would never be given.
 */
async function matchGolden(
  golden: Bundle['golden'],
  rowsMax: number,
  { timed, rowsNow }: { timed: Timed; rowsNow: () => number },
): Promise<Probed> {
  const out = { raw: new Float64Array(rowsMax), scores: new Float64Array(rowsMax) }
  let slowestMs = 0
  let matched = true
  for (let from = 0, count = 1; from < golden.count; from += count) {
    count = from === 0 ? 1 : Math.min(rowsNow(), golden.count - from)
    const rows = golden.values.subarray(from * golden.columns, (from + count) * golden.columns)
    slowestMs = Math.max(slowestMs, await timed(rows, count, out))
    for (let i = 0; i < count; i++) {
      if (goldenDifference(golden, from + i, out, i).message !== null) matched = false
    }
  }
  return { matched, slowestMs }
}

/** Runs of one row and of a full batch in turn, golden rows rotated: the same row over and over is twice too fast. */
async function warm(
  golden: Bundle['golden'],
  { batchRowsMax, warmMs, timed }: { batchRowsMax: number; warmMs: number; timed: Timed },
): Promise<void> {
  const { columns, count, values } = golden
  const rows = new Float64Array(batchRowsMax * columns)
  const out = { raw: new Float64Array(batchRowsMax), scores: new Float64Array(batchRowsMax) }
  for (let run = 0, next = 0, leftMs = warmMs; run < WARM_RUNS && leftMs > 0; run++) {
    const size = run % 2 === 0 ? 1 : batchRowsMax
    for (let i = 0; i < size; i++, next = (next + 1) % count) {
      rows.set(values.subarray(next * columns, (next + 1) * columns), i * columns)
    }
    leftMs -= await timed(rows, size, out)
  }
}

function createAnswers(wire: LaneWire, deps: ThreadDeps) {
  const results = ringWriter(wire.results, () => deps.post(0))
  const { words, doubles } = ringViews(wire.results)
  const reserve = (bytes: number): number => {
    const at = results.reserve(bytes)
    assert(at >= 0, 'the results ring holds an answer for every row that may wait')
    return at
  }
  return {
    batch(batch: Batch): void {
      const count = batch.size()
      const bytes = RESULT_HEADER_BYTES + count * RESULT_ROW_BYTES
      const at = reserve(bytes)
      words[at >> 2] = batch.firstPlace()
      words[(at >> 2) + 1] = count
      let to = (at + RESULT_HEADER_BYTES) >> 3
      for (let i = 0; i < count; i++, to += 2) {
        const packed = batch.packedAt(i)
        const score = packed < 0 ? OUTCOME.skipped : batch.out.scores[packed]
        doubles[to] = Number.isNaN(score) ? OUTCOME.invalid : score
        doubles[to + 1] = packed < 0 ? 0 : batch.out.raw[packed]
      }
      results.commit(bytes)
      results.publish()
    },
    probe(probed: Probed): void {
      const at = reserve(PROBED_BYTES)
      doubles[at >> 3] = probed.matched ? 1 : 0
      doubles[(at >> 3) + 1] = probed.slowestMs
      results.commit(PROBED_BYTES)
      results.publish()
    },
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
