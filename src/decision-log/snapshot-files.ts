// The names of state snapshots: files in `<data_dir>/snapshots/`, each the state after every record up to a sequence.
// Pure but for the listing. A file that is being written ends in `.new` and counts for nothing, as does any other.

import fs from 'node:fs'
import path from 'node:path'

/** What a snapshot stands for: the state after the record `sequence`, written in `epoch`. */
export interface SnapshotPlace {
  readonly epoch: number
  readonly sequence: number
}

export interface SnapshotFile extends SnapshotPlace {
  readonly name: string
}

/** The folder of the snapshots, in a data directory. */
export const SNAPSHOTS_FOLDER = 'snapshots'

const NAME = /^(\d{10})-(\d{16})\.snapshot$/

/** `0000000003-0000000000001234.snapshot`: names sort as the log runs. */
export function snapshotName(place: SnapshotPlace): string {
  return `${String(place.epoch).padStart(10, '0')}-${String(place.sequence).padStart(16, '0')}.snapshot`
}

/** The place that a file name stands for, or null for any other file. */
export function snapshotOfName(name: string): SnapshotFile | null {
  const match = NAME.exec(name)
  return match === null ? null : { epoch: Number(match[1]), sequence: Number(match[2]), name }
}

/** The complete snapshots of a data directory, newest first; none where the folder is missing. */
export function listSnapshots(dataDir: string): SnapshotFile[] {
  const folder = path.join(dataDir, SNAPSHOTS_FOLDER)
  const names = fs.existsSync(folder) ? fs.readdirSync(folder) : []
  const files = names.map(snapshotOfName).filter((file) => file !== null)
  return files.sort((a, b) => b.epoch - a.epoch || b.sequence - a.sequence)
}
