// The entries of an entity's list in the shared state: transactions with all that windows keep of them, and words of
// labels. All have one length, which the catalogue gives.
//
//   |  type | id hash | event time | frontier | amount, masks, values of a transaction, or the word of a label |
//      0      1         9            17         25
import type { Label } from '../contract/label.js'
import { createHasher, type Hasher } from '../runtime/hash.js'
import type { Current } from './aggregate.js'
import { LabelWords, saysOf } from './label-words.js'
import { isMarked } from './marks.js'
import type { Plan } from './plan.js'

const TRANSACTION = 1
/** Words that move the event of their transaction, and words that count in a bucket. */
const OF_EVENT = 2
const OF_BUCKET = 3
const ID = 1
const TIME = 9
const FRONTIER = 17
const AMOUNT = 25
const MASKS = 33
/** Of a label, behind the frontier. */
const KIND = 25
const WAS = 26
const MARKS = 27
const SAYS = 28
const KNOWN_AT = 29
const SOURCE = 37
const LABEL_BYTES = 45
/** Type and id: what tells one transaction's entry from another's. */
export const MARK_BYTES = TIME
export const TIME_AT = TIME
export const FRONTIER_AT = FRONTIER
const KINDS = ['fraud', 'authorisation'] as const satisfies readonly Label['kind'][]

/** What a word acts on: the event of its transaction in exact windows, or the bucket of its time. */
export type WordOf = 'event' | 'bucket'

/** What a label says of a transaction: what held before, and what holds now. */
export interface MarkedWord {
  readonly of: WordOf
  readonly kind: Label['kind']
  readonly id: Hash
  readonly was: number
  readonly marks: number
}

export type Hash = readonly [low: number, high: number]

// A class: private state and speed meet.
export class EntryCodec {
  /** Bytes of every entry. */
  readonly bytes: number
  readonly #plan: Plan
  readonly #hasher: Hasher
  readonly #maskBytes: number

  /** `hashKey` has 16 bytes and is the same on every server. */
  constructor(plan: Plan, hashKey: Uint8Array) {
    this.#plan = plan
    this.#hasher = createHasher(hashKey)
    this.#maskBytes = Math.ceil(plan.masks.length / 8)
    this.bytes = Math.max(MASKS + this.#maskBytes + 8 * plan.sources.length, LABEL_BYTES)
  }

  hash(text: string): Hash {
    this.#hasher.string(text)
    return [this.#hasher.a, this.#hasher.b]
  }

  encode(transactionId: string, current: Current, frontierMs: number): Buffer {
    const entry = this.#begin(TRANSACTION, transactionId, current.timeMs, frontierMs)
    entry.writeDoubleLE(current.amount, AMOUNT)
    const { masks } = this.#plan
    for (let i = 0; i < masks.length; i++) {
      if (current.masks[masks[i].within] === 1) entry[MASKS + (i >>> 3)] |= 1 << (i & 7)
    }
    let at = MASKS + this.#maskBytes
    for (let i = 0; i < current.values.length; i++, at += 8) entry.writeDoubleLE(current.values[i], at)
    return entry
  }

  /** Reads the entry of a transaction; null where it is the word of a label. */
  decode(entries: Buffer, at: number, into: Current): Current | null {
    if (entries[at] !== TRANSACTION) return null
    into.timeMs = entries.readDoubleLE(at + TIME)
    into.amount = entries.readDoubleLE(at + AMOUNT)
    ;[into.idLow, into.idHigh] = hashAt(entries, at + ID)
    const { masks } = this.#plan
    for (let i = 0; i < masks.length; i++) {
      const passes = (entries[at + MASKS + (i >>> 3)] >>> (i & 7)) & 1
      // Words of labels stand behind their transaction.
      into.masks[i] = passes & isMarked(masks[i].marks, 0)
    }
    let from = at + MASKS + this.#maskBytes
    for (let i = 0; i < into.values.length; i++, from += 8) into.values[i] = entries.readDoubleLE(from)
    return into
  }

  decodeWord(entries: Buffer, at: number): MarkedWord {
    const [was, marks] = [entries[at + WAS], entries[at + MARKS]]
    return {
      of: entries[at] === OF_EVENT ? 'event' : 'bucket',
      kind: KINDS[entries[at + KIND]],
      id: hashAt(entries, at + ID),
      was,
      marks,
    }
  }

  /**
   * The entry of a label's word on a transaction, to go behind these entries of one of its entities; null where it has
   * no effect: its source has said as much at that time or later, or there is no event of the transaction, or no time.
   */
  word(label: Label, of: WordOf, frontierMs: number, entries: Buffer): Buffer | null {
    const type = of === 'event' ? OF_EVENT : OF_BUCKET
    const entry = this.#begin(type, label.transactionId, label.occurredAtMs ?? NaN, frontierMs)
    entry[KIND] = KINDS.indexOf(label.kind)
    entry[SAYS] = saysOf(label)
    entry.writeDoubleLE(label.knownAtMs, KNOWN_AT)
    this.#putHash(entry, SOURCE, label.source)
    const words = new LabelWords(WORD_SPANS, 0, { waitingMax: 1, heldMax: entries.length / this.bytes + 1 })
    let isHeld = of === 'bucket' && label.occurredAtMs !== null
    for (let at = 0; at < entries.length; at += this.bytes) {
      if (entries.compare(entry, ID, TIME, at + ID, at + TIME) !== 0) continue
      if (entries[at] === type) put(words, entries, at)
      else if (of === 'event' && entries[at] === TRANSACTION) {
        isHeld = true
        entries.copy(entry, TIME, at + TIME, at + FRONTIER)
      }
    }
    const [low, high] = hashAt(entry, ID)
    entry[WAS] = words.marks(low, high)
    if (!isHeld || !put(words, entry, 0)) return null
    entry[MARKS] = words.marks(low, high)
    return entry
  }

  #begin(type: number, transactionId: string, timeMs: number, frontierMs: number): Buffer {
    const entry = Buffer.alloc(this.bytes)
    entry[0] = type
    this.#putHash(entry, ID, transactionId)
    entry.writeDoubleLE(timeMs, TIME)
    entry.writeDoubleLE(frontierMs, FRONTIER)
    return entry
  }

  #putHash(into: Buffer, at: number, text: string): void {
    this.#hasher.string(text)
    into.writeUInt32LE(this.#hasher.a, at)
    into.writeUInt32LE(this.#hasher.b, at + 4)
  }
}

export function eventTimeAt(entries: Buffer, at: number): number {
  return entries.readDoubleLE(at + TIME)
}

export function frontierAt(entries: Buffer, at: number): number {
  return entries.readDoubleLE(at + FRONTIER)
}

export function hashAt(bytes: Buffer, at: number): Hash {
  return [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)]
}

const WORD_SPANS = { fraud: 1, authorisation: 1 }

function put(words: LabelWords, entries: Buffer, at: number): boolean {
  const word = { says: entries[at + SAYS], knownAtMs: entries.readDoubleLE(at + KNOWN_AT), eventAtMs: 0 }
  return words.put(KINDS[entries[at + KIND]], hashAt(entries, at + ID), hashAt(entries, at + SOURCE), word)
}
