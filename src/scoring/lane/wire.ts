// What the main thread and a lane thread write into shared memory for each other. Both ends are this file.
//
//   rows ring, a frame per row      [place u32][flight u32][column]…        (float32 or float64, 8-byte aligned)
//                     per probe     [0 u32]                                 (told apart by its length)
//   results ring, a frame per run   [first place u32][rows u32]([score f64][raw f64])…   score < 0: an OUTCOME
//                     per probe     [matched f64][slowest run, ms, f64]     (told apart by its length)
//   control words                   rounds so far, ns per row, ns per run, rows that the next run may have

import type { LaneProviders, ProviderInUse } from '../../contract/providers.js'
import type { ErrorCode, InputFault } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { Bundle } from '../../models/bundle.js'
import type { CatalogueFacts } from '../../models/columns.js'
import type { Admission } from '../../models/gate.js'
import { inputsOf } from '../../models/inputs.js'
import { ringWriter } from '../../runtime/ring.js'

export const ROW_HEADER_BYTES = 8
export const PROBE_BYTES = 4
export const RESULT_HEADER_BYTES = 8
export const RESULT_ROW_BYTES = 16
/** A length that no run's frame (8 + 16 n) has. */
export const PROBED_BYTES = 16

/** In place of a score. */
export const OUTCOME = { invalid: -1, threw: -2, skipped: -3 } as const

/** Words of the control block that the thread stores and the main thread loads. */
export const CONTROL = { rounds: 0, rowNs: 1, runNs: 2, batchRows: 3 } as const
export const CONTROL_BYTES = 64

/** The task of running the gate. */
export interface GateWire {
  readonly directory: string
  readonly identity: { readonly name: string; readonly version: string }
  readonly facts: CatalogueFacts
  readonly limits: Limits
  /** Payments are answered on these cores meanwhile: in slices, at rest for most of the time. */
  readonly isBeside: boolean
  /** What the lane will run on. */
  readonly providers: LaneProviders
}

export interface Admitted {
  readonly bundle: Bundle
  readonly admission: Admission
}

export type GateAnswer =
  Admitted | { readonly code: ErrorCode; readonly detail: string; readonly errors: readonly InputFault[] }

/** Whether a thread's task came from `admitApart`. */
export function isGateWire(data: unknown): data is GateWire {
  return typeof data === 'object' && data !== null && 'directory' in data && 'identity' in data && 'facts' in data
}

/** The task of serving a lane. */
export interface LaneWire {
  readonly bundle: Bundle
  readonly rows: SharedArrayBuffer
  readonly results: SharedArrayBuffer
  readonly waiting: SharedArrayBuffer
  readonly control: SharedArrayBuffer
  readonly batchRowsMax: number
  /** Up to so many on any provider. */
  readonly batchRowsPlain: number
  readonly batchMicrosMax: number
  readonly warmMs: number
  readonly providers: LaneProviders
  /** Payments are answered on these cores while the model loads: in slices, at rest for most of the time. */
  readonly isBeside: boolean
}

/** Rows of one run at most: more where a device does many at once. How many it is follows what runs take (cost.ts). */
export function batchRowsMax({ list }: LaneProviders, limits: Limits): number {
  const max = list.every(({ name }) => name === 'cpu') ? limits.laneBatchRowsMax : limits.laneDeviceRowsMax
  return Math.min(max, limits.laneRowsMax)
}

/** Whether a thread's task came from `startLink`. */
export function isLaneWire(data: unknown): data is LaneWire {
  return typeof data === 'object' && data !== null && 'rows' in data && data.rows instanceof SharedArrayBuffer
}

/** What a thread says in messages, beside the bare wake-up 0. */
export type ThreadMessage =
  | 0
  | { readonly kind: 'ready'; readonly provider: ProviderInUse }
  | { readonly kind: 'failed'; readonly refused: boolean; readonly detail: string }
  | { readonly kind: 'threw'; readonly detail: string }
  | { readonly kind: 'ended' }

/** Whether rows travel as float32; float64 carries int64 columns exactly up to 2^53. */
export function isNarrow(bundle: Bundle): boolean {
  return inputsOf(bundle.manifest).every(({ dtype }) => dtype === 'float32')
}

/** Bytes of a row's frame payload. */
export function rowBytes(bundle: Bundle): number {
  return ROW_HEADER_BYTES + bundle.manifest.features.length * (isNarrow(bundle) ? 4 : 8)
}

/** A ring's data as words and doubles, at the offsets that `reserve` and `drain` give, shifted. */
export function ringViews(ring: SharedArrayBuffer) {
  const { buffer } = ringWriter(ring)
  return {
    words: new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length / 4),
    floats: new Float32Array(buffer.buffer, buffer.byteOffset, buffer.length / 4),
    doubles: new Float64Array(buffer.buffer, buffer.byteOffset, buffer.length / 8),
  }
}
