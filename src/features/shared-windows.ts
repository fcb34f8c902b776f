// Windows that several servers share. Of each entity the shared store keeps a list of entries in one order for all:
// transactions, and words of labels. A server holds windows of what it has read of that list and asks for the rest;
// whoever folds the same entries in the same order has the same windows, by the same code as a server of its own.
// Invariants: an entry is applied once and in its place; an entity that was let go here is read again from the start of
// its list; nothing here is the only copy of anything. It does no I/O.
import { LRUCache } from 'lru-cache'
import type { Label } from '../contract/label.js'
import type { Transaction } from '../contract/transaction.js'
import type { Limits } from '../limits.js'
import type { Current } from './aggregate.js'
import { EntityBuckets } from './buckets.js'
import type { CompiledCatalogue } from './compile.js'
import { dependsOn } from './marks.js'
import {
  EntryCodec,
  eventTimeAt,
  frontierAt,
  type Hash,
  hashAt,
  MARK_BYTES,
  type MarkedWord,
  type WordOf,
} from './shared-entry.js'
import type { OpenWindows } from './state.js'
import type { EntityWindows } from './windows.js'

type Windows = EntityWindows | EntityBuckets

/** All windows over the values of one declared field. */
interface Group {
  readonly name: string
  /** Its place among the entities of a label. */
  readonly entity: number
  /** Places among the windows of the state; the first stands for all. */
  readonly places: readonly number[]
  readonly windows: readonly Windows[]
  /** Events at or before the frontier less this are in no window any more, ms. */
  readonly heldMs: number
}

/** How far an entity's list was read here. */
interface Known {
  readonly group: Group
  readonly low: number
  readonly high: number
  /** Entries applied. */
  version: number
  /** Type and id of the last of them. */
  mark: Buffer
  /** What the windows had evicted then: an entity that is missing since is not known any more. */
  evictions: number
  /** With transactions that the list may have elsewhere, or not yet: it is to be read from its start. */
  isAlone: boolean
}

/** One entity of a transaction: its place in the store, and how far it is known. */
export interface EntityAsked {
  /** Name of the field and keyed hash of the value, 16 hex digits. */
  readonly field: string
  readonly hash: string
  readonly known: number
  readonly mark: Buffer
  readonly entry: Buffer
  /** Entries whose event lies so far behind what windows follow are no longer needed, ms. */
  readonly heldMs: number
  /** Entries that were appended when windows were not as far as this cannot be of the same transaction, ms. */
  readonly cameAfterMs: number
}

/** A list of the store, and what a word in it acts on. */
export interface WordList extends Pick<EntityAsked, 'field' | 'hash'> {
  readonly of: WordOf
}

/** What the store says of an entity. */
export interface EntityTold {
  /** The transaction stood in the list before. */
  readonly isFolded: boolean
  /** Its entry was appended behind `entries`: not where it is too old for every window, or nothing was to be left. */
  readonly isAppended: boolean
  /** Entries that stand before `entries` in the list. */
  readonly from: number
  /** `entries` begin at the start of what the list still has. */
  readonly isWhole: boolean
  /** Newest event time that a bound has dropped; -Infinity where none was. */
  readonly floorMs: number
  readonly entries: Buffer
}

export interface SharedWindowsOptions {
  readonly state: OpenWindows
  /** Declared entity fields, in the order of a label's entities. */
  readonly entityNames: readonly string[]
  /** The same on every server, 16 bytes. */
  readonly hashKey: Uint8Array
  readonly limits: Pick<Limits, 'lateMsMax' | 'clockAheadMsMax' | 'sharedEntitiesMax'>
}

// A class: private state and speed meet.
export class SharedWindows {
  /** Bytes of every entry. */
  readonly entryBytes: number
  readonly #state: OpenWindows
  readonly #codec: EntryCodec
  readonly #groups: readonly Group[]
  readonly #known: LRUCache<string, Known>
  readonly #current: Current
  readonly #lateMsMax: number
  readonly #clockAheadMsMax: number

  constructor({ plan }: CompiledCatalogue, { state, entityNames, hashKey, limits }: SharedWindowsOptions) {
    this.#state = state
    this.#lateMsMax = limits.lateMsMax
    this.#clockAheadMsMax = limits.clockAheadMsMax
    this.#groups = groupsOf(state.windows, entityNames, limits.lateMsMax)
    this.#codec = new EntryCodec(plan, hashKey)
    this.entryBytes = this.#codec.bytes
    this.#known = new LRUCache({ max: limits.sharedEntitiesMax, dispose: letGo })
    this.#current = {
      ...{ timeMs: 0, adds: true, amount: NaN, idLow: 0, idHigh: 0 },
      masks: new Uint8Array(plan.masks.length),
      values: new Float64Array(plan.sources.length),
    }
  }

  /** What is to be asked of the store for this transaction; `clockMs` as for a fold. */
  ask(tx: Transaction, { clockMs, peeks }: Pick<VectorPlace, 'clockMs' | 'peeks'>): EntityAsked[] {
    const untilMs = Math.min(tx.occurredAtMs, clockMs)
    const frontierMs = peeks ? Math.max(untilMs, this.#state.observedUntilMs()) : this.#state.advance(untilMs)
    const { current, present, low, high } = this.#state.read(tx)
    const entry = this.#codec.encode(tx.transactionId, current, frontierMs)
    const asked: EntityAsked[] = []
    for (const group of this.#groups) {
      const [at] = group.places
      if (present[at] === 0) continue
      const hash = hashText(low[at], high[at])
      const known = this.#find(group, hash)
      const isKnown = known !== undefined && !known.isAlone
      asked.push({
        ...{ field: group.name, hash, known: isKnown ? known.version : 0, mark: isKnown ? known.mark : NO_MARK },
        ...{ entry, heldMs: group.heldMs, cameAfterMs: tx.occurredAtMs - this.#clockAheadMsMax },
      })
    }
    return asked
  }

  /**
   * Brings the windows on to what the store says, writes the vector as of the transaction's place, then folds it where
   * its entry is new. Returns bits of FEATURE_FLAGS, or -1 where the store is to be asked again.
   */
  take(tx: Transaction, asked: readonly EntityAsked[], told: readonly EntityTold[], to: VectorPlace): number {
    for (let i = 0; i < asked.length; i++) if (!this.#catchUp(asked[i], told[i])) return -1
    const isFolded = told.some((one) => one.isFolded)
    const flags = this.#score(tx, to, isFolded)
    for (let i = 0; i < asked.length; i++) {
      const known = this.#known.get(keyOf(asked[i]))
      if (known === undefined || !told[i].isAppended) continue
      // It may have come back with the entries of a transaction that went out later.
      if (known.version > told[i].from + told[i].entries.length / this.entryBytes) continue
      this.#apply(known, asked[i].entry, 0)
    }
    return flags
  }

  /**
   * The same without the store: from what was read of it before, the transaction folded for those that follow, unless
   * it was folded here before.
   */
  takeAlone(tx: Transaction, to: VectorPlace, isFolded: boolean): number {
    const asked = this.ask(tx, to)
    const flags = this.#score(tx, to, isFolded)
    if (to.peeks || isFolded) return flags
    for (const { field, hash, entry } of asked) {
      const group = this.#groupOf(field)
      const known = this.#find(group, hash) ?? this.#begin(group, hash, 0)
      this.#apply(known, entry, 0)
      known.isAlone = true
    }
    return flags
  }

  /** What labels have said of a transaction that is taken next: it counts in its own vector. */
  foretell(words: readonly Label[]): void {
    for (const label of words) this.#state.label(label, 0, label.knownAtMs)
  }

  /** As `EntryCodec.word`, of a word that comes now. */
  word(label: Label, of: WordOf, entries: Buffer): Buffer | null {
    return this.#codec.word(label, of, this.#state.observedUntilMs(), entries)
  }

  /**
   * The lists in which a label's word belongs: for events those of `refs` and those that it names, for buckets those
   * that it names with a time.
   */
  listsFor({ kind, entities, occurredAtMs }: Label, refs: Buffer): WordList[] {
    const lists = new Map<string, WordList>()
    const add = (field: string, [low, high]: Hash, of: WordOf): void => {
      const list = { field, hash: hashText(low, high), of }
      lists.set(`${of} ${keyOf(list)}`, list)
    }
    for (const group of this.#groups) {
      const value = entities[group.entity] ?? null
      if (value === null) continue
      const hash = this.#codec.hash(value)
      if (isMoved(group, 'event', kind)) add(group.name, hash, 'event')
      if (occurredAtMs !== null && isMoved(group, 'bucket', kind)) add(group.name, hash, 'bucket')
    }
    for (let at = 0; at < refs.length; at += 9) {
      const group = this.#groups[refs[at]]
      if (isMoved(group, 'event', kind)) add(group.name, hashAt(refs, at + 1), 'event')
    }
    return [...lists.values()]
  }

  /** The entities of a transaction, for a label that comes later: [group (u8), hash (8)] of each. */
  refs(tx: Transaction): Buffer {
    const { present, low, high } = this.#state.read(tx)
    const named = this.#groups.filter(({ places: [at] }) => present[at] === 1)
    const refs = Buffer.alloc(9 * named.length)
    named.forEach(({ name, places: [at] }, i) => {
      refs[9 * i] = this.#groups.findIndex((group) => group.name === name)
      refs.writeUInt32LE(low[at], 9 * i + 1)
      refs.writeUInt32LE(high[at], 9 * i + 5)
    })
    return refs
  }

  /** Keyed hash of a transaction's id, 8 bytes, as its entries have it. */
  idHash(transactionId: string): Buffer {
    const hash = Buffer.alloc(8)
    const [low, high] = this.#codec.hash(transactionId)
    hash.writeUInt32LE(low)
    hash.writeUInt32LE(high, 4)
    return hash
  }

  /** Known, and still whole in its windows. */
  #find(group: Group, hash: string): Known | undefined {
    const key = keyOf({ field: group.name, hash })
    const known = this.#known.get(key)
    if (known === undefined || known.evictions === evictionsOf(group)) return known
    if (group.windows.some((windows) => windows.find(known.low, known.high) < 0)) {
      this.#known.delete(key)
      return undefined
    }
    known.evictions = evictionsOf(group)
    return known
  }

  /** False where the entries do not begin at what is known here. */
  #catchUp({ field, hash }: EntityAsked, { from, isWhole, floorMs, entries }: EntityTold): boolean {
    const group = this.#groupOf(field)
    let known = this.#find(group, hash)
    if (isWhole && (known === undefined || !this.#isOn(known, from, entries))) known = this.#begin(group, hash, from)
    if (known === undefined || known.isAlone || known.version < from) return false
    for (let at = (known.version - from) * this.entryBytes; at < entries.length; at += this.entryBytes) {
      this.#apply(known, entries, at)
    }
    if (isWhole && floorMs > -Infinity) {
      for (const windows of group.windows) {
        const entity = windows.find(known.low, known.high)
        if (entity >= 0) windows.miss(entity, floorMs)
      }
    }
    return true
  }

  #groupOf(field: string): Group {
    const group = this.#groups.find(({ name }) => name === field)
    if (group === undefined) throw new RangeError(`no windows are kept by ${field}`)
    return group
  }

  /** Windows of nothing, behind so many entries. */
  #begin(group: Group, hash: string, version: number): Known {
    const key = keyOf({ field: group.name, hash })
    this.#known.delete(key)
    const known: Known = {
      ...{ group, ...hashOf(hash), version, mark: NO_MARK, evictions: evictionsOf(group), isAlone: false },
    }
    this.#known.set(key, known)
    return known
  }

  #score(tx: Transaction, { out, at, clockMs }: VectorPlace, isFolded: boolean): number {
    const state = this.#state
    return isFolded ? state.revisit(tx, clockMs, out, at) : state.evaluate(tx, clockMs, out, at)
  }

  /** What is known ends with one of these entries, of a list read from its start. */
  #isOn({ version, mark, isAlone }: Known, from: number, entries: Buffer): boolean {
    if (isAlone) return false
    const at = (version - from - 1) * this.entryBytes
    return at >= 0 && at < entries.length && mark.equals(entries.subarray(at, at + MARK_BYTES))
  }

  #apply(known: Known, entries: Buffer, at: number): void {
    const { group, low, high } = known
    const timeMs = eventTimeAt(entries, at)
    const frontierMs = this.#state.advance(frontierAt(entries, at))
    const current = this.#codec.decode(entries, at, this.#current)
    for (const windows of group.windows) {
      const heldFrom = frontierMs - windows.plan.spanMs - this.#lateMsMax
      const entity = windows.find(low, high)
      if (current === null) this.#mark(windows, known, heldFrom, timeMs, this.#codec.decodeWord(entries, at))
      else if (windows.accepts(entity, timeMs, heldFrom)) windows.insert(entity, low, high, current, heldFrom)
      else if (timeMs > heldFrom) windows.miss(entity, timeMs)
    }
    known.version++
    known.mark = Buffer.from(entries.subarray(at, at + MARK_BYTES))
    known.evictions = evictionsOf(group)
  }

  #mark(windows: Windows, { low, high }: Known, heldFrom: number, timeMs: number, word: MarkedWord): void {
    const { of, id, kind, was, marks } = word
    if (!(windows instanceof EntityBuckets)) {
      if (of === 'event') windows.mark(...id, kind, marks, heldFrom)
    } else if (of === 'bucket' && windows.accepts(-1, timeMs, heldFrom)) {
      windows.mark(windows.find(low, high), low, high, { timeMs, heldFrom, was, marks })
    }
  }
}

/** Where the vector goes, and when. `peeks`: nothing was appended. */
export interface VectorPlace {
  readonly out: Float64Array
  readonly at: number
  readonly clockMs: number
  readonly peeks: boolean
}

/** Whether a word of that kind can move anything of those windows. */
function isMoved({ windows }: Group, of: WordOf, kind: Label['kind']): boolean {
  return windows.some((own) =>
    own instanceof EntityBuckets
      ? of === 'bucket' && own.plan.marked.some((set) => dependsOn(set, kind))
      : of === 'event' && own.plan.marked.some(({ marks }) => dependsOn(marks, kind)),
  )
}

const NO_MARK = Buffer.alloc(0)

function groupsOf(windows: readonly Windows[], entityNames: readonly string[], lateMsMax: number): Group[] {
  const names = [...new Set(windows.map(({ plan }) => plan.name))]
  return names.map((name) => {
    const places = windows.flatMap(({ plan }, at) => (plan.name === name ? [at] : []))
    const own = places.map((at) => windows[at])
    const heldMs = Math.max(...own.map(({ plan }) => plan.spanMs)) + lateMsMax
    return { name, entity: entityNames.indexOf(name), places, windows: own, heldMs }
  })
}

function evictionsOf({ windows }: Group): number {
  return windows.reduce((sum, { evictions }) => sum + evictions, 0)
}

function letGo({ group, low, high }: Known): void {
  for (const windows of group.windows) {
    const entity = windows.find(low, high)
    if (entity >= 0) windows.remove(entity)
  }
}

function keyOf({ field, hash }: Pick<EntityAsked, 'field' | 'hash'>): string {
  return `${field}:${hash}`
}

function hashText(low: number, high: number): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')
}

function hashOf(hash: string): { low: number; high: number } {
  return { low: parseInt(hash.slice(8), 16), high: parseInt(hash.slice(0, 8), 16) }
}
