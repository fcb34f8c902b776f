// What a label does to the windows. In exact ones it finds the events of its transaction, or waits for them; in buckets
// it counts at the time and for the entities that it names itself, and has no effect where it names none.
import type { Label } from '../contract/label.js'
import type { Limits } from '../limits.js'
import type { Hasher } from '../runtime/hash.js'
import type { Image } from '../runtime/image.js'
import type { EntityBuckets } from './buckets.js'
import { byKind, type ByKind, LabelWords, saysOf } from './label-words.js'
import { dependsOn } from './marks.js'
import type { Plan } from './plan.js'
import type { EntityWindows } from './windows.js'

/** Low and high 32 bits. */
type Hash = readonly [low: number, high: number]

/** A label as it is kept. */
interface Told {
  readonly label: Label
  readonly id: Hash
  readonly source: Hash
  readonly says: number
}

export interface LabelFoldDeps {
  readonly plan: Plan
  readonly exact: readonly EntityWindows[]
  readonly buckets: readonly EntityBuckets[]
  readonly hasher: Hasher
  readonly limits: Limits
}

// A class: private state and speed meet.
export class LabelFold {
  /** Those that a word of the kind can change. */
  readonly #exact: ByKind<readonly EntityWindows[]>
  readonly #buckets: ByKind<readonly EntityBuckets[]>
  readonly #hasher: Hasher
  readonly #lateMsMax: number
  /** Words on transactions whose events are held or may come, and words that name entity and time. */
  readonly #words: LabelWords
  readonly #bucketWords: LabelWords

  constructor({ plan, exact, buckets, hasher, limits }: LabelFoldDeps) {
    const { lateMsMax, labelsUnmatchedMax: waitingMax, labelsHeldMax: heldMax } = limits
    this.#exact = byKind((kind) => exact.filter(({ plan }) => plan.marked.some((one) => dependsOn(one.marks, kind))))
    this.#buckets = byKind((kind) => buckets.filter(({ plan }) => plan.marked.some((set) => dependsOn(set, kind))))
    this.#hasher = hasher
    this.#lateMsMax = lateMsMax
    this.#words = new LabelWords(plan.labelSpansMs, lateMsMax, { waitingMax, heldMax })
    this.#bucketWords = new LabelWords(plan.bucketLabelSpansMs, lateMsMax, { waitingMax, heldMax })
  }

  /** Whether events are found by their transaction. */
  get any(): boolean {
    return this.#words.any
  }

  get waiting(): number {
    return this.#words.waiting
  }

  get expired(): number {
    return this.#words.expired
  }

  get bytes(): number {
    return this.#words.bytes + this.#bucketWords.bytes
  }

  /** What holds of this transaction in exact windows. */
  marks(idLow: number, idHigh: number): number {
    return this.#words.marks(idLow, idHigh)
  }

  /** The transaction is held from now on: its labels wait no longer. */
  hold(idLow: number, idHigh: number, eventAtMs: number): void {
    this.#words.hold(idLow, idHigh, eventAtMs)
  }

  /** True where the transaction is held or counted in a bucket, false where the label waits or acts on nothing. */
  fold(label: Label, frontierMs: number): boolean {
    const source = this.#hash(label.source)
    const id = this.#hash(label.transactionId)
    const told = { label, id, source, says: saysOf(label) }
    const isHeld = this.#markEvents(told, frontierMs)
    return this.#markBuckets(told, frontierMs) || isHeld
  }

  walk(visit: (words: readonly number[]) => void): void {
    this.#words.walk(visit)
    this.#bucketWords.walk(visit)
  }

  async serialize(image: Image): Promise<void> {
    await this.#words.serialize(image)
    await this.#bucketWords.serialize(image)
  }

  #markEvents({ label, id, source, says }: Told, frontierMs: number): boolean {
    const { kind, knownAtMs } = label
    if (!this.#words.has(kind)) return false
    let eventAtMs = NaN
    for (const windows of this.#exact[kind]) {
      const time = windows.eventTime(id[0], id[1], this.#heldFrom(windows, frontierMs))
      if (!Number.isNaN(time)) eventAtMs = time
    }
    this.#words.sweep(kind, frontierMs)
    const isHeld = !Number.isNaN(eventAtMs)
    if (!this.#words.put(kind, id, source, { says, knownAtMs, eventAtMs }) || !isHeld) return isHeld
    const marks = this.#words.marks(id[0], id[1])
    for (const windows of this.#exact[kind]) {
      windows.mark(id[0], id[1], kind, marks, this.#heldFrom(windows, frontierMs))
    }
    return true
  }

  #markBuckets({ label, id, source, says }: Told, frontierMs: number): boolean {
    const { kind, knownAtMs, occurredAtMs: timeMs } = label
    if (timeMs === null || !this.#bucketWords.has(kind)) return false
    const named = this.#buckets[kind].flatMap((buckets) => {
      const value = label.entities[buckets.plan.labelEntity] ?? null
      const heldFrom = this.#heldFrom(buckets, frontierMs)
      return value !== null && buckets.accepts(-1, timeMs, heldFrom) ? [{ buckets, value, heldFrom }] : []
    })
    if (named.length === 0) return false
    this.#bucketWords.sweep(kind, frontierMs)
    const was = this.#bucketWords.marks(id[0], id[1])
    if (!this.#bucketWords.put(kind, id, source, { says, knownAtMs, eventAtMs: timeMs })) return true
    const event = { timeMs, was, marks: this.#bucketWords.marks(id[0], id[1]) }
    for (const { buckets, value, heldFrom } of named) {
      const [low, high] = this.#hash(value)
      buckets.mark(buckets.find(low, high), low, high, { ...event, heldFrom })
    }
    return true
  }

  #hash(text: string): Hash {
    this.#hasher.string(text)
    return [this.#hasher.a, this.#hasher.b]
  }

  #heldFrom({ plan }: EntityWindows | EntityBuckets, frontierMs: number): number {
    return frontierMs - plan.spanMs - this.#lateMsMax
  }
}
