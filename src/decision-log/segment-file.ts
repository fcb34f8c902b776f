// Makes segment files so that one either is there whole (header, first frames, name, all durable) or counts for
// nothing. Invariant: the name `*.segment` is given only after the content was synced; a file whose sync failed is
// never synced again and never used. A write that takes fewer bytes than asked is a failure, not a reason to go on.

import { type Disk, sizeOf } from './disk.js'
import { indexOfName, isUnfinished, segmentName, unfinishedName } from './segment.js'

/** A piece of a buffer. */
export interface Piece {
  readonly buffer: Buffer
  readonly at: number
  readonly length: number
}

/** The log may not take more room, by `log.disk_bytes_max`. */
export class DiskBoundReached extends Error {
  constructor(bytesMax: number) {
    super(`the decision log has reached its bound of ${bytesMax} bytes`)
    this.name = 'DiskBoundReached'
  }
}

/** Writes all of `piece`, or throws; nothing may be concluded about the file then. */
export function writePiece(disk: Disk, fd: number, write: { piece: Piece; position: number }): void {
  const { piece, position } = write
  const taken = disk.write(fd, piece, position)
  if (taken !== piece.length) throw new Error(`the disk took ${taken} of ${piece.length} bytes`)
}

/** Opens a file for a segment to come; zeros may be written into it ahead (`zeroFill`). */
export function createUnfinished(disk: Disk, index: number): number {
  const name = unfinishedName(index)
  if (disk.list().includes(name)) disk.remove(name)
  return disk.create(name)
}

const ZEROS = Buffer.alloc(1 << 20)

/** Writes zeros from `from`, at most `bytes` and at most 1 MiB; returns the new end. */
export function zeroFill(disk: Disk, fd: number, fill: { from: number; bytes: number }): number {
  const length = Math.min(fill.bytes, ZEROS.length)
  writePiece(disk, fd, { piece: { buffer: ZEROS, at: 0, length }, position: fill.from })
  return fill.from + length
}

export interface NewSegment {
  readonly index: number
  readonly header: Buffer
  /** First frames, in order; they become durable with the file. */
  readonly frames: readonly Piece[]
}

/**
 * Puts header and first frames into an unfinished file, syncs it and gives it its name, durably. Returns the end of the
 * frames.
 */
export function finishSegment(disk: Disk, fd: number, segment: NewSegment): number {
  const { index, header, frames } = segment
  writePiece(disk, fd, { piece: { buffer: header, at: 0, length: header.length }, position: 0 })
  let end = header.length
  for (const piece of frames) {
    writePiece(disk, fd, { piece, position: end })
    end += piece.length
  }
  disk.sync(fd)
  disk.rename(unfinishedName(index), segmentName(index))
  disk.syncDirectory()
  return end
}

/** Closes and removes whatever a failed attempt left; what cannot be removed counts for nothing anyway. */
export function abandonFile(disk: Disk, fd: number, index: number): void {
  quietly(() => disk.close(fd))
  quietly(() => disk.remove(unfinishedName(index)))
  quietly(() => disk.remove(segmentName(index)))
}

/** Runs a clean-up whose failure changes nothing. */
export function quietly(cleanUp: () => void): void {
  try {
    cleanUp()
  } catch {
    // Nothing depends on it; the file is void with or without.
  }
}

/** Bytes of all segments, finished or not. */
export function segmentBytesOnDisk(disk: Disk): number {
  const names = disk.list().filter((name) => indexOfName(name) > 0 || isUnfinished(name))
  return names.reduce((sum, name) => sum + sizeOf(disk, name), 0)
}
