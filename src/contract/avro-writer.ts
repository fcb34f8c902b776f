// Writes Avro binary into a buffer that somebody else owns: no allocation, no bounds check per value.
// A write past the end is dropped by the typed array while `at` goes on counting; `end()` then says that it did not
// fit. bench/validate.ts has the figures against avsc's own encoder.
import { Buffer } from 'node:buffer'

const DOUBLE = new Float64Array(1)
const DOUBLE_BYTES = new Uint8Array(DOUBLE.buffer)
const LOW_BITS = 2 ** 28

/** Writes UTF-8 from `at`, returns the end. A buffer too short is written as far as it goes. */
export function writeUtf8(buffer: Uint8Array, text: string, at: number): number {
  const length = text.length
  for (let index = 0; index < length; index++) {
    const unit = text.charCodeAt(index)
    if (unit > 127) return writeWide(buffer, text, at)
    buffer[at + index] = unit
  }
  return at + length
}

function writeWide(buffer: Uint8Array, text: string, at: number): number {
  const size = Buffer.byteLength(text)
  if (at + size <= buffer.length)
    Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).write(text, at, 'utf8')
  return at + size
}

/** The cursor of one encoding; make one per codec and `start` it for each record. */
export class AvroWriter {
  private buffer: Uint8Array = DOUBLE_BYTES
  at = 0

  start(buffer: Uint8Array, at: number): void {
    this.buffer = buffer
    this.at = at
  }

  /** The position after the last byte, or -1 if the record did not fit. */
  end(): number {
    return this.at <= this.buffer.length ? this.at : -1
  }

  /** Four bytes, little-endian, at a place left open before. */
  uint32At(place: number, value: number): void {
    const { buffer } = this
    buffer[place] = value
    buffer[place + 1] = value >>> 8
    buffer[place + 2] = value >>> 16
    buffer[place + 3] = value >>> 24
  }

  /** A union's branch, an enum's index, a count: 0 to 63 in one byte. */
  small(value: number): void {
    this.buffer[this.at++] = value << 1
  }

  boolean(value: boolean): void {
    this.buffer[this.at++] = value ? 1 : 0
  }

  /** Zigzag varint of a safe integer. */
  long(value: number): void {
    let rest = value < 0 ? -2 * value - 1 : 2 * value
    if (rest >= LOW_BITS) {
      let low = rest % LOW_BITS
      rest = (rest - low) / LOW_BITS
      for (let group = 0; group < 4; group++) {
        this.buffer[this.at++] = (low & 127) | 128
        low >>>= 7
      }
      while (rest >= LOW_BITS) {
        this.buffer[this.at++] = (rest % 128) | 128
        rest = Math.floor(rest / 128)
      }
    }
    let left = rest | 0
    while (left > 127) {
      this.buffer[this.at++] = (left & 127) | 128
      left >>>= 7
    }
    this.buffer[this.at++] = left
  }

  double(value: number): void {
    const { buffer, at } = this
    DOUBLE[0] = value
    for (let index = 0; index < 8; index++) buffer[at + index] = DOUBLE_BYTES[index]!
    this.at = at + 8
  }

  string(value: string): void {
    const { length } = value
    const start = this.at
    if (length < 64) {
      const end = writeUtf8(this.buffer, value, start + 1)
      if (end - start - 1 === length) {
        this.buffer[start] = length << 1
        this.at = end
        return
      }
    }
    this.long(Buffer.byteLength(value))
    this.at = writeUtf8(this.buffer, value, this.at)
  }

  bytes(value: Uint8Array): void {
    this.long(value.length)
    this.fixed(value)
  }

  fixed(value: Uint8Array): void {
    const { buffer, at } = this
    const { length } = value
    if (length > 64 && at + length <= buffer.length) buffer.set(value, at)
    else for (let index = 0; index < length; index++) buffer[at + index] = value[index]!
    this.at = at + length
  }

  /** The nullable kinds are unions of null and the type: branch 0 or 1, then the value. */
  nullableDouble(value: number | null): void {
    if (value === null) this.buffer[this.at++] = 0
    else {
      this.buffer[this.at++] = 2
      this.double(value)
    }
  }

  nullableLong(value: number | null): void {
    if (value === null) this.buffer[this.at++] = 0
    else {
      this.buffer[this.at++] = 2
      this.long(value)
    }
  }

  nullableString(value: string | null): void {
    if (value === null) this.buffer[this.at++] = 0
    else {
      this.buffer[this.at++] = 2
      this.string(value)
    }
  }
}
