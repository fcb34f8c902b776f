// What a server finds in the directory when it starts, and what it makes durable before it may say that it is ready.
// Invariant: frames beyond the head are adopted only as a copy that was synced under a new name. Syncing them in place
// would not do: where the dead process had a failed sync, the kernel may call pages clean that are on no disk.
// Damage is reported and left where it is; sequences go on after it.

import { AssayError } from '../errors.js'
import { boundsOf, readChain, readHeader } from './chain.js'
import type { Chain, ChainEntry } from './chain.js'
import type { Disk } from './disk.js'
import type { Finding } from './finding.js'
import { createHeadWriter } from './head-writer.js'
import { beginOf, type Position } from './reader.js'
import { createSegmentScan } from './scan.js'
import type { Bounds, SegmentScan } from './scan.js'
import { abandonFile, createUnfinished, finishSegment, quietly, writePiece } from './segment-file.js'
import { NO_EPOCH, encodeSegmentHeader, indexOfName, isUnfinished } from './segment.js'
import type { EpochEnd, SegmentEnd } from './segment.js'

export interface Recovered {
  /** null: the directory holds no log yet. */
  readonly logId: Buffer | null
  readonly nextSequence: number
  readonly previousSegment: SegmentEnd
  readonly previousEpoch: EpochEnd
  /**
   * What was found on the way: `isDamage` tells what matters. Only the head, the headers and the last segment are
   * looked at.
   */
  readonly findings: readonly Finding[]
  /** Bytes of frames beyond the head that were adopted. */
  readonly adoptedBytes: number
}

export interface RecoverOptions {
  readonly uncountedMax: number
  /** Up to here this process has read the log, and found it whole. */
  readonly from?: Position | null
}

/**
 * Reads where the log ends, adopts what is whole beyond the head, and makes that durable. Throws ASSAY_LOG_DAMAGED
 * where the end cannot be found.
 */
export function recoverLog(disk: Disk, options: RecoverOptions): Recovered {
  for (const name of disk.list()) if (isUnfinished(name)) quietly(() => disk.remove(name))
  const chain = readChain(disk)
  const last = chain.entries.at(-1)
  if (last === undefined) {
    if (chain.head !== null) throw damaged('the head names a segment, but there is none')
    const none = { index: 0, endOffset: 0 }
    return {
      logId: null,
      nextSequence: 1,
      previousSegment: none,
      previousEpoch: NO_EPOCH,
      findings: [],
      adoptedBytes: 0,
    }
  }
  return last.header === null ? recoverByHead(chain, last) : recoverByScan(disk, chain, options)
}

/** The header of the last segment cannot be read: the head still says where the log ends. */
function recoverByHead(chain: Chain, last: ChainEntry): Recovered {
  const { head } = chain
  if (head === null || head.segment !== last.index)
    throw damaged(`${last.name} has no readable header and no head names it`)
  const end = { segment: last.index, endOffset: head.syncedOffset, lastSequence: head.syncedSequence }
  return {
    logId: head.logId,
    nextSequence: end.lastSequence + 1,
    previousSegment: { index: last.index, endOffset: end.endOffset },
    previousEpoch: { epoch: head.epoch, ...end, clean: false, uncountedMax: 0 },
    findings: chain.findings,
    adoptedBytes: 0,
  }
}

function recoverByScan(disk: Disk, chain: Chain, { uncountedMax, from: known }: RecoverOptions): Recovered {
  const at = chain.entries.length - 1
  const last = chain.entries[at]
  if (last?.header === null || last === undefined) throw damaged('no last segment')
  const findings: Finding[] = [...chain.findings]
  const bounds = boundsOf(chain, at, false)
  const { header, name } = last
  const fd = disk.open(name, 'read')
  try {
    const from = beginOf(last, header, known)
    const onFinding = (finding: Finding): void => void findings.push(finding)
    const scan = createSegmentScan({ disk, fd, name, epoch: header.epoch, from, bounds, onFinding })
    while (scan.next());
    const adoptedBytes = Math.max(0, scan.offset() - bounds.exactEnd)
    const index = adoptedBytes === 0 ? last.index : copySegment(disk, fd, { last, scan, bounds })
    const end = { segment: index, endOffset: scan.offset(), lastSequence: scan.lastSequence() }
    const clean = scan.ended()
    return {
      logId: header.logId,
      nextSequence: end.lastSequence + 1,
      previousSegment: { index, endOffset: end.endOffset },
      previousEpoch: { epoch: header.epoch, ...end, clean, uncountedMax: clean ? 0 : uncountedMax },
      findings,
      adoptedBytes,
    }
  } finally {
    disk.close(fd)
  }
}

const COPY_BYTES = 1 << 20

/**
 * Copies a segment up to the end of its whole frames into a new file in its place, durably, and moves the head there.
 */
function copySegment(
  disk: Disk,
  from: number,
  source: { last: ChainEntry; scan: SegmentScan; bounds: Bounds },
): number {
  const { last, scan } = source
  const header = readHeader(disk, last.name)
  if (typeof header === 'string') throw damaged(`${last.name}: ${header}`)
  const index = Math.max(...disk.list().map(indexOfName)) + 1
  const fd = createUnfinished(disk, index)
  try {
    const buffer = Buffer.allocUnsafe(COPY_BYTES)
    for (let at = last.headerBytes; at < scan.offset();) {
      const length = disk.read(from, { buffer, at: 0, length: Math.min(COPY_BYTES, scan.offset() - at) }, at)
      if (length === 0) throw new Error(`${last.name} became shorter while it was read`)
      writePiece(disk, fd, { piece: { buffer, at: 0, length }, position: at })
      at += length
    }
    finishSegment(disk, fd, { index, header: encodeSegmentHeader({ ...header, index }), frames: [] })
  } catch (error) {
    abandonFile(disk, fd, index)
    throw error
  }
  quietly(() => disk.close(fd))
  const head = createHeadWriter(disk)
  const written = { writtenSequence: scan.lastSequence(), writtenOffset: scan.offset() }
  const synced = { syncedSequence: scan.lastSequence(), syncedOffset: scan.offset() }
  head.write({ logId: header.logId, epoch: header.epoch, segment: index, ...written, ...synced }, true)
  head.close()
  quietly(() => disk.remove(last.name))
  return index
}

function damaged(detail: string): AssayError {
  return new AssayError('ASSAY_LOG_DAMAGED', detail)
}
