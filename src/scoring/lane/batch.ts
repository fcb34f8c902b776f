// The rows of one run as a lane thread gathers them: copied out of the ring, packed, with what leads each result back
// to its row. Rows that nobody waits for any more are taken but not packed. One batch, reused for every run.

import type { LaneWire } from './wire.js'
import { isNarrow, PROBE_BYTES, ringViews, ROW_HEADER_BYTES, rowBytes } from './wire.js'

export interface Batch {
  readonly frameBytes: number
  /** Columns of the rows to run, packed, row-major. */
  readonly input: Float32Array | Float64Array
  /** Of the packed rows: what the run leaves, or NaN and an outcome. */
  readonly out: { readonly raw: Float64Array; readonly scores: Float64Array }
  readonly columns: number
  clear(): void
  take(buffer: Buffer, at: number, length: number): void
  /** Rows taken, the skipped ones included. */
  size(): number
  firstPlace(): number
  /** Rows to run. */
  packed(): number
  /** Flight of packed row i. */
  flight(i: number): number
  /** Packed row of taken row i; -1 where nobody waits for it. */
  packedAt(i: number): number
  probeAsked(): boolean
}

/** Makes the batch of a thread, for runs of at most `batchRowsMax` rows. */
export function createBatch(wire: LaneWire): Batch {
  const columns = wire.bundle.manifest.features.length
  const narrow = isNarrow(wire.bundle)
  const input = narrow ? new Float32Array(wire.batchRowsMax * columns) : new Float64Array(wire.batchRowsMax * columns)
  const { words, floats, doubles } = ringViews(wire.rows)
  const values = narrow ? floats : doubles
  const valueShift = narrow ? 2 : 3
  const waits = new Uint8Array(wire.waiting)
  const flights = new Uint32Array(wire.batchRowsMax)
  const packedAt = new Int32Array(wire.batchRowsMax)
  let size = 0
  let packed = 0
  let first = 0
  let probe = false
  return {
    frameBytes: rowBytes(wire.bundle),
    input,
    out: { raw: new Float64Array(wire.batchRowsMax), scores: new Float64Array(wire.batchRowsMax) },
    columns,
    clear() {
      size = packed = 0
      probe = false
    },
    take(_buffer, at, length) {
      if (length === PROBE_BYTES) {
        probe = true
        return
      }
      const place = words[at >> 2]
      if (size === 0) first = place
      if (waits[place & (waits.length - 1)] === 0) {
        packedAt[size++] = -1
        return
      }
      const from = (at + ROW_HEADER_BYTES) >> valueShift
      const to = packed * columns
      for (let i = 0; i < columns; i++) input[to + i] = values[from + i]
      flights[packed] = words[(at >> 2) + 1]
      packedAt[size++] = packed++
    },
    size: () => size,
    firstPlace: () => first,
    packed: () => packed,
    flight: (i) => flights[i],
    packedAt: (i) => packedAt[i],
    probeAsked: () => probe,
  }
}
