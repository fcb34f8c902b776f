// The main thread's end of one lane thread: its worker, its two rings, and the rows it holds. A thread that dies or
// hangs takes its link with it; a replacement gets a new one, so nothing late can be mistaken for something current.
// Invariant: after `giveUp` nobody waits for any row of this link, and what still comes from it is only counted.
// It restarts nothing and knows no breaker.

import assert from 'node:assert'
import type { Worker } from 'node:worker_threads'
import type { FallbackReason } from '../../contract/decision.js'
import type { LaneProviders, ProviderInUse } from '../../contract/providers.js'
import type { Limits } from '../../limits.js'
import type { Bundle } from '../../models/bundle.js'
import { createRingBuffer, ringFrameBytes, ringReader, ringWriter } from '../../runtime/ring.js'
import { createFlights, type OnFlight } from './flights.js'
import type { DirectRows, LaneCounters, Ticket } from './port.js'
import type { ModelThreads } from './threads.js'
import type { LaneWire, ThreadMessage } from './wire.js'
import { batchRowsMax, CONTROL, CONTROL_BYTES, isNarrow, OUTCOME, PROBE_BYTES, PROBED_BYTES } from './wire.js'
import { RESULT_HEADER_BYTES, RESULT_ROW_BYTES, ringViews, ROW_HEADER_BYTES, rowBytes } from './wire.js'

/** Milliseconds between publishing an answer and its being heard here, of a round trip at rest (bench/lane.ts). */
const HOP_MS = 0.05

export interface LinkOptions {
  readonly bundle: Bundle
  readonly columns: Int32Array
  readonly limits: Limits
  readonly isBeside: boolean
  readonly providers: LaneProviders
}

export interface LinkDeps {
  readonly counters: LaneCounters
  readonly batchRows: Uint32Array
  readonly threads: ModelThreads
}

export interface LinkHooks {
  onScore(ticket: Ticket, score: number, raw: number): void
  onFailure(ticket: Ticket, reason: FallbackReason): void
  onFlight: OnFlight
  onProbed(matched: boolean, slowestMs: number): void
  onReady(): void
  onThrew(detail: string): void
  /** The thread is gone; what it had answered was heard before. `refused`: its bundle is at fault. */
  onEnd(detail: string, refused: boolean): void
}

export interface Link {
  /** False where there is no room. */
  offer(ticket: Ticket, vector: Float64Array, at: number): boolean
  /** Hands rows of a direct call over, in the model's own order, as a flight that is not reported. */
  offerDirect(direct: DirectRows): boolean
  flush(): void
  /** Hears what the thread has answered, without waiting for its message. */
  hear(): void
  expire(ticket: Ticket): boolean
  queued(): number
  /** Of these, the rows that somebody still waits for. */
  awaitedRows(): number
  predictedMs(): number
  /** Rows that a run takes within the time that it may take. */
  rowsPerRun(): number
  /** Sends golden rows; one answer follows through `onProbed` unless the thread ends. */
  probe(): void
  /** Something was handed over that is not answered. */
  busy(): boolean
  /** Grows whenever the thread gets round its loop. */
  rounds(): number
  /** Lets the thread finish what waits and end. */
  stop(): void
  /** What its session runs on; null before it is ready. */
  provider(): ProviderInUse | null
  /** Fails every row that is awaited. Takes no more; what comes later is counted. */
  giveUp(reason: FallbackReason): void
  /** Lets the process forget a thread that does not end. */
  abandon(): void
}

/** Starts a thread; `onReady` or `onEnd` follows. */
export function startLink(options: LinkOptions, deps: LinkDeps, hooks: LinkHooks): Link {
  const { bundle, columns, limits } = options
  const { counters, batchRows } = deps
  const rowsMax = limits.laneRowsMax
  const frameBytes = rowBytes(bundle)
  const flights = createFlights(rowsMax, (failed, isNews) => hooks.onFlight(failed, isNews))
  const wire: LaneWire = {
    bundle,
    // Twice what the frames take: a pad at the wrap costs less than one frame, and a probe waits beside the rows.
    rows: createRingBuffer(2 * (rowsMax + 1) * ringFrameBytes(frameBytes)),
    // Twice more: rows offered while answers are being heard may be answered before those are released.
    results: createRingBuffer(4 * (rowsMax + 1) * ringFrameBytes(RESULT_HEADER_BYTES + RESULT_ROW_BYTES)),
    waiting: flights.waiting,
    control: new SharedArrayBuffer(CONTROL_BYTES),
    batchRowsMax: batchRowsMax(options.providers, limits),
    batchRowsPlain: Math.min(limits.laneBatchRowsMax, rowsMax),
    providers: options.providers,
    batchMicrosMax: limits.laneBatchMicrosMax,
    warmMs: limits.laneWarmMs,
    isBeside: options.isBeside,
  }
  const control = new Int32Array(wire.control)
  const rows = ringWriter(wire.rows)
  const { words, floats, doubles } = ringViews(wire.rows)
  const narrow = isNarrow(bundle)
  const valueShift = narrow ? 2 : 3
  const values = narrow ? floats : doubles
  let probing = false
  let gone = false

  const endFlight = (): void => {
    if (flights.end()) rows.publish()
  }
  const heard = createHearing(wire, {
    row: (score, raw) => {
      if (gone) {
        if (score >= 0) counters.late++
        return
      }
      hearRow(score, raw)
    },
    first: (place) => assert(gone || place === flights.place(), 'answers come in the order of the rows'),
    run: (rowsRun) => {
      counters.runs++
      batchRows[rowsRun]++
    },
    probed: (matched, slowestMs) => {
      if (!probing) return
      probing = false
      hooks.onProbed(matched, slowestMs)
    },
  })
  const hearRow = (score: number, raw: number): void => {
    const ticket = flights.ticket()
    const awaited = flights.awaited()
    flights.settle(score < 0 && score !== OUTCOME.skipped, score === OUTCOME.threw)
    if (!awaited) {
      if (score === OUTCOME.skipped) counters.skipped++
      else if (score >= 0) counters.late++
    } else if (score >= 0) {
      counters.scored++
      hooks.onScore(ticket, score, raw)
    } else if (score === OUTCOME.invalid) {
      counters.invalid++
      hooks.onFailure(ticket, 'invalid_output')
    } else {
      counters.failed++
      hooks.onFailure(ticket, 'model_error')
    }
  }

  const worker = deps.threads.start(wire)
  let provider: ProviderInUse | null = null
  listen(worker, heard, {
    ...hooks,
    onServed: () => (gone ? void worker.terminate() : deps.threads.giveBack(worker)),
    onReady(own) {
      provider = own
      hooks.onReady()
    },
  })

  return {
    offer(ticket, vector, at) {
      if (flights.queued() >= rowsMax) return false
      const offset = rows.reserve(frameBytes)
      if (offset < 0) return false
      words[(offset >> 2) + 1] = flights.openFlight()
      words[offset >> 2] = flights.add(ticket)
      const to = (offset + ROW_HEADER_BYTES) >> valueShift
      for (let i = 0; i < columns.length; i++) values[to + i] = vector[at + columns[i]]
      rows.commit(frameBytes)
      if (flights.openRows() === limits.flightRowsMax) endFlight()
      return true
    },
    offerDirect({ ticket, rows: from, at, count }) {
      endFlight()
      if (flights.queued() + count > rowsMax) return false
      for (let row = 0; row < count; row++) {
        const offset = rows.reserve(frameBytes)
        assert(offset >= 0, 'the ring has room for every row that may wait')
        words[(offset >> 2) + 1] = flights.openFlight()
        words[offset >> 2] = flights.add(ticket - row)
        const to = (offset + ROW_HEADER_BYTES) >> valueShift
        for (let i = 0; i < columns.length; i++) values[to + i] = from[at + row * columns.length + i]
        rows.commit(frameBytes)
      }
      if (flights.end(false)) rows.publish()
      return true
    },
    flush: endFlight,
    hear: heard,
    expire: (ticket) => flights.expire(ticket),
    queued: () => flights.queued(),
    awaitedRows: () => flights.awaitedRows(),
    predictedMs() {
      // Rows that nobody waits for are skipped. A run that takes longer than it should is no wait to be predicted: what
      // cannot be known is left to deadline and breaker, else a blocked lane would look like overload.
      const waiting = flights.awaitedRows()
      const rowsNow = Math.max(wire.batchRowsPlain, Atomics.load(control, CONTROL.batchRows))
      const runs = Math.ceil((waiting + 1) / rowsNow)
      const ns = (waiting + 1) * Atomics.load(control, CONTROL.rowNs) + runs * Atomics.load(control, CONTROL.runNs)
      return ns / 1e6 + HOP_MS
    },
    rowsPerRun() {
      const rowUs = Atomics.load(control, CONTROL.rowNs) / 1000
      const leftUs = wire.batchMicrosMax - Atomics.load(control, CONTROL.runNs) / 1000
      return rowUs > 0 ? Math.max(1, Math.min(limits.flightRowsMax, Math.floor(leftUs / rowUs))) : limits.flightRowsMax
    },
    probe() {
      const at = rows.reserve(PROBE_BYTES)
      assert(at >= 0, 'a probe has room beside the rows')
      probing = true
      words[at >> 2] = 0
      rows.commit(PROBE_BYTES)
      rows.publish()
    },
    provider: () => provider,
    busy: () => probing || flights.underWay(),
    rounds: () => Atomics.load(control, CONTROL.rounds),
    stop() {
      endFlight()
      rows.close()
    },
    giveUp(reason) {
      if (gone) return
      gone = true
      probing = false
      flights.end()
      while (flights.queued() > 0) {
        const ticket = flights.ticket()
        const awaited = flights.awaited()
        flights.settle(true, true)
        if (!awaited) continue
        counters.failed++
        hooks.onFailure(ticket, reason)
      }
    },
    abandon() {
      rows.close()
      worker.unref()
    },
  }
}

interface Hearing {
  first(place: number): void
  row(score: number, raw: number): void
  run(rowsRun: number): void
  probed(matched: boolean, slowestMs: number): void
}

/** The reader of the results ring: hears everything that waits, then sleeps until the next wake-up. */
function createHearing(wire: LaneWire, hearing: Hearing): () => void {
  const reader = ringReader(wire.results)
  const { words, doubles } = ringViews(wire.results)
  const onFrame = (_buffer: Buffer, at: number, length: number): void => {
    if (length === PROBED_BYTES) {
      hearing.probed(doubles[at >> 3] === 1, doubles[(at >> 3) + 1])
      return
    }
    const count = words[(at >> 2) + 1]
    hearing.first(words[at >> 2])
    let from = (at + RESULT_HEADER_BYTES) >> 3
    let ran = 0
    for (let i = 0; i < count; i++, from += 2) {
      if (doubles[from] !== OUTCOME.skipped) ran++
      hearing.row(doubles[from], doubles[from + 1])
    }
    if (ran > 0) hearing.run(ran)
  }
  reader.arm()
  return () => {
    do {
      reader.drain(onFrame)
      reader.release()
    } while (!reader.arm())
  }
}

type ThreadHooks = Omit<LinkHooks, 'onReady'> & {
  onReady(provider: ProviderInUse): void
  /** It has done what it was started for, and waits. */
  onServed(): void
}

function listen(worker: Worker, hear: () => void, hooks: ThreadHooks): void {
  let detail = ''
  let refused = false
  const onMessage = (message: ThreadMessage): void => {
    if (message === 0) hear()
    else if (message.kind === 'ready') hooks.onReady(message.provider)
    else if (message.kind === 'threw') hooks.onThrew(message.detail)
    else if (message.kind === 'failed') ({ detail, refused } = message)
    else {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit)
      hooks.onServed()
      end('the thread ended')
    }
  }
  const onError = (error: Error): void => void (detail = error.message)
  const onExit = (code: number): void => end(`the thread ended with code ${code}`)
  const end = (why: string): void => {
    hear()
    hooks.onEnd(detail === '' ? why : detail, refused)
  }
  worker.on('message', onMessage).on('error', onError).on('exit', onExit)
}
