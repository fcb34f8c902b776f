// One writing server per directory: a Unix socket bound in it, which the kernel lets go of however the process ends,
// and an exclusively created file per epoch, which settles the case that two processes replace the same stale socket at
// once. Refuses with ASSAY_LOG_LOCKED; a socket that refuses connections is stale and is taken over. Whoever is to
// follow a running server asks it through the socket, and is told by the end of the connection that the lock is free.

import { existsSync, mkdirSync, openSync, closeSync, renameSync, unlinkSync } from 'node:fs'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import path from 'node:path'
import { AssayError } from '../errors.js'
import type { Disk } from './disk.js'
import { quietly } from './segment-file.js'

/** Name of the socket. */
export const LOCK_NAME = 'writer.sock'
/** sun_path holds 108 bytes on Linux and 104 elsewhere, the final zero included. */
const SOCKET_PATH_BYTES_MAX = 100

export interface DirectoryLock {
  /** Lets others in. */
  readonly release: () => Promise<void>
}

const TAKE_OVER = 'take-over\n'
/** Milliseconds for which a connection may say nothing, and for which a follower waits for the lock. */
const SILENT_MS_MAX = 1_000
const RELEASE_MS_MAX = 15_000

/**
 * Makes the directory if need be and locks it. `onAsked`: somebody wants to follow, and waits for `release`. Throws
 * ASSAY_LOG_LOCKED, or ASSAY_LOG_IO where it cannot be written.
 */
export async function lockDirectory(directory: string, onAsked?: () => void): Promise<DirectoryLock> {
  try {
    mkdirSync(directory, { recursive: true })
    const place = socketPlace(directory)
    try {
      return await bind(place, onAsked)
    } catch (error) {
      place.close()
      throw error
    }
  } catch (error) {
    if (error instanceof AssayError) throw error
    throw new AssayError('ASSAY_LOG_IO', `${directory} cannot be written`, { cause: error })
  }
}

interface SocketPlace {
  readonly directory: string
  readonly socket: string
  close(): void
}

/**
 * A path to the socket that is short enough: where the directory's is not, by way of an open descriptor of it (Linux).
 */
function socketPlace(directory: string): SocketPlace {
  const paths = [path.join(path.resolve(directory), LOCK_NAME), path.relative('.', path.join(directory, LOCK_NAME))]
  const short = paths.find((socket) => Buffer.byteLength(socket) <= SOCKET_PATH_BYTES_MAX)
  if (short !== undefined) return { directory, socket: short, close: () => undefined }
  const fd = openSync(directory, 'r')
  return { directory, socket: `/proc/self/fd/${fd}/${LOCK_NAME}`, close: () => quietly(() => closeSync(fd)) }
}

/** Whether a server holds the lock now. */
export async function isLocked(directory: string): Promise<boolean> {
  if (!existsSync(path.join(directory, LOCK_NAME))) return false
  const place = socketPlace(directory)
  try {
    return await answers(place.socket)
  } finally {
    place.close()
  }
}

/**
 * Asks the server that holds the lock to let go, and resolves when it has, or where nobody holds it. Throws
 * ASSAY_LOG_LOCKED where it does not.
 */
export async function askForLock(directory: string): Promise<void> {
  const place = socketPlace(directory)
  try {
    const connection = connect(place.socket)
    const closed = new Promise<void>((done) => connection.once('close', () => done()))
    const isHeld = await once(connection, 'connect').then(
      () => true,
      () => false,
    )
    if (!isHeld) return
    connection.on('error', () => undefined)
    connection.write(TAKE_OVER)
    connection.resume()
    const late = delay(RELEASE_MS_MAX, 'late', { ref: false })
    if ((await Promise.race([closed, late])) === 'late') throw locked()
  } finally {
    place.close()
  }
}

/** Whoever only looks whether somebody is there, says nothing, or asks one that hands nothing over, is let go of. */
function listenTo(socket: Socket, onAsked: (() => void) | undefined): void {
  socket.unref()
  socket.on('error', () => undefined)
  socket.setTimeout(SILENT_MS_MAX, () => socket.destroy())
  socket.once('data', (bytes) => {
    if (onAsked === undefined || bytes.toString() !== TAKE_OVER) socket.destroy()
    else {
      socket.setTimeout(0)
      onAsked()
    }
  })
}

async function bind(place: SocketPlace, onAsked: (() => void) | undefined): Promise<DirectoryLock> {
  for (let attempt = 0; ; attempt++) {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      listenTo(socket, onAsked)
    })
    try {
      await listening(server, place.socket)
    } catch (error) {
      if (!hasCode(error, 'EADDRINUSE') || attempt > 0) throw error
      if (await answers(place.socket)) throw locked()
      await removeStale(place)
      continue
    }
    server.unref()
    return {
      release: () =>
        new Promise((done) => {
          server.close(() => {
            place.close()
            done()
          })
          for (const socket of sockets) socket.destroy()
        }),
    }
  }
}

/**
 * Moves the stale socket aside before removing it: if another process replaced it meanwhile, its socket is put back.
 */
async function removeStale(place: SocketPlace): Promise<void> {
  const aside = `${place.socket.slice(0, -LOCK_NAME.length)}stale.${process.pid}`
  try {
    renameSync(place.socket, aside)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return
    throw error
  }
  if (await answers(aside)) {
    renameSync(aside, place.socket)
    throw locked()
  }
  unlinkSync(aside)
}

function listening(server: Server, socket: string): Promise<void> {
  return new Promise((done, failed) => {
    server.once('error', failed)
    server.listen(socket, () => {
      server.off('error', failed)
      done()
    })
  })
}

/** True unless nobody is behind the socket: in doubt there is. */
function answers(socket: string): Promise<boolean> {
  return new Promise((done) => {
    const connection = connect(socket)
    connection.once('connect', () => {
      connection.destroy()
      done(true)
    })
    connection.once('error', (error) => done(!hasCode(error, 'ECONNREFUSED') && !hasCode(error, 'ENOENT')))
  })
}

const EPOCH_NAME = /^epoch-(\d{10})$/

/** The file that says that an epoch was taken. */
export function epochName(epoch: number): string {
  return `epoch-${String(epoch).padStart(10, '0')}`
}

/**
 * Takes the first epoch after `lastEpoch` and after every epoch file. Throws ASSAY_LOG_LOCKED where another takes it
 * too.
 */
export function takeEpoch(disk: Disk, lastEpoch: number): number {
  const taken = disk.list().map((name) => Number(EPOCH_NAME.exec(name)?.[1] ?? 0))
  const epoch = Math.max(lastEpoch, ...taken) + 1
  try {
    const fd = disk.create(epochName(epoch))
    disk.sync(fd)
    disk.close(fd)
  } catch (error) {
    if (hasCode(error, 'EEXIST')) throw locked()
    throw error
  }
  disk.syncDirectory()
  for (const name of disk.list()) {
    const older = Number(EPOCH_NAME.exec(name)?.[1] ?? epoch)
    if (older < epoch) quietly(() => disk.remove(name))
  }
  return epoch
}

function locked(): AssayError {
  return new AssayError('ASSAY_LOG_LOCKED', 'another server writes this decision log')
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
