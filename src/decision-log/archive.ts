// Segments that left the log, compressed: one file each, `0000000001.segment.gz`, as any gunzip reads it.
// Invariants: a segment leaves the log only when its archived file was read back, compared and is durable by name, so
// that a crash at any point leaves it in at least one place, and a repeat finishes. An archived file is never replaced.
// The time in its gzip header is that of the segment's newest record.

import { createHash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { AssayError } from '../errors.js'
import { type Disk, isMissing, sizeOf } from './disk.js'
import { quietly, writePiece } from './segment-file.js'
import { indexOfName } from './segment.js'

export interface Archiving {
  readonly log: Disk
  readonly archive: Disk
  readonly nowMs: () => number
  /** Waited for between two pieces of work; one that rejects ends it, with nothing half done. */
  readonly rest: () => Promise<void>
}

/** Some milliseconds of compression. */
const PIECE_BYTES = 256 << 10
/** Place of the time in a gzip header, seconds (RFC 1952). */
const GZIP_TIME_AT = 4

/** After this long an unfinished file belongs to a process that ended. */
const UNFINISHED_MS = 3_600_000
const UNFINISHED = /^\d{10}\.segment\.gz\.(\d+)\.new$/

const archivedName = (segment: string): string => `${segment}.gz`

/**
 * Moves a segment into the archive; false where it has left the log already. Throws ASSAY_INPUT_INVALID where the
 * archive holds another segment of this name, ASSAY_LOG_IO where the archived file reads back otherwise, and what the
 * disks throw; the segment then stays.
 */
export async function archiveSegment(at: Archiving, segment: { name: string; newestMs: number }): Promise<boolean> {
  const { log, archive } = at
  const { name } = segment
  if (sizeOf(log, name) === 0) return false
  if (sizeOf(archive, archivedName(name)) > 0) {
    const [own, archived] = [await digestOf(pieces(log, name, at)), await archivedDigest(at, archivedName(name))]
    const detail = `${archivedName(name)} in the archive is not this segment: name another process.log.archive_dir`
    if (own !== archived) throw new AssayError('ASSAY_INPUT_INVALID', detail)
  } else {
    await compress(at, segment)
  }
  // Also where it was there: the process that renamed it may have ended before this.
  archive.syncDirectory()
  try {
    log.remove(name)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  log.syncDirectory()
  return true
}

async function compress(at: Archiving, { name, newestMs }: { name: string; newestMs: number }): Promise<void> {
  const { log, archive } = at
  // Two processes may be at it: neither writes into the other's file.
  const unfinished = `${archivedName(name)}.${at.nowMs()}.new`
  const fd = archive.create(unfinished)
  try {
    const own = createHash('sha256')
    let end = 0
    await pipeline(hashing(pieces(log, name, at), own), createGzip(), async (compressed: AsyncIterable<Buffer>) => {
      for await (const buffer of compressed) {
        writePiece(archive, fd, { piece: { buffer, at: 0, length: buffer.length }, position: end })
        end += buffer.length
      }
    })
    const time = Buffer.alloc(4)
    time.writeUInt32LE(Math.ceil(newestMs / 1000))
    writePiece(archive, fd, { piece: { buffer: time, at: 0, length: time.length }, position: GZIP_TIME_AT })
    archive.sync(fd)
    if ((await archivedDigest(at, unfinished)) !== own.digest('hex')) {
      throw new AssayError('ASSAY_LOG_IO', `${name} does not read back from the archive as it was written`)
    }
    archive.rename(unfinished, archivedName(name))
  } catch (error) {
    quietly(() => archive.remove(unfinished))
    throw error
  } finally {
    quietly(() => archive.close(fd))
  }
}

async function* pieces(disk: Disk, name: string, { rest }: Archiving): AsyncGenerator<Buffer> {
  const fd = disk.open(name, 'read')
  try {
    for (let at = 0; ;) {
      const buffer = Buffer.allocUnsafe(PIECE_BYTES)
      const length = disk.read(fd, { buffer, at: 0, length: PIECE_BYTES }, at)
      if (length === 0) return
      yield buffer.subarray(0, length)
      at += length
      await rest()
    }
  } finally {
    quietly(() => disk.close(fd))
  }
}

async function* hashing(from: AsyncIterable<Buffer>, hash: ReturnType<typeof createHash>): AsyncGenerator<Buffer> {
  for await (const piece of from) {
    hash.update(piece)
    yield piece
  }
}

async function digestOf(from: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of from) hash.update(piece)
  return hash.digest('hex')
}

/** Of what an archived file holds, uncompressed; empty where it cannot be uncompressed. */
async function archivedDigest(at: Archiving, name: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    await pipeline(pieces(at.archive, name, at), createGunzip(), hash)
  } catch (error) {
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')) return ''
    throw error
  }
  return hash.digest('hex')
}

/**
 * Removes archived segments whose newest record is older than `beforeMs`, the oldest first, and what crashes left
 * unfinished; returns the number of segments.
 */
export function removeArchived(archive: Disk, { beforeMs, nowMs }: { beforeMs: number; nowMs: number }): number {
  const names = archive.list().sort()
  for (const name of names) {
    const begunMs = Number(UNFINISHED.exec(name)?.[1] ?? Infinity)
    if (begunMs + UNFINISHED_MS < nowMs) archive.remove(name)
  }
  let removed = 0
  for (const name of names.filter((name) => name.endsWith('.gz') && indexOfName(name.slice(0, -3)) > 0)) {
    if (timeOf(archive, name) >= beforeMs) break
    archive.remove(name)
    removed++
  }
  if (removed > 0) archive.syncDirectory()
  return removed
}

/** Milliseconds; one that cannot be read is the newest there is. */
function timeOf(archive: Disk, name: string): number {
  const buffer = Buffer.alloc(4)
  const fd = archive.open(name, 'read')
  const length = archive.read(fd, { buffer, at: 0, length: buffer.length }, GZIP_TIME_AT)
  archive.close(fd)
  return length < buffer.length ? Infinity : buffer.readUInt32LE() * 1000
}
