// The input side of a session: one typed array of the model's own type, and tensors of every batch size over it.
// int64 values are written as two 32-bit halves, since a BigInt per value would be an allocation per value.
// A row that the model cannot be given (NaN where it takes none, anything but an exact integer into int64) is marked
// bad; the other rows of the batch are not harmed.
import { endianness } from 'node:os'
import { Tensor } from 'onnxruntime-node'

export interface RowBuffer {
  /** A tensor over the first `count` rows; made once per batch size. */
  tensor(count: number): Tensor
  /** Copies `count` rows in; the result holds 1 for each bad row and is overwritten by the next fill. */
  fill(rows: Float64Array | Float32Array, count: number, takesNan: boolean): Uint8Array
}

/** A buffer for rows of one model. */
export function createRowBuffer(dtype: 'float32' | 'float64' | 'int64', rowsMax: number, columns: number): RowBuffer {
  return dtype === 'int64' ? wholeRows(rowsMax, columns) : floatRows(dtype, rowsMax, columns)
}

function floatRows(dtype: 'float32' | 'float64', rowsMax: number, columns: number): RowBuffer {
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

function wholeRows(rowsMax: number, columns: number): RowBuffer {
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
