// A copy of the decision log in another directory, kept up while the server writes: what is durable here is copied, in
// order, and the head of the copy is written last, so that the copy is a decision log at every moment.
// Invariants: nothing is copied that is not durable in the log; the copy's head never names what the copy does not
// hold. It refuses a copy of another log, and of another history of the same one.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { AssayError } from '../errors.js'
import { boundsOf, type ChainEntry, readChain, readHead } from './chain.js'
import { type Disk, readWhole, sizeOf } from './disk.js'
import { isDamage } from './finding.js'
import type { Head } from './head.js'
import { createHeadWriter } from './head-writer.js'
import { epochName } from './lock.js'
import { quietly, writePiece } from './segment-file.js'
import { indexOfName, segmentName } from './segment.js'
import { verifyLog } from './verify.js'

/** The end of the copy after a pass. */
export interface Copied {
  /** Hex. */
  readonly logId: string
  readonly epoch: number
  /** Every record up to this one is in the copy, durably. */
  readonly sequence: number
}

export interface LogBackup {
  /**
   * Copies what is durable and not in the copy; null where there is no log yet. Throws ASSAY_BACKUP_REFUSED, or what
   * the disks throw: then the next pass goes on where this one came to.
   */
  pass(): Promise<Copied | null>
}

const PIECE_BYTES = 1 << 20

/** `from` is a log that may be written meanwhile, `to` a directory that is empty or holds its copy. */
export function createLogBackup(from: Disk, to: Disk): LogBackup {
  const buffer = Buffer.allocUnsafe(PIECE_BYTES)
  /** Segments that were compared with what the copy had of them. */
  const known = new Set<string>()
  /** What the copy's head says. */
  let written: Head | null = null

  /** Copies a segment up to `end`. */
  async function copySegment(name: string, headerBytes: number, end: number): Promise<void> {
    const isThere = to.list().includes(name)
    if (isThere && !known.has(name)) compareHeaders(name, headerBytes)
    const source = from.open(name, 'read')
    const target = isThere ? to.open(name, 'write') : to.create(name)
    try {
      const begin = to.size(target)
      if (begin > end) throw refused(`${name} is longer there than the log says it is`)
      for (let at = begin; at < end;) {
        const length = from.read(source, { buffer, at: 0, length: Math.min(PIECE_BYTES, end - at) }, at)
        if (length === 0) throw new AssayError('ASSAY_LOG_DAMAGED', `${name} ends before its stated end`)
        writePiece(to, target, { piece: { buffer, at: 0, length }, position: at })
        at += length
        await nextTurn()
      }
      if (begin < end) to.sync(target)
      known.add(name)
    } finally {
      quietly(() => from.close(source))
      quietly(() => to.close(target))
    }
  }

  function compareHeaders(name: string, headerBytes: number): void {
    const [own, copied] = [from, to].map((disk) => readWhole(disk, name, headerBytes))
    // A header of which only a part was copied is a part of this one.
    const isPart = own !== null && copied !== null && own.subarray(0, copied.length).equals(copied)
    if (!isPart) throw refused(`${name} is another segment there`)
  }

  /** What left the log before it was copied would be a hole in the copy; what left it afterwards stays there. */
  function refuseHole(first: ChainEntry | undefined): void {
    if (first === undefined || first.header === null) return
    const { index, endOffset } = first.header.previousSegment
    const isBehind = to.list().some((name) => indexOfName(name) > 0 && indexOfName(name) < first.index)
    if (isBehind && sizeOf(to, segmentName(index)) < endOffset) {
      throw refused(`the log begins with ${first.name} now, and what lies before it was not copied`)
    }
  }

  async function copyChain(head: Head): Promise<void> {
    const chain = readChain(from, head.segment)
    refuseHole(chain.entries[0])
    for (const [at, entry] of chain.entries.entries()) {
      const { exactEnd, softEnd } = boundsOf(chain, at, true)
      await copySegment(entry.name, entry.headerBytes, at === chain.entries.length - 1 ? exactEnd : softEnd)
    }
    to.syncDirectory()
  }

  return {
    async pass() {
      const { head } = readHead(from)
      if (head === null) return null
      const { segment, epoch, syncedSequence: sequence, syncedOffset } = head
      const isSame = written?.segment === segment
      if (!isSame || written?.syncedOffset !== syncedOffset) {
        await (isSame ? copySegment(segmentName(segment), 0, syncedOffset) : copyChain(head))
        writeHead(to, head)
        written = head
      }
      return { logId: head.logId.toString('hex'), epoch, sequence }
    },
  }
}

function writeHead(to: Disk, head: Head): void {
  const writer = createHeadWriter(to)
  const written = { writtenSequence: head.syncedSequence, writtenOffset: head.syncedOffset }
  const isWritten = writer.write({ ...head, ...written }, true)
  writer.close()
  if (!isWritten) throw new AssayError('ASSAY_LOG_IO', 'the head of the copy cannot be written')
}

export interface Restored {
  /** The last record. */
  readonly sequence: number
  /** Epochs up to this one count as taken. */
  readonly epoch: number
}

/**
 * What was lost may hold epochs that the copy never saw, whose decision ids are out in the world: the next server takes
 * an epoch that no start of a lost log can have reached.
 */
const EPOCHS_AHEAD = 1_000

/**
 * Makes a log of a copy, in an empty directory. Throws ASSAY_BACKUP_REFUSED where the copy holds no log or is not
 * whole, naming what is wrong with it.
 */
export async function restoreLog(from: Disk, to: Disk): Promise<Restored> {
  const verified = verifyLog(from)
  const last = verified.epochs.at(-1)
  if (verified.logId === null || last === undefined) throw refused('there is no decision log')
  const damage = verified.findings.filter(isDamage)
  if (damage.length > 0) {
    const [{ segment, offset, detail }] = damage
    const text = `the copy is damaged: ${segment} at ${offset}: ${detail}`
    throw new AssayError('ASSAY_BACKUP_REFUSED', damage.length > 1 ? `${text}, and ${damage.length - 1} more` : text)
  }
  const copied = await createLogBackup(from, to).pass()
  if (copied === null) throw refused('the head of the copy cannot be read')
  // What was copied beyond the head, in a pass that broke off, stays behind; its epoch was begun all the same.
  const epoch = last.epoch + EPOCHS_AHEAD
  const mark = to.create(epochName(epoch))
  to.sync(mark)
  to.close(mark)
  to.syncDirectory()
  return { sequence: copied.sequence, epoch }
}

function refused(detail: string): AssayError {
  return new AssayError('ASSAY_BACKUP_REFUSED', `${detail}: take an empty directory`)
}
