// The input side of a session: one typed array of the model's own type, and tensors of every batch size over it; of a
// model with several inputs one such array each.
// int64 values are written as two 32-bit halves, since a BigInt per value would be an allocation per value.
// A row that the model cannot be given (NaN where it takes none, anything but an exact integer into int64) is marked
// bad; the other rows of the batch are not harmed.
import { endianness } from 'node:os'
import { Tensor } from 'onnxruntime-node'
import type { InputDtype, ModelInput } from './inputs.js'

export interface RowBuffer {
  /** The tensors over the first `count` rows, by input; made once per batch size. */
  feeds(count: number): Record<string, Tensor>
  /** Copies `count` rows in; the result holds 1 for each bad row and is overwritten by the next fill. */
  fill(rows: Float64Array | Float32Array, count: number, takesNan: boolean): Uint8Array
}

/** A buffer for rows of one model. */
export function createRowBuffer(inputs: readonly ModelInput[], rowsMax: number): RowBuffer {
  if (inputs.length > 1) return splitRows(inputs, rowsMax)
  const { name, dtype, columns } = inputs[0]
  const buffer = oneBuffer(dtype, rowsMax, columns)
  return { fill: buffer.fill, feeds: (count) => ({ [name]: buffer.tensor(count) }) }
}

/** The rows of one tensor. */
interface TensorRows extends Pick<RowBuffer, 'fill'> {
  tensor(count: number): Tensor
}

function oneBuffer(dtype: InputDtype, rowsMax: number, columns: number): TensorRows {
  return dtype === 'int64' ? wholeRows(rowsMax, columns) : floatRows(dtype, rowsMax, columns)
}

/** Each input's columns are gathered, then filled as those of a model of its own; a row is bad where one of them is. */
function splitRows(inputs: readonly ModelInput[], rowsMax: number): RowBuffer {
  const width = inputs.reduce((sum, { columns }) => sum + columns, 0)
  const bad = new Uint8Array(rowsMax)
  let next = 0
  const parts = inputs.map(({ name, dtype, columns }) => {
    const first = next
    next += columns
    const staged = new Float64Array(rowsMax * columns)
    return { name, first, columns, staged, buffer: oneBuffer(dtype, rowsMax, columns) }
  })
  return {
    feeds: (count) => Object.fromEntries(parts.map(({ name, buffer }) => [name, buffer.tensor(count)])),
    fill(rows, count, takesNan) {
      bad.fill(0, 0, count)
      for (const { first, columns, staged, buffer } of parts) {
        for (let row = 0, to = 0; row < count; row += 1) {
          const from = row * width + first
          for (let at = 0; at < columns; at += 1) staged[to++] = rows[from + at]
        }
        const own = buffer.fill(staged, count, takesNan)
        for (let row = 0; row < count; row += 1) bad[row] |= own[row]
      }
      return bad
    },
  }
}

function floatRows(dtype: 'float32' | 'float64', rowsMax: number, columns: number): TensorRows {
  const values = dtype === 'float32' ? new Float32Array(rowsMax * columns) : new Float64Array(rowsMax * columns)
  const bad = new Uint8Array(rowsMax)
  return {
    tensor: (count) => new Tensor(dtype, values.subarray(0, count * columns), [count, columns]),
    fill(rows, count, takesNan) {
      for (let row = 0, at = 0; row < count; row += 1) {
        let nan = 0
        for (const end = at + columns; at < end; at += 1) {
          const value = rows[at]
          values[at] = value
          if (Number.isNaN(value)) nan = 1
        }
        bad[row] = takesNan ? 0 : nan
      }
      return bad
    },
  }
}

const HIGH = endianness() === 'LE' ? 1 : 0

function wholeRows(rowsMax: number, columns: number): TensorRows {
  const values = new BigInt64Array(rowsMax * columns)
  const halves = new Int32Array(values.buffer)
  const bad = new Uint8Array(rowsMax)
  return {
    tensor: (count) => new Tensor('int64', values.subarray(0, count * columns), [count, columns]),
    fill(rows, count) {
      for (let row = 0, at = 0; row < count; row += 1) {
        bad[row] = 0
        for (const end = at + columns; at < end; at += 1) {
          const exact = Number.isSafeInteger(rows[at])
          if (!exact) bad[row] = 1
          const value = exact ? rows[at] : 0
          halves[2 * at + HIGH] = Math.floor(value / 0x1_0000_0000)
          halves[2 * at + 1 - HIGH] = value | 0
        }
      }
      return bad
    },
  }
}
