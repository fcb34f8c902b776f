// The head of the decision log: how far it may be read, how far it is durable. Pure.
// Two slots, written in turn, each with its own checksum: a torn write spoils one. The head may lag behind the log (it
// is written after the sync and not synced itself but at rotation), never run ahead of what it says was synced.
//
//   a slot, 4 KiB, the rest zero: 0 magic  8 CRC-32 over 12 .. 88  12 version u16  14 zero u16  16 generation u64
//   24 log id  32 epoch u32  36 segment u32  40 written: sequence, offset  56 synced: sequence, offset  72 zero

import { crc32 } from 'node:zlib'
import { readU64, writeU64 } from './frame.js'

/** Name of the file. */
export const HEAD_NAME = 'head'
/** Bytes of one slot: no sector of any disk holds parts of both. */
export const HEAD_SLOT_BYTES = 4096

const MAGIC = Buffer.from('ASSAYHED')
const VERSION = 1
const USED_BYTES = 88

export interface Head {
  /** Counts head writes; the slot with the higher one is the newer. */
  generation: number
  logId: Buffer
  epoch: number
  /** Index of the segment that both places below lie in. */
  segment: number
  /** Handed to the kernel: live readers go so far. */
  writtenSequence: number
  writtenOffset: number
  /** Synced: anything not whole up to here is damage. */
  syncedSequence: number
  syncedOffset: number
}

/** Encodes into `slot` (HEAD_SLOT_BYTES, zero beyond what is used). */
export function encodeHead(slot: Buffer, head: Head): void {
  MAGIC.copy(slot, 0)
  slot.writeUInt16LE(VERSION, 12)
  writeU64(slot, 16, head.generation)
  head.logId.copy(slot, 24, 0, 8)
  slot.writeUInt32LE(head.epoch, 32)
  slot.writeUInt32LE(head.segment, 36)
  writeU64(slot, 40, head.writtenSequence)
  writeU64(slot, 48, head.writtenOffset)
  writeU64(slot, 56, head.syncedSequence)
  writeU64(slot, 64, head.syncedOffset)
  slot.writeUInt32LE(crc32(slot.subarray(12, USED_BYTES)), 8)
}

/** The head in a slot, or null where it is torn, damaged or was never written. */
export function decodeHead(slot: Buffer): Head | null {
  if (slot.length < HEAD_SLOT_BYTES || !slot.subarray(0, 8).equals(MAGIC)) return null
  if (slot.readUInt32LE(8) !== crc32(slot.subarray(12, USED_BYTES)) || slot.readUInt16LE(12) !== VERSION) return null
  if (!isZero(slot, USED_BYTES, HEAD_SLOT_BYTES)) return null
  return {
    generation: readU64(slot, 16),
    logId: Buffer.from(slot.subarray(24, 32)),
    epoch: slot.readUInt32LE(32),
    segment: slot.readUInt32LE(36),
    writtenSequence: readU64(slot, 40),
    writtenOffset: readU64(slot, 48),
    syncedSequence: readU64(slot, 56),
    syncedOffset: readU64(slot, 64),
  }
}

export interface HeadFile {
  /** The newer of the valid slots, or null. */
  readonly head: Head | null
  /** Slot of `head`; the next write takes the other one. */
  readonly slot: 0 | 1
  /** Slots that hold something and are not valid. */
  readonly damaged: readonly number[]
}

/** Reads the bytes of the head file; an empty or short one has no head. */
export function readHeadFile(bytes: Buffer): HeadFile {
  const slots = [0, 1].map((i) => bytes.subarray(i * HEAD_SLOT_BYTES, (i + 1) * HEAD_SLOT_BYTES))
  const heads = slots.map(decodeHead)
  const damaged = [0, 1].filter((i) => heads[i] === null && !isZero(slots[i] ?? bytes, 0, slots[i]?.length ?? 0))
  const first = heads[0] ?? null
  const second = heads[1] ?? null
  const slot = first === null || (second !== null && second.generation > first.generation) ? 1 : 0
  return { head: slot === 1 ? second : first, slot, damaged }
}

/** True where every byte of `buffer` from `from` to `to` is zero. */
export function isZero(buffer: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (buffer[i] !== 0) return false
  return true
}
