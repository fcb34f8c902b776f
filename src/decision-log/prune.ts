// Which segments the log may let go of, the oldest first, and their way into the archive.
// Invariant: a segment goes only when every record in it and before it was read by the sidecar, is covered by the
// second-newest snapshot and is older than anything that a start folds or answers with. The newest segment never goes.
// It may run beside the server, in any process, more than once at a time.

import { readChain, readHead } from './chain.js'
import type { ChainEntry, ChainHeader } from './chain.js'
import { type Archiving, archiveSegment } from './archive.js'
import type { Disk } from './disk.js'
import type { Position } from './reader.js'
import { indexOfName } from './segment.js'
import type { SnapshotPlace } from './snapshot-files.js'

/** What must lie behind a record before it may go. */
export interface PruneCover {
  /** How far the sidecar has come; null where that is not known. */
  readonly reader: Position | null
  /** The second-newest snapshot; null where there are fewer than two. */
  readonly snapshot: SnapshotPlace | null
  /** Milliseconds for which a start still folds a record, or answers a repeat with it. */
  readonly keepMs: number
  readonly nowMs: number
}

export interface PrunableSegment {
  readonly name: string
  readonly records: number
  readonly bytes: number
  /** No record in it, or before it, is newer. */
  readonly newestMs: number
}

/** What keeps the first segment that stays. */
export type Holding =
  'it is the newest' | 'the sidecar has not read it' | 'snapshots do not cover it' | 'it is too young'

export interface PrunePlan {
  /** Oldest first. */
  readonly segments: readonly PrunableSegment[]
  readonly holding: Holding
}

/** What left the log. */
export interface Pruned {
  readonly segments: number
  readonly records: number
  readonly bytes: number
  /** Archived segments that left the archive. */
  readonly removed: number
}

/** Looks at the log as it is now. */
export function planPrune(log: Disk, cover: PruneCover): PrunePlan {
  const { entries } = readChain(log, readHead(log).head?.segment ?? 0)
  const [reader, snapshot] = [standingOf(entries, cover.reader), standingOf(entries, cover.snapshot)]
  const standing = { ...cover, reader, snapshot }
  const going = new Map<string, PrunableSegment>()
  /** Since the last readable header; they go together. */
  let waiting: ChainEntry[] = []
  let newestMs = 0
  let begin = 0
  for (const entry of entries) {
    const { header } = entry
    if (header !== null) {
      // Made after every record before it; clocks may jump, so the latest counts.
      newestMs = Math.max(newestMs, header.createdAtMs)
      const holding = waiting.length === 0 ? null : holdingOf(header, newestMs, standing)
      if (holding !== null) return { segments: allBefore(log, begin, going), holding }
      for (const { name, header: own, fileBytes: bytes } of waiting) {
        const records = own === null ? 0 : header.firstSequence - own.firstSequence
        going.set(name, { name, records, bytes, newestMs })
      }
      waiting = []
      begin = entry.index
    }
    waiting.push(entry)
  }
  return { segments: allBefore(log, begin, going), holding: 'it is the newest' }
}

/** A place beyond the end of its epoch was taken back by a power cut: nothing is known from it. */
function standingOf<Place extends SnapshotPlace>(entries: readonly ChainEntry[], place: Place | null): Place | null {
  const isVoid = entries.some(({ header }) => {
    const end = header?.previousEpoch
    return end !== undefined && end.epoch === place?.epoch && end.lastSequence < place.sequence
  })
  return isVoid ? null : place
}

/** With the files that were given up before use: left behind, they would look like a log with a hole. */
function allBefore(log: Disk, index: number, going: ReadonlyMap<string, PrunableSegment>): PrunableSegment[] {
  const names = log.list().filter((name) => indexOfName(name) > 0 && indexOfName(name) < index)
  return names.sort().map((name) => going.get(name) ?? { name, records: 0, bytes: 0, newestMs: 0 })
}

/** Why the log may not begin with the segment of this header; null where it may. */
function holdingOf(header: ChainHeader, newestMs: number, cover: PruneCover): Holding | null {
  const { reader, snapshot, keepMs, nowMs } = cover
  const last = header.firstSequence - 1
  const isRead = reader !== null && reader.logId.equals(header.logId) && reader.sequence >= last
  if (!isRead) return 'the sidecar has not read it'
  if (snapshot === null || snapshot.sequence < last) return 'snapshots do not cover it'
  return newestMs + keepMs > nowMs ? 'it is too young' : null
}

/** Moves them into the archive, one after the other; `onMoved` sees each. Throws as `archiveSegment` does. */
export async function prune(
  plan: Pick<PrunePlan, 'segments'>,
  archiving: Archiving,
  onMoved: (segment: PrunableSegment) => void,
): Promise<void> {
  for (const segment of plan.segments) {
    if (await archiveSegment(archiving, segment)) onMoved(segment)
  }
}
