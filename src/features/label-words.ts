// The words of all kinds of labels that a set of windows asks for, each kind in a store of its own: answers of issuers
// come with nearly every transaction and would push reports of fraud out.
import type { Label } from '../contract/label.js'
import type { Image } from '../runtime/image.js'
import { type LabelBounds, LabelStore, type Word } from './labels.js'
import { marksOf } from './marks.js'
import type { LabelSpans } from './plan.js'

export type ByKind<T> = Readonly<Record<Label['kind'], T>>

export function byKind<T>(of: (kind: Label['kind']) => T): ByKind<T> {
  return { fraud: of('fraud'), authorisation: of('authorisation') }
}

/** What a label says as a number: fraud as 1 and its reversal as 0, an answer as 1 (approved) and 2 (declined). */
export function saysOf({ kind, value }: Label): number {
  return kind === 'fraud' ? Number(value) : value ? 1 : 2
}

// A class: private state and speed meet.
export class LabelWords {
  readonly #spans: LabelSpans
  readonly #lateMsMax: number
  readonly #byKind: ByKind<LabelStore | null>
  readonly #stores: readonly LabelStore[]

  /** `spansMs` says how far back windows look that a kind can change; of a kind with 0 nothing is kept. */
  constructor(spansMs: LabelSpans, lateMsMax: number, bounds: LabelBounds) {
    this.#spans = spansMs
    this.#lateMsMax = lateMsMax
    this.#byKind = byKind((kind) => (spansMs[kind] > 0 ? new LabelStore(kind, bounds) : null))
    this.#stores = [this.#byKind.fraud, this.#byKind.authorisation].filter((store) => store !== null)
  }

  get any(): boolean {
    return this.#stores.length > 0
  }

  get waiting(): number {
    return this.#stores.reduce((sum, { waiting }) => sum + waiting, 0)
  }

  get expired(): number {
    return this.#stores.reduce((sum, { expired }) => sum + expired, 0)
  }

  get bytes(): number {
    return this.#stores.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  has(kind: Label['kind']): boolean {
    return this.#spans[kind] > 0
  }

  /** What holds of this transaction. */
  marks(idLow: number, idHigh: number): number {
    const { fraud, authorisation } = this.#byKind
    return marksOf(fraud?.value(idLow, idHigh) ?? 0, authorisation?.value(idLow, idHigh) ?? 0)
  }

  /** Takes a word; false where it has no effect. */
  put(kind: Label['kind'], id: readonly [number, number], source: readonly [number, number], word: Word): boolean {
    return this.#byKind[kind]?.put(id, source, word) ?? false
  }

  /** Lets go of words of the kind on transactions that no window shows any more. */
  sweep(kind: Label['kind'], frontierMs: number): void {
    this.#byKind[kind]?.sweep(frontierMs - this.#spans[kind] - this.#lateMsMax)
  }

  /** The transaction is held from now on: its labels wait no longer. */
  hold(idLow: number, idHigh: number, eventAtMs: number): void {
    for (const store of this.#stores) store.hold(idLow, idHigh, eventAtMs)
  }

  walk(visit: (words: readonly number[]) => void): void {
    for (const store of this.#stores) store.walk(visit)
  }

  async serialize(image: Image): Promise<void> {
    for (const store of this.#stores) await store.serialize(image)
  }
}
