// Direct calls of models under their own names: rows in, scores out, no decision. Each row leaves an `inference`
// record, and the answer leaves once the last of them is durable. Bounded apart from payments: values held, rows with
// lanes or in the log, and the time that a call may take. It is refused where payments would feel it, never they.
import { Buffer } from 'node:buffer'
import type { Role } from '../../contract/decision.js'
import type { Rows } from '../../contract/inference-rows.js'
import type { RecordCodecs } from '../../contract/record.js'
import type { InferencePersonal } from '../../contract/record-types.js'
import type { DecisionLog } from '../../decision-log/port.js'
import { type Rejection, reject } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import type { Metrics } from '../../telemetry/metrics.js'
import { blank } from '../in-flight.js'
import type { LaneListener, Ticket } from '../lane/port.js'
import type { LoadedBaseline, LoadedModel, LoadedModels } from '../models.js'
import type { Order } from '../order.js'
import { noteUnfolded } from '../row.js'
import type { Serving } from '../serving.js'
import { type Call, createDesk, type Desk } from './desk.js'
import type { Tally } from './tally.js'

export interface DirectDeps {
  readonly limits: Limits
  readonly clock: Clock
  readonly log: DecisionLog
  readonly codecs: RecordCodecs
  readonly order: Order
  readonly serving: () => Serving
  readonly loaded: LoadedModels
  readonly metrics: Metrics
  readonly wake: () => void
}

export interface Scores {
  readonly scores: Float64Array
  /** What the model itself gave, before the score map. */
  readonly raws: Float64Array
}

export interface Asked {
  readonly model: LoadedModel | LoadedBaseline
  readonly rows: Rows
  /** Of each row; kept in its record, and no more. */
  readonly transactionIds: readonly (string | null)[]
  readonly entities: readonly (string | null)[]
  readonly traceparent: string | null
  /** Called once, later or at once. */
  readonly onDone: (outcome: Scores | Rejection) => void
}

export interface Direct extends LaneListener {
  ask(asked: Asked): void
  tallyOf(model: LoadedModel | LoadedBaseline): Tally
  /** The durable sequence moved. */
  progress(): void
  /** Once a millisecond while a call is under way. */
  tick(): void
  /** Calls that are not answered. */
  waiting(): number
}

interface DirectCall extends Call, Asked {
  readonly askedAtMs: number
  /** Of its last record. */
  sequence: number
  isOver: boolean
}

export function createDirect(deps: DirectDeps): Direct {
  const { limits, clock, log, metrics } = deps
  const desks = new Set<Desk<DirectCall>>()
  const record = createRecording(deps)
  /** Calls whose rows are all logged, in the order of their last records. */
  const settling: { readonly desk: Desk<DirectCall>; readonly call: DirectCall }[] = []
  /** Sequences of records that are not durable. */
  const unsynced: number[] = []
  let reserved = 0
  let values = 0
  let open = 0
  let lastTicket = 0

  function deskOf(model: LoadedModel | LoadedBaseline): Desk<DirectCall> {
    for (const known of desks) if (known.model === model) return known
    // Of models that were taken out: what they still owe is answered by their lanes' end.
    for (const old of desks) if (old.calls.length === 0 && old.batch === null && !isLoaded(old)) desks.delete(old)
    const onRow = (ticket: Ticket, score: number, raw: number): void => hear(desk, ticket, { score, raw })
    const desk = createDesk<DirectCall>(model, { rowsMax: limits.flightRowsMax, onRow })
    desks.add(desk)
    return desk
  }

  function isLoaded({ model }: Desk<DirectCall>): boolean {
    return model === deps.loaded.baseline || deps.loaded.models.get(model.reference) === model
  }

  function deskOfLane(lane: object): Desk<DirectCall> | undefined {
    for (const desk of desks) if ('lane' in desk.model && desk.model.lane === lane) return desk
    return undefined
  }

  /** Hands the next batch over, if the lane waits for nothing else and the log has room; at each tick and sync. */
  function pump(desk: Desk<DirectCall>): void {
    const call = desk.calls.at(0)
    if (call === undefined || desk.batch !== null) return
    const room = Math.min(desk.room(), limits.directRowsMax - reserved - unsynced.length)
    const wanted = Math.min(call.rows.count - call.next, room)
    let count = 0
    while (count < wanted && log.reserve()) count++
    if (count === 0) return
    const from = call.next
    const ticket = (lastTicket -= count) + count - 1
    desk.batch = { call, from, count, ticket, heard: 0 }
    reserved += count
    if (Number.isNaN(call.offeredAtMs)) {
      call.offeredAtMs = clock.monoMs()
      desk.tally.took('queue', call.offeredAtMs - call.askedAtMs)
    }
    call.next += count
    desk.calls.shift()
    if (call.next < call.rows.count) desk.calls.push(call)
    const { values: rows, columns } = call.rows
    const reason = desk.offer({ ticket, rows, at: from * columns, count })
    if (reason === null) desk.tally.executed()
    else fail(desk, call, reject('ASSAY_MODEL_UNAVAILABLE', `${desk.model.reference}: ${reason}; retry`))
    deps.wake()
  }

  function hear(desk: Desk<DirectCall>, ticket: Ticket, { score, raw }: { score: number; raw: number }): void {
    const { batch } = desk
    if (batch === null || ticket > batch.ticket || ticket <= batch.ticket - batch.count) return
    const { call } = batch
    const row = batch.from + batch.ticket - ticket
    call.scores[row] = score
    call.raws[row] = raw
    call.sequence = record(call, row)
    unsynced.push(call.sequence)
    reserved--
    batch.heard++
    call.answered++
    if (batch.heard === batch.count) desk.batch = null
    if (call.answered === call.rows.count) {
      desk.tally.took('compute_infer', clock.monoMs() - call.offeredAtMs)
      settling.push({ desk, call })
    }
    deps.wake()
  }

  /** Ends a call without scores; rows that its lane still has are given up. */
  function fail(desk: Desk<DirectCall>, call: DirectCall, rejection: Rejection): void {
    const at = desk.calls.indexOf(call)
    if (at >= 0) desk.calls.splice(at, 1)
    const { batch } = desk
    if (batch?.call === call) {
      desk.batch = null
      for (let row = 0; row < batch.count; row++) desk.expire(batch.ticket - row)
      for (let row = batch.heard; row < batch.count; row++, reserved--) log.release()
    }
    end(desk, call, rejection)
  }

  function end(desk: Desk<DirectCall>, call: DirectCall, outcome: Scores | Rejection): void {
    if (call.isOver) return
    call.isOver = true
    open--
    values -= call.rows.values.length
    const isGood = 'scores' in outcome
    desk.tally.took(isGood ? 'success' : 'fail', clock.monoMs() - call.askedAtMs)
    if (isGood) {
      desk.tally.answered(call.rows.count, clock.nowMs())
      metrics.inferred(desk.model.metric, call.rows.count)
    }
    call.onDone(outcome)
  }

  return {
    ask(asked) {
      const { rows, model } = asked
      if (values + rows.values.length > limits.inferValuesMax) {
        const detail = `${limits.inferValuesMax} values of direct calls are held; retry`
        return asked.onDone(reject('ASSAY_OVERLOADED', detail))
      }
      values += rows.values.length
      open++
      const [scores, raws] = [new Float64Array(rows.count), new Float64Array(rows.count)]
      const progress = { next: 0, answered: 0, offeredAtMs: NaN, sequence: -1, isOver: false }
      const desk = deskOf(model)
      desk.calls.push({ ...asked, scores, raws, askedAtMs: clock.monoMs(), ...progress })
      pump(desk)
      deps.wake()
    },
    tallyOf: (model) => deskOf(model).tally,
    onScore(lane, ticket, score, raw) {
      const desk = deskOfLane(lane)
      if (desk !== undefined) hear(desk, ticket, { score, raw })
    },
    onFailure(lane, ticket, reason) {
      const desk = deskOfLane(lane)
      const batch = desk?.batch ?? null
      if (desk === undefined || batch === null || ticket > batch.ticket || ticket <= batch.ticket - batch.count) return
      fail(desk, batch.call, failure(desk, batch.from + batch.ticket - ticket, reason))
    },
    progress() {
      if (open === 0 && unsynced.length === 0 && settling.length === 0) return
      const durable = log.durableSequence()
      const first = unsynced.findIndex((sequence) => sequence > durable)
      unsynced.splice(0, first < 0 ? unsynced.length : first)
      for (let next = settling.at(0); next !== undefined; next = settling.at(0)) {
        if (!next.call.isOver && next.call.sequence > durable) break
        settling.shift()
        end(next.desk, next.call, next.call)
      }
      for (const desk of desks) pump(desk)
    },
    tick() {
      const cutMs = clock.monoMs() - limits.directWaitMs
      for (const desk of desks) {
        const { batch } = desk
        const late = [...desk.calls, ...(batch === null ? [] : [batch.call])].filter(
          ({ askedAtMs }) => askedAtMs < cutMs,
        )
        for (const call of late) fail(desk, call, tooLate(desk, call))
        pump(desk)
      }
      for (const { desk, call } of settling) if (call.askedAtMs < cutMs) end(desk, call, notDurable())
    },
    waiting: () => open,
  }
}

/** The row of the call that failed, and why. */
function failure(desk: Desk<DirectCall>, row: number, reason: string): Rejection {
  const { reference } = desk.model
  if (!desk.isThere()) return reject('ASSAY_MODEL_UNAVAILABLE', `${reference}: its thread ended; retry`)
  const message = reason === 'invalid_output' ? 'the score is no number from 0 to 1' : 'the run failed'
  return reject('ASSAY_INFERENCE_FAILED', `${reference}, row ${row}: ${message}`, [{ path: '/inputs', message }])
}

function tooLate({ model }: Desk<DirectCall>, call: DirectCall): Rejection {
  if (Number.isNaN(call.offeredAtMs)) {
    return reject('ASSAY_OVERLOADED', `${model.reference} is busy with payments, or the log with records; retry`)
  }
  return reject('ASSAY_MODEL_UNAVAILABLE', `${model.reference} did not answer in time; retry`)
}

function notDurable(): Rejection {
  return reject('ASSAY_LOG_UNAVAILABLE', 'the records of the rows were not durable in time; retry')
}

/** Appends the record of a row; gives its sequence. A room for it was reserved. */
function createRecording({ log, codecs, order, serving }: DirectDeps): (call: DirectCall, row: number) => number {
  const { facts } = blank()
  const personal: InferencePersonal = {
    transactionId: null,
    entity: null,
    vector: new Uint8Array(0),
    traceparent: null,
  }
  facts.mode = 'evaluate'
  return (call, row) => {
    const { rows, model } = call
    const { routes, policyDigest } = serving()
    noteUnfolded(facts, log.epoch, order.nextUnfolded(), order.nowMs())
    facts.decidedAtMs = facts.receivedAtMs
    facts.score = call.scores[row]
    facts.scoreRaw = call.raws[row]
    facts.model = { ...model.answeredBy, role: roleOf(model, routes) }
    facts.routesRevision = routes.revision
    facts.policy = policyDigest
    personal.transactionId = call.transactionIds[row]
    personal.entity = call.entities[row]
    personal.traceparent = call.traceparent
    personal.vector = bytesOf(rows.values.subarray(row * rows.columns, (row + 1) * rows.columns))
    return log.append('inference', (buffer, at) => codecs.encodeInference(facts, personal, buffer, at))
  }
}

/** What it is routed as; a model that is only loaded stands by as a challenger. */
function roleOf({ reference }: LoadedModel | LoadedBaseline, routes: Serving['routes']): Role {
  if (reference === routes.champion) return 'champion'
  return reference === routes.baseline ? 'baseline' : 'challenger'
}

function bytesOf(values: Float64Array): Buffer {
  const bytes = Buffer.allocUnsafe(values.length * 8)
  for (let at = 0; at < values.length; at++) bytes.writeDoubleLE(values[at], at * 8)
  return bytes
}
