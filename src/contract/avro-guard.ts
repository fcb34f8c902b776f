// Walks Avro binary by its type before anything is built from it, so that no declared count or length is believed:
// a 22-byte message that declares ten million items would cost a quarter of a second. Allocates nothing.
// Refuses: counts over the bound, lengths and branches outside the bytes, strings that are not UTF-8, integers
// outside ±(2^53 − 1).
import { isUtf8 } from 'node:buffer'
import type { Type, types } from 'avsc'

/** Items of one array or map anywhere in a record: a reply record of one tick is the longest. */
const ITEMS_MAX = 4096

interface Cursor {
  readonly bytes: Uint8Array
  readonly end: number
  at: number
}

/** The position after one value of this type between `at` and `end`, or -1 where the bytes are not one. */
export function walkAvro(type: Type, bytes: Uint8Array, span: { at: number; end: number }): number {
  const cursor: Cursor = { bytes, end: Math.min(span.end, bytes.length), at: span.at }
  return walk(type, cursor) && cursor.at <= cursor.end ? cursor.at : -1
}

function walk(type: Type, cursor: Cursor): boolean {
  switch (type.typeName) {
    case 'null':
      return true
    case 'boolean':
      return skip(cursor, 1)
    case 'float':
      return skip(cursor, 4)
    case 'double':
      return skip(cursor, 8)
    case 'int':
    case 'long':
      return Number.isSafeInteger(readLong(cursor))
    case 'enum':
      return within(readLong(cursor), (type as types.EnumType).symbols.length)
    case 'fixed':
      return skip(cursor, (type as types.FixedType).size)
    case 'bytes':
      return skip(cursor, readLong(cursor))
    case 'string':
      return walkString(cursor)
    case 'record':
      return (type as types.RecordType).fields.every((field) => walk(field.type, cursor))
    case 'array':
      return walkBlocks(cursor, (type as types.ArrayType).itemsType)
    case 'union:wrapped':
    case 'union:unwrapped':
      return walkUnion(type as types.UnwrappedUnionType, cursor)
    default:
      return false
  }
}

function walkUnion(type: types.UnwrappedUnionType, cursor: Cursor): boolean {
  const branch = readLong(cursor)
  return within(branch, type.types.length) && walk(type.types[branch], cursor)
}

function walkString(cursor: Cursor): boolean {
  const length = readLong(cursor)
  const start = cursor.at
  return skip(cursor, length) && isUtf8(cursor.bytes.subarray(start, cursor.at))
}

function walkBlocks(cursor: Cursor, items: Type): boolean {
  let total = 0
  for (;;) {
    let count = readLong(cursor)
    if (count === 0) return true
    if (count < 0) {
      count = -count
      readLong(cursor)
    }
    total += count
    if (!(total <= ITEMS_MAX)) return false
    for (let item = 0; item < count; item++) if (!walk(items, cursor)) return false
  }
}

function within(index: number, count: number): boolean {
  return index >= 0 && index < count
}

function skip(cursor: Cursor, size: number): boolean {
  if (!(size >= 0 && size <= cursor.end - cursor.at)) return false
  cursor.at += size
  return true
}

/** A zigzag varint; NaN where it is cut off or longer than ten bytes. */
function readLong(cursor: Cursor): number {
  let value = 0
  let scale = 1
  for (let count = 0; count < 10 && cursor.at < cursor.end; count++) {
    const byte = cursor.bytes[cursor.at++]
    value += (byte & 127) * scale
    scale *= 128
    if (byte < 128) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
  return NaN
}
