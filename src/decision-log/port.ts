// The seam as the scoring side sees it: reserve room, append, learn what is durable. Bytes only; no meaning.
import type { RecordType } from '../contract/record-types.js'

/** Writes a body into `buffer` from `at` and returns the end, or a negative number if it did not fit. */
export type EncodeBody = (buffer: Buffer, at: number) => number

export interface DecisionLog {
  /** 8 random bytes made once per data directory. */
  readonly logId: Buffer
  /** One per start of a server, from 1. */
  readonly epoch: number
  /**
   * Sets room for one record of so many bytes aside, by default `recordBytesMax`; false where the ring has none or the
   * log is failing.
   */
  reserve(bytes?: number): boolean
  /** Gives a reservation of the default size back unused. */
  release(): void
  /** Uses up a reservation of so many bytes. Returns the record's sequence. Never fails for want of room. */
  append(type: RecordType, encode: EncodeBody, bytes?: number): number
  /** Makes what was appended since the last call visible to the log thread and wakes it; call once per tick. */
  flush(): void
  /** Every record up to and including this sequence is durable (`synced`) or handed to the kernel (`buffered`). */
  durableSequence(): number
  /** False while writes fail (disk full, sync error); `reserve` then refuses. */
  healthy(): boolean
  /** Stops taking records, writes and syncs what is in the ring, marks the epoch's end, releases the lock. */
  close(deadlineMs: number): Promise<void>
}

/** Called on the main thread, at most once per drain, after the durable sequence moved or health changed. */
export type OnProgress = () => void
