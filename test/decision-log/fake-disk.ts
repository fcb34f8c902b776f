// A disk in memory that keeps only what was synced when the power goes: of everything else a random part survives, torn
// at random bytes. It fails on order: syncs (after which the kernel calls the lost pages clean, so that a second sync
// "succeeds"), short writes, no space, and the power itself, in the middle of any call.
import type { Disk } from '../../src/decision-log/disk.js'

export const PAGE_BYTES = 512

export type Random = () => number

/** mulberry32: seeded, small, good enough to pick faults. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The machine has no power any more; every call on its disk ends so. */
export class PowerCut extends Error {
  constructor() {
    super('power cut')
    this.name = 'PowerCut'
  }
}

class Inode {
  /** What the page cache shows. */
  content: Buffer = Buffer.alloc(0)
  /** What is on the platter. */
  durable: Buffer = Buffer.alloc(0)
  /** Pages that the next sync must write. A failed sync empties it without writing. */
  dirty = new Set<number>()
}

type NameChange = { readonly name: string; readonly inode: Inode | null }

/** Chances per call. */
export interface Faults {
  readonly cut: number
  readonly syncFails: number
  readonly shortWrite: number
  readonly noSpace: number
}

export const NO_FAULTS: Faults = { cut: 0, syncFails: 0, shortWrite: 0, noSpace: 0 }

/** What a broken writer would do; each makes the power-cut check fail. */
export interface Mutation {
  /** The sync of a file does nothing. */
  readonly ignoreSync?: boolean
  /** The sync of the directory does nothing. */
  readonly ignoreDirectorySync?: boolean
  /** After a failed sync the same file is synced again, and that counts. */
  readonly repeatFailedSync?: boolean
}

export interface FakeDisk extends Disk {
  faults: Faults
  /** True after the cut; the object is of no use any more. */
  readonly dead: () => boolean
  /** Called as a sync begins: what a writer that replies too early would take for done. */
  onSyncBegin: () => void
  readonly failedSyncs: () => number
  /** Ends the machine now. */
  cutPower(): void
  /** The machine after the cut: only what survived. */
  afterCut(): FakeDisk
  /** The same machine after a kill of the process: the page cache is still there. */
  afterKill(): FakeDisk
  /** The bytes of a file as readers see them; to damage them in place. */
  contentOf(name: string): Buffer
}

interface World {
  names: Map<string, Inode>
  durableNames: Map<string, Inode>
  pending: NameChange[]
}

export function createFakeDisk(random: Random, mutation: Mutation = {}, from?: World): FakeDisk {
  const world = from ?? { names: new Map<string, Inode>(), durableNames: new Map<string, Inode>(), pending: [] }
  const open = new Map<number, Inode>()
  let nextFd = 3
  let isDead = false
  let failedSyncs = 0

  function maybeCut(): void {
    if (isDead) throw new PowerCut()
    if (random() < disk.faults.cut) cutPower()
    if (isDead) throw new PowerCut()
  }

  function cutPower(): void {
    isDead = true
  }

  function inodeOf(fd: number): Inode {
    const inode = open.get(fd)
    if (inode === undefined) throw new Error(`EBADF: ${fd}`)
    return inode
  }

  function named(name: string): Inode {
    const inode = world.names.get(name)
    if (inode === undefined) throw Object.assign(new Error(`ENOENT: ${name}`), { code: 'ENOENT' })
    return inode
  }

  function setName(name: string, inode: Inode | null): NameChange {
    if (inode === null) world.names.delete(name)
    else world.names.set(name, inode)
    return { name, inode }
  }

  function newFd(inode: Inode): number {
    open.set(nextFd, inode)
    return nextFd++
  }

  function writeInto(inode: Inode, bytes: Buffer, position: number): void {
    const end = position + bytes.length
    if (end > inode.content.length) {
      const grown = Buffer.alloc(end)
      inode.content.copy(grown)
      inode.content = grown
    }
    bytes.copy(inode.content, position)
    for (let page = Math.floor(position / PAGE_BYTES); page * PAGE_BYTES < end; page++) inode.dirty.add(page)
  }

  /** Brings a dirty page to the platter, whole or torn at a byte. */
  function flushPage(inode: Inode, page: number, bytes: number): void {
    const start = page * PAGE_BYTES
    const end = Math.min(start + bytes, inode.content.length)
    if (end > inode.durable.length) {
      const grown = Buffer.alloc(end)
      inode.durable.copy(grown)
      inode.durable = grown
    }
    inode.content.copy(inode.durable, start, start, end)
  }

  function sync(inode: Inode): void {
    if (mutation.ignoreSync === true) return
    if (random() < disk.faults.syncFails) {
      failedSyncs++
      // Some pages made it, the rest is dropped and called clean.
      for (const page of inode.dirty) if (random() < 0.5) flushPage(inode, page, PAGE_BYTES)
      inode.dirty.clear()
      throw Object.assign(new Error('EIO: sync'), { code: 'EIO' })
    }
    for (const page of inode.dirty) flushPage(inode, page, PAGE_BYTES)
    inode.dirty.clear()
    if (inode.durable.length < inode.content.length) flushPage(inode, 0, 0)
  }

  const disk: FakeDisk = {
    faults: NO_FAULTS,
    dead: () => isDead,
    onSyncBegin: () => undefined,
    failedSyncs: () => failedSyncs,
    list() {
      if (isDead) throw new PowerCut()
      return [...world.names.keys()]
    },
    open(name) {
      maybeCut()
      return newFd(named(name))
    },
    create(name) {
      maybeCut()
      if (world.names.has(name)) throw Object.assign(new Error(`EEXIST: ${name}`), { code: 'EEXIST' })
      if (random() < disk.faults.noSpace) throw Object.assign(new Error('ENOSPC: create'), { code: 'ENOSPC' })
      const inode = new Inode()
      world.pending.push(setName(name, inode))
      return newFd(inode)
    },
    size: (fd) => inodeOf(fd).content.length,
    read(fd, to, position) {
      if (isDead) throw new PowerCut()
      const inode = inodeOf(fd)
      return inode.content.copy(to.buffer, to.at, position, Math.min(position + to.length, inode.content.length))
    },
    write(fd, piece, position) {
      const inode = inodeOf(fd)
      const bytes = Buffer.from(piece.buffer.subarray(piece.at, piece.at + piece.length))
      if (isDead) throw new PowerCut()
      if (random() < disk.faults.cut) {
        // The power goes in the middle of the call: a part is in the cache, and any of it may reach the platter.
        writeInto(inode, bytes.subarray(0, Math.floor(random() * (bytes.length + 1))), position)
        cutPower()
        throw new PowerCut()
      }
      if (random() < disk.faults.noSpace) throw Object.assign(new Error('ENOSPC: write'), { code: 'ENOSPC' })
      const taken = random() < disk.faults.shortWrite ? Math.floor(random() * bytes.length) : bytes.length
      writeInto(inode, bytes.subarray(0, taken), position)
      return taken
    },
    sync(fd) {
      const inode = inodeOf(fd)
      disk.onSyncBegin()
      maybeCut()
      try {
        sync(inode)
      } catch (error) {
        if (mutation.repeatFailedSync !== true) throw error
        sync(inode)
      }
      maybeCut()
    },
    startSync: () => undefined,
    syncDirectory() {
      maybeCut()
      if (random() < disk.faults.syncFails) {
        failedSyncs++
        throw Object.assign(new Error('EIO: directory'), { code: 'EIO' })
      }
      if (mutation.ignoreDirectorySync === true) return
      world.durableNames = new Map(world.names)
      world.pending = []
      maybeCut()
    },
    rename(fromName, to) {
      maybeCut()
      const inode = named(fromName)
      // One journal entry: both names change, or none.
      world.names.delete(fromName)
      world.names.set(to, inode)
      world.pending.push({ name: fromName, inode: null }, { name: to, inode })
    },
    remove(name) {
      maybeCut()
      named(name)
      world.pending.push(setName(name, null))
    },
    close: (fd) => void open.delete(fd),
    freeBytes: () => Infinity,
    cutPower,
    afterCut() {
      const names = new Map(world.durableNames)
      // The journal keeps the order: the first changes may have reached the platter, never a later one alone.
      const kept = Math.floor(random() * (world.pending.length + 1))
      for (const [i, change] of world.pending.entries()) {
        // A rename removes and adds; the pair is kept or lost together.
        const inPair = change.inode === null && world.pending[i + 1]?.inode !== null && i + 1 >= kept
        if (i >= kept || inPair) break
        if (change.inode === null) names.delete(change.name)
        else names.set(change.name, change.inode)
      }
      for (const inode of new Set(names.values())) {
        const chance = random()
        for (const page of inode.dirty) {
          if (random() > chance) continue
          flushPage(inode, page, random() < 0.3 ? Math.floor(random() * PAGE_BYTES) : PAGE_BYTES)
        }
        inode.dirty.clear()
        inode.content = Buffer.from(inode.durable)
      }
      return createFakeDisk(random, mutation, { names, durableNames: new Map(names), pending: [] })
    },
    afterKill: () => createFakeDisk(random, mutation, world),
    contentOf: (name) => named(name).content,
  }
  return disk
}
