// The header of a segment and the names of segment files: pure.
// Invariant: a segment stands alone (schemas and full control state stand in its header) and says where the one before
// it ends, so that whatever lies beyond that place in the older file is void. A header is whole or refused.
//
//   0 magic  8 version u16  10 flags u16  12 header bytes u32  16 CRC-32 over bytes 20 .. header end
//   20 key id  24 log id  32 epoch  36 index  40 first sequence  48 created at, ms
//   56 previous segment: index u32, end offset u64
//   68 previous epoch: epoch u32, last sequence u64, segment u32, end offset u64, uncounted bound u32
//   96 lengths of schemas and control state, u32 each, then both

import { crc32 } from 'node:zlib'
import { readU64, writeU64 } from './frame.js'

/** The segment format that this release writes. */
export const SEGMENT_VERSION = 1
/** Bytes of the fixed part. */
export const SEGMENT_FIXED_BYTES = 104
/** Schemas and control state together may not be longer: a policy with its lists is far below. */
export const SEGMENT_HEADER_BYTES_MAX = 32 << 20

const MAGIC = Buffer.from('ASSAYSEG')
const FLAG_PREVIOUS_CLEAN = 1
const NAME = /^(\d{10})\.segment$/

/** Where a segment ends, as the next one states it. Index 0: there is none before. */
export interface SegmentEnd {
  readonly index: number
  readonly endOffset: number
}

/** How the epoch before ended. Epoch 0: there was none. */
export interface EpochEnd {
  readonly epoch: number
  readonly lastSequence: number
  readonly segment: number
  readonly endOffset: number
  /** True where the server closed the log itself. */
  readonly clean: boolean
  /** At most so many records were appended and died undurable with their process, uncounted. 0 after a clean end. */
  readonly uncountedMax: number
}

export interface SegmentHeader {
  readonly logId: Buffer
  readonly epoch: number
  /** Place of the file among the segments, from 1; gaps are files that were given up before use. */
  readonly index: number
  readonly firstSequence: number
  readonly createdAtMs: number
  readonly keyId: number
  readonly previousSegment: SegmentEnd
  readonly previousEpoch: EpochEnd
  /** Avro schemas of every record type, as the writer gave them (JSON). */
  readonly schemas: Buffer
  /** Full control state before the first frame, as the writer gave it. */
  readonly controlState: Buffer
}

/** The state before any epoch. */
export const NO_EPOCH: EpochEnd = Object.freeze({
  epoch: 0,
  lastSequence: 0,
  segment: 0,
  endOffset: 0,
  clean: true,
  uncountedMax: 0,
})

/** `0000000001.segment`: names sort like indexes. */
export function segmentName(index: number): string {
  return `${String(index).padStart(10, '0')}.segment`
}

/** The name of a segment that is still being made; it counts for nothing. */
export function unfinishedName(index: number): string {
  return `${String(index).padStart(10, '0')}.unfinished`
}

/** The index that a file name stands for, or 0 for any other file. */
export function indexOfName(name: string): number {
  const match = NAME.exec(name)
  return match?.[1] === undefined ? 0 : Number(match[1])
}

/** True for the name of a segment that was never finished. */
export function isUnfinished(name: string): boolean {
  return /^\d{10}\.unfinished$/.test(name)
}

/** Header bytes, frames follow directly. Throws where schemas and control state are beyond all bounds. */
export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = SEGMENT_FIXED_BYTES + header.schemas.length + header.controlState.length
  if (bytes > SEGMENT_HEADER_BYTES_MAX) throw new RangeError(`a segment header of ${bytes} bytes is out of bounds`)
  const out = Buffer.alloc(bytes)
  const { previousSegment, previousEpoch } = header
  MAGIC.copy(out, 0)
  out.writeUInt16LE(SEGMENT_VERSION, 8)
  out.writeUInt16LE(previousEpoch.clean ? FLAG_PREVIOUS_CLEAN : 0, 10)
  out.writeUInt32LE(bytes, 12)
  out.writeUInt32LE(header.keyId, 20)
  header.logId.copy(out, 24, 0, 8)
  out.writeUInt32LE(header.epoch, 32)
  out.writeUInt32LE(header.index, 36)
  writeU64(out, 40, header.firstSequence)
  writeU64(out, 48, header.createdAtMs)
  out.writeUInt32LE(previousSegment.index, 56)
  writeU64(out, 60, previousSegment.endOffset)
  out.writeUInt32LE(previousEpoch.epoch, 68)
  writeU64(out, 72, previousEpoch.lastSequence)
  out.writeUInt32LE(previousEpoch.segment, 80)
  writeU64(out, 84, previousEpoch.endOffset)
  out.writeUInt32LE(previousEpoch.uncountedMax, 92)
  out.writeUInt32LE(header.schemas.length, 96)
  out.writeUInt32LE(header.controlState.length, 100)
  header.schemas.copy(out, SEGMENT_FIXED_BYTES)
  header.controlState.copy(out, SEGMENT_FIXED_BYTES + header.schemas.length)
  out.writeUInt32LE(headerSum(out), 16)
  return out
}

/** Bytes of the header that starts `start` (the fixed part suffices), or 0 where these bytes are no header of ours. */
export function segmentHeaderBytes(start: Buffer): number {
  if (start.length < SEGMENT_FIXED_BYTES || !start.subarray(0, 8).equals(MAGIC)) return 0
  const bytes = start.readUInt32LE(12)
  return bytes < SEGMENT_FIXED_BYTES || bytes > SEGMENT_HEADER_BYTES_MAX ? 0 : bytes
}

/** The header in `bytes` (exactly its bytes), or what is wrong with it, in words. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | string {
  if (segmentHeaderBytes(bytes) !== bytes.length) return 'no segment header'
  if (bytes.readUInt32LE(16) !== headerSum(bytes)) return 'the checksum of the header does not match'
  const version = bytes.readUInt16LE(8)
  if (version !== SEGMENT_VERSION) return `segment format ${version} is not known to this release`
  const schemasEnd = SEGMENT_FIXED_BYTES + bytes.readUInt32LE(96)
  if (schemasEnd + bytes.readUInt32LE(100) !== bytes.length) return 'the lengths of the header do not add up'
  return {
    logId: Buffer.from(bytes.subarray(24, 32)),
    epoch: bytes.readUInt32LE(32),
    index: bytes.readUInt32LE(36),
    firstSequence: readU64(bytes, 40),
    createdAtMs: readU64(bytes, 48),
    keyId: bytes.readUInt32LE(20),
    previousSegment: { index: bytes.readUInt32LE(56), endOffset: readU64(bytes, 60) },
    previousEpoch: {
      epoch: bytes.readUInt32LE(68),
      lastSequence: readU64(bytes, 72),
      segment: bytes.readUInt32LE(80),
      endOffset: readU64(bytes, 84),
      clean: (bytes.readUInt16LE(10) & FLAG_PREVIOUS_CLEAN) !== 0,
      uncountedMax: bytes.readUInt32LE(92),
    },
    schemas: Buffer.from(bytes.subarray(SEGMENT_FIXED_BYTES, schemasEnd)),
    controlState: Buffer.from(bytes.subarray(schemasEnd)),
  }
}

/** Over everything but magic, length (a wrong one cannot match) and the sum itself; version and flags go in first. */
function headerSum(bytes: Buffer): number {
  return crc32(bytes.subarray(20), crc32(bytes.subarray(8, 16)))
}
