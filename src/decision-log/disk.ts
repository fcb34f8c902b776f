// The few things that the decision log asks of a file system, on one directory, and the real one.
// Everything that must survive a power cut goes through this interface, so that the tests can put a disk behind it
// which drops, tears and fails; the code above is the same. Calls block and throw Node's own errors.

import fs from 'node:fs'
import path from 'node:path'

export interface Disk {
  /** Names of the files in the directory, in any order. */
  list(): string[]
  /** Opens an existing file. */
  open(name: string, access: 'read' | 'write'): number
  /** Makes a new file and opens it for reading and writing; fails where the name is taken. */
  create(name: string): number
  size(fd: number): number
  /** Reads up to `length` bytes to `at`; returns how many, 0 at the end of the file. */
  read(fd: number, to: { buffer: Buffer; at: number; length: number }, position: number): number
  /** Writes bytes `at` .. `at + length`; returns how many were taken, which may be fewer. */
  write(fd: number, from: { buffer: Buffer; at: number; length: number }, position: number): number
  /** Makes the content of a file durable (fdatasync). After a failure nothing is known about what is on disk. */
  sync(fd: number): void
  /**
   * Begins to write a file back without waiting. Says nothing about durability: a later `sync` does, and reports
   * errors.
   */
  startSync(fd: number): void
  /** Makes names in the directory durable. */
  syncDirectory(): void
  rename(from: string, to: string): void
  remove(name: string): void
  close(fd: number): void
  /** Bytes that can still be written to this file system. */
  freeBytes(): number
}

/** The real directory. */
export function createDisk(directory: string): Disk {
  const at = (name: string): string => path.join(directory, name)
  return {
    list: () => fs.readdirSync(directory),
    open: (name, access) => fs.openSync(at(name), access === 'read' ? 'r' : 'r+'),
    create: (name) => fs.openSync(at(name), 'wx+', 0o640),
    size: (fd) => fs.fstatSync(fd).size,
    read: (fd, to, position) => fs.readSync(fd, to.buffer, to.at, to.length, position),
    write: (fd, from, position) => fs.writeSync(fd, from.buffer, from.at, from.length, position),
    sync: (fd) => fs.fdatasyncSync(fd),
    startSync: (fd) => fs.fdatasync(fd, () => undefined),
    syncDirectory() {
      const fd = fs.openSync(directory, 'r')
      try {
        fs.fsyncSync(fd)
      } finally {
        fs.closeSync(fd)
      }
    },
    rename: (from, to) => fs.renameSync(at(from), at(to)),
    remove: (name) => fs.unlinkSync(at(name)),
    close: (fd) => fs.closeSync(fd),
    freeBytes() {
      const { bavail, bsize } = fs.statfsSync(directory)
      return bavail * bsize
    },
  }
}

/** Bytes of a file; 0 where there is none: another process may let go of a segment at any time. */
export function sizeOf(disk: Disk, name: string): number {
  try {
    const fd = disk.open(name, 'read')
    const bytes = disk.size(fd)
    disk.close(fd)
    return bytes
  } catch (error) {
    if (isMissing(error)) return 0
    throw error
  }
}

/** True for what the disk throws where a file is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/** Reads all of a file, or null where there is none. */
export function readWhole(disk: Disk, name: string, bytesMax: number): Buffer | null {
  if (!disk.list().includes(name)) return null
  const fd = disk.open(name, 'read')
  try {
    const buffer = Buffer.alloc(Math.min(disk.size(fd), bytesMax))
    let filled = 0
    while (filled < buffer.length) {
      const n = disk.read(fd, { buffer, at: filled, length: buffer.length - filled }, filled)
      if (n === 0) break
      filled += n
    }
    return buffer.subarray(0, filled)
  } finally {
    disk.close(fd)
  }
}
