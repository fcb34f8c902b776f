// One frame of the decision log as bytes: pure, no meaning of the body.
// Invariant: a frame that `frameBytesAt` accepts is whole: its checksum covers everything but the length, and a wrong
// length moves what is summed. A length of zero means that nothing was written here.
//
//   0 length u32   bytes after the checksum: 16 + body      12 key id u32   0 = clear
//   4 CRC-32       over bytes 8 .. end                      16 sequence u64
//   8 format u8    9 flags u8    10 type u8    11 zero      24 body

import { crc32 } from 'node:zlib'
import { RECORD_TYPES } from '../contract/record-types.js'
import type { RecordType } from '../contract/record-types.js'

/** Bytes before the body. */
export const FRAME_HEADER_BYTES = 24
/** The format that this release writes. */
export const FRAME_FORMAT = 1
/** No frame of any release is longer; what claims to be is not a frame. */
export const FRAME_BYTES_MAX = 1 << 20
/** Type byte of the mark that closes an epoch; it repeats the last sequence and has no body. */
export const EPOCH_END_TYPE = 0

const SUMMED_FROM = 8
const HIGH = 2 ** 32

/** What the header of a frame says beside length and checksum. */
export interface FrameFields {
  format: number
  flags: number
  type: number
  keyId: number
  sequence: number
}

/** `frameBytesAt` found zeros where a length belongs. */
export const NOTHING_WRITTEN = 0
/** `frameBytesAt` found bytes that are no frame. */
export const NOT_A_FRAME = -1

/** Writes the header of a frame of `bytes` bytes in all at `at`, with a checksum of zero: `sealFrame` sets it. */
export function writeFrameHeader(buffer: Buffer, frame: { at: number; bytes: number }, fields: FrameFields): void {
  const { at, bytes } = frame
  buffer.writeUInt32LE(bytes - SUMMED_FROM, at)
  buffer.writeUInt32LE(0, at + 4)
  buffer[at + 8] = fields.format
  buffer[at + 9] = fields.flags
  buffer[at + 10] = fields.type
  buffer[at + 11] = 0
  buffer.writeUInt32LE(fields.keyId, at + 12)
  writeU64(buffer, at + 16, fields.sequence)
}

/** Sets the checksum of the whole frame at `at`. */
export function sealFrame(buffer: Buffer, at: number, bytes: number): void {
  buffer.writeUInt32LE(crc32(buffer.subarray(at + SUMMED_FROM, at + bytes)), at + 4)
}

/** Bytes of the whole, valid frame at `at`; else NOTHING_WRITTEN or NOT_A_FRAME. Looks no further than `end`. */
export function frameBytesAt(buffer: Buffer, at: number, end: number): number {
  if (end - at < 4) return NOT_A_FRAME
  const length = buffer.readUInt32LE(at)
  if (length === 0) return NOTHING_WRITTEN
  const bytes = length + SUMMED_FROM
  if (bytes < FRAME_HEADER_BYTES || bytes > FRAME_BYTES_MAX || bytes > end - at) return NOT_A_FRAME
  return crc32(buffer.subarray(at + SUMMED_FROM, at + bytes)) === buffer.readUInt32LE(at + 4) ? bytes : NOT_A_FRAME
}

/** Reads the fields of the frame at `at` into `fields`; the frame must be valid. */
export function readFrameFields(buffer: Buffer, at: number, fields: FrameFields): void {
  fields.format = buffer.readUInt8(at + 8)
  fields.flags = buffer.readUInt8(at + 9)
  fields.type = buffer.readUInt8(at + 10)
  fields.keyId = buffer.readUInt32LE(at + 12)
  fields.sequence = readU64(buffer, at + 16)
}

/** The sequence that stands where a frame at `at` would have it, whether or not one is there. */
export function sequenceAt(buffer: Buffer, at: number): number {
  return readU64(buffer, at + 16)
}

const NAMES: readonly (RecordType | undefined)[] = typeNames()

/** The record type of a type byte; undefined for the end of an epoch and for what a later release wrote. */
export function recordTypeOf(type: number): RecordType | undefined {
  return NAMES[type]
}

/** Writes an integer up to 2^53 as 64 bits, little-endian. */
export function writeU64(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32LE(value % HIGH, at)
  buffer.writeUInt32LE(Math.floor(value / HIGH), at + 4)
}

/** Reads 64 bits, little-endian, as a number; beyond 2^53 it is no longer exact, and no log of ours gets there. */
export function readU64(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at + 4) * HIGH + buffer.readUInt32LE(at)
}

function typeNames(): (RecordType | undefined)[] {
  const names: (RecordType | undefined)[] = []
  const add = (name: RecordType): void => void (names[RECORD_TYPES[name]] = name)
  add('decision')
  add('observed')
  add('inference')
  add('label')
  add('control')
  add('reply')
  add('superseded')
  add('consumed')
  return names
}
