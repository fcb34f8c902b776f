// Who answers direct calls of one model: its lane, batch by batch, or the baseline on the main thread. Calls wait here,
// behind payments: a batch is handed over only while no other row waits for the lane, and has no more rows than one run
// takes, so that payments that come meanwhile wait for one run at most.
// Invariant: at most one batch is with the lane; calls take turns, a batch each.
import type { FallbackReason } from '../../contract/decision.js'
import type { Rows } from '../../contract/inference-rows.js'
import type { DirectRows, Lane, Ticket } from '../lane/port.js'
import type { LoadedBaseline, LoadedModel } from '../models.js'
import { createTally, type Tally } from './tally.js'

/** A direct call under way. */
export interface Call {
  readonly rows: Rows
  readonly scores: Float64Array
  readonly raws: Float64Array
  /** First row that was not handed over, and rows that were answered. */
  next: number
  answered: number
  /** Monotonic ms of the first hand-over; NaN before it. */
  offeredAtMs: number
}

export interface Batch<Of extends Call> {
  readonly call: Of
  /** Its first row. */
  readonly from: number
  readonly count: number
  readonly ticket: Ticket
  /** Rows that were answered. */
  heard: number
}

export interface Desk<Of extends Call> {
  readonly model: LoadedModel | LoadedBaseline
  readonly tally: Tally
  /** Those that have rows to be handed over, the next first. */
  readonly calls: Of[]
  batch: Batch<Of> | null
  /** Rows that could be handed over now; 0 while others wait. */
  room(): number
  offer(direct: DirectRows): FallbackReason | null
  expire(ticket: Ticket): void
  /** Whether the model is there at all: what fails otherwise is its thread's end. */
  isThere(): boolean
}

export type OnRow = (ticket: Ticket, score: number, raw: number) => void

/** The desk of a model; of the baseline, whose rows are answered within `offer`, `onRow` hears. */
export function createDesk<Of extends Call>(
  model: LoadedModel | LoadedBaseline,
  { rowsMax, onRow }: { readonly rowsMax: number; readonly onRow: OnRow },
): Desk<Of> {
  const desk = { model, tally: createTally(), calls: [], batch: null }
  if ('scoreRow' in model) return { ...desk, ...onMainThread(model, rowsMax, onRow) }
  const { lane } = model
  if (lane === null) return { ...desk, ...NOBODY }
  return { ...desk, ...inLane(lane) }
}

type Behind = Pick<Desk<Call>, 'room' | 'offer' | 'expire' | 'isThere'>

const NOBODY: Behind = {
  room: () => 1,
  offer: () => 'not_loaded',
  expire: () => undefined,
  isThere: () => false,
}

function inLane(lane: Lane): Behind {
  return {
    room: () => (lane.queuedRows() === 0 ? lane.rowsPerRun() : 0),
    offer: (direct) => lane.offerDirect(direct),
    expire: (ticket) => lane.expire(ticket),
    isThere: () => lane.state() === 'ready',
  }
}

function onMainThread(baseline: LoadedBaseline, rowsMax: number, onRow: OnRow): Behind {
  const width = baseline.tensors.inputs.reduce((sum, { columns }) => sum + columns.length, 0)
  return {
    room: () => rowsMax,
    offer({ ticket, rows, at, count }) {
      for (let row = 0; row < count; row++) {
        const { score, raw } = baseline.scoreRow(rows, at + row * width)
        onRow(ticket - row, score, raw)
      }
      return null
    },
    expire: () => undefined,
    isThere: () => true,
  }
}
