// The order of the sidecar, in one place: tail → shadow scores → persist and monitor → alert → publish.
// Invariants: a batch is one transaction of the store, so a process that dies at any point repeats the whole batch or
// nothing of it; what is published was committed. Below the disk's floor nothing is written: the decision log holds
// what waits, and nobody writes to it but the server. One batch at a time, one thread at a time (pace.ts).
import type { Alerter } from './alerter.js'
import type { Pace } from '../runtime/pace.js'
import type { Batch, Control, DerivedRow, Monitor, TailRecord } from './port.js'
import type { Store } from './store/open.js'
import type { Tail } from './tail.js'

/** Scores the shadow models on logged vectors. */
export interface ShadowScorer {
  /** The same records in the same order, with `shadows` filled in. */
  score(records: readonly TailRecord[]): Promise<readonly TailRecord[]>
  close(deadlineMs: number): Promise<void>
}

/** What was committed, as publishers see it. */
export interface Committed {
  readonly batch: Batch
  readonly derived: readonly DerivedRow[]
  readonly alerts: readonly DerivedRow[]
}

/** Brings what was committed to somebody. Never blocks and never throws: what it cannot deliver it counts. */
export interface Publisher {
  readonly name: string
  publish(committed: Committed): void
  /** Words for health, where something is wrong. */
  trouble(): string | null
  /** Alerts that it could not deliver, since it was made. */
  undelivered?(): number
  /** Rows that left the store before they could be published, since it was made. */
  unpublished?(): number
  close(deadlineMs: number): Promise<void>
}

/** Chores that follow the record time: partitions of closed days, retention. */
export interface Upkeep {
  /** After a commit; resolves once what had become due is done. */
  follow(recordedAtMs: number): Promise<void>
}

export interface PipelineDeps {
  readonly tail: Tail
  readonly store: Store
  readonly monitors: readonly Monitor[]
  readonly shadows: ShadowScorer | null
  readonly alerter: Alerter | null
  readonly publishers: readonly Publisher[]
  readonly upkeep: Upkeep
  readonly pace: Pace
  /** Resolves when there is room on the disk to write; false when the sidecar is closing. */
  readonly room: () => Promise<boolean>
  readonly onCommitted?: (committed: Committed) => void
}

/** Why the pipeline ended: it was closed, or the log took records back. */
export type Ended =
  { readonly kind: 'closed' } | { readonly kind: 'taken_back'; readonly batch: Batch; readonly to: number }

/** Goes on from the store's position until the tail is closed. Throws what store or tail throw. */
export async function runPipeline(deps: PipelineDeps): Promise<Ended> {
  const { tail, store, monitors, alerter, publishers, upkeep, pace, room } = deps
  const remembering = [...monitors, ...(alerter === null ? [] : [alerter])]
  restore(store, remembering)
  while (await room()) {
    const next = await readScored(deps)
    if (next === null) break
    const { batch, control } = next
    if (batch.takenBackTo !== null) return { kind: 'taken_back', batch, to: batch.takenBackTo }

    const derived = monitor(monitors, batch, pace)
    const alerts = alerter === null ? [] : alerter.consider(derived, batch)
    const checkpoints = checkpointsOf(remembering)
    await store.write({ batch, derived: [...derived, ...alerts], checkpoints, control })
    const committed = { batch, derived, alerts }
    for (const publisher of publishers) publisher.publish(committed)
    deps.onCommitted?.(committed)
    await upkeep.follow(store.recordedAtMs())
    const end = tail.end()
    await pace.follow({ records: batch.records.length, end, lag: end - (batch.position?.sequence ?? end) })
  }
  return { kind: 'closed' }
}

/** A batch with its shadow scores, and what held after it. */
interface Scored {
  readonly batch: Batch
  readonly control: Control | null
}

async function readScored({ tail, shadows }: PipelineDeps): Promise<Scored | null> {
  const read = await tail.next()
  if (read === null) return null
  const control = tail.control()
  if (shadows === null || read.records.length === 0) return { batch: read, control }
  return { batch: { ...read, records: await shadows.score(read.records) }, control }
}

function monitor(monitors: readonly Monitor[], { records }: Batch, { rest }: Pace): DerivedRow[] {
  for (const record of records) {
    for (const one of monitors) one.take(record)
    rest()
  }
  return monitors.flatMap((one) => one.drain())
}

type Remembering = Pick<Monitor, 'name' | 'checkpoint' | 'restore'>

function checkpointsOf(all: readonly Remembering[]): Map<string, Uint8Array> {
  return new Map(all.map((one) => [one.name, one.checkpoint()]))
}

function restore(store: Store, all: readonly Remembering[]): void {
  for (const one of all) {
    const checkpoint = store.checkpoint(one.name)
    if (checkpoint !== null) one.restore(checkpoint)
  }
}
