// The vector as fed: each column in its own type, little-endian, without padding. Writes into the caller's buffer.
// A value that its type cannot hold becomes the nearest it can (float32) or is truncated (int64, never NaN by compile).

export type Dtype = 'float32' | 'float64' | 'int64'

export interface VectorCodec {
  readonly vectorBytes: number
  encodeVector(vector: Float64Array, at: number, buffer: Buffer, pos: number): number
  decodeVector(bytes: Uint8Array): Float64Array
}

/** The codec of a catalogue's columns. */
export function createVectorCodec(dtypes: readonly Dtype[]): VectorCodec {
  const size = dtypes.length
  // 0 float32, 1 float64, 2 int64: numbers, so that the loop compares integers.
  const codes = Uint8Array.from(dtypes, (dtype) => (dtype === 'float32' ? 0 : dtype === 'float64' ? 1 : 2))
  const vectorBytes = dtypes.reduce((bytes, dtype) => bytes + (dtype === 'float32' ? 4 : 8), 0)
  return {
    vectorBytes,
    encodeVector(vector, at, buffer, pos) {
      if (pos < 0 || pos + vectorBytes > buffer.length) return -1
      let end = pos
      for (let i = 0; i < size; i++) {
        const value = vector[at + i]
        if (codes[i] === 0) end = buffer.writeFloatLE(value, end)
        else if (codes[i] === 1) end = buffer.writeDoubleLE(value, end)
        else end = writeInt64(Math.trunc(value), buffer, end)
      }
      return end
    },
    decodeVector(bytes) {
      if (bytes.length !== vectorBytes) throw new RangeError(`a vector of this catalogue has ${vectorBytes} bytes`)
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      const vector = new Float64Array(size)
      let pos = 0
      for (let i = 0; i < size; i++) {
        if (codes[i] === 0) vector[i] = view.getFloat32(pos, true)
        else if (codes[i] === 1) vector[i] = view.getFloat64(pos, true)
        else vector[i] = Number(view.getBigInt64(pos, true))
        pos += codes[i] === 0 ? 4 : 8
      }
      return vector
    },
  }
}

/** Two halves instead of a BigInt: nothing is allocated. */
function writeInt64(value: number, buffer: Buffer, pos: number): number {
  buffer.writeUInt32LE(value >>> 0, pos)
  return buffer.writeInt32LE(Math.floor(value / 2 ** 32) | 0, pos + 4)
}
