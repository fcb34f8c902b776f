// Logs of several segments, what covers them, and disks that end in the middle. Shared by tests of pruning; no test.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { createDisk, type Disk } from '../../src/decision-log/disk.js'
import type { PruneCover } from '../../src/decision-log/prune.js'
import { openLogReader } from '../../src/decision-log/reader.js'
import type { Piece } from '../../src/decision-log/segment-file.js'
import { openSmallLog } from './small-log.js'

export const segmentsIn = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith('.segment'))
    .sort()

/** Epochs of so many records of 4 KB at most, some fifteen to a segment. */
export async function writeSegments(directory: string, ...epochs: number[]): Promise<void> {
  for (const records of epochs) {
    const { log, put, until } = await openSmallLog(directory)
    const first = log.recovery.nextSequence
    for (let i = 0; i < records; i++) {
      await until(() => log.reserve())
      log.release()
      put(`${first + i} ${'p'.repeat(3_900)}`)
      log.flush()
    }
    await until(() => log.durableSequence() === first + records - 1)
    await log.close(5_000)
  }
}

/** The end of the log, as a reader there has it. */
export function endOf(directory: string): NonNullable<PruneCover['reader']> {
  const reader = openLogReader(directory)
  reader.read({ onRecord: () => undefined })
  const position = reader.position()
  reader.close()
  if (position === null) throw new Error('the log is empty')
  return position
}

/** What lets everything go but the newest segment. */
export function fullCover(directory: string): PruneCover {
  const end = endOf(directory)
  return { reader: end, snapshot: end, keepMs: 1_000, nowMs: Date.now() + 60_000 }
}

/** Puts what is archived back beside what is left, in another directory. */
export function putTogether(from: { log: string; archive: string }, into: string): string {
  mkdirSync(into, { recursive: true })
  for (const name of readdirSync(from.log)) {
    if (!name.endsWith('.sock')) writeFileSync(path.join(into, name), readFileSync(path.join(from.log, name)))
  }
  for (const name of readdirSync(from.archive).filter((name) => name.endsWith('.gz'))) {
    writeFileSync(path.join(into, name.slice(0, -3)), gunzipSync(readFileSync(path.join(from.archive, name))))
  }
  return into
}

/** Both disks end at the call number `at` of those that change something, as a killed process does. */
export function mortalDisks(directories: { log: string; archive: string }, at: number): { log: Disk; archive: Disk } {
  let calls = 0
  const mortal = (directory: string): Disk => {
    const disk = createDisk(directory)
    const counted = <Args extends unknown[], Result>(call: (...args: Args) => Result) => {
      return (...args: Args): Result => {
        if (++calls >= at) throw new Error('killed')
        return call(...args)
      }
    }
    return {
      ...disk,
      create: counted((name: string) => disk.create(name)),
      write: counted((fd: number, from: Piece, position: number) => disk.write(fd, from, position)),
      sync: counted((fd: number) => disk.sync(fd)),
      syncDirectory: counted(() => disk.syncDirectory()),
      rename: counted((from: string, to: string) => disk.rename(from, to)),
      remove: counted((name: string) => disk.remove(name)),
    }
  }
  return { log: mortal(directories.log), archive: mortal(directories.archive) }
}
