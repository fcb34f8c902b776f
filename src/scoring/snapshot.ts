// Snapshots of what the decision log folds into: a start reads the newest one and folds only what follows it. One that
// was made under another catalogue, with other limits, of another log or by a release that lays state out otherwise is
// foreign, one with a wrong checksum is damaged: both are told and passed by, at worst the whole log is folded.
//   data/snapshots/<epoch>-<sequence>.snapshot     the last record that it covers
// It holds the keys of the state's hashes, which the log does not: whoever reads it could choose ids that meet.
import { createHash, randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { endianness } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { canonicalJson } from '../contract/canonical-json.js'
import { createDisk } from '../decision-log/disk.js'
import type { Position } from '../decision-log/reader.js'
import { listSnapshots, snapshotName, SNAPSHOTS_FOLDER } from '../decision-log/snapshot-files.js'
import { errorOf } from '../errors.js'
import { createImageReader, createImageWriter, type Image } from '../runtime/image.js'
import { createLogState, type LogState, type LogStateDeps, serializeLogState, type StateKeys } from './log-state.js'

/** Raised whenever a `serialize` or what it puts changes: an image of another layout is never read. */
export const SNAPSHOT_FORMAT = 3
/** Snapshots kept: the older one stands in where the newer is damaged. */
const KEPT = 2
/** Bytes written between two syncs: what the log's own sync may have to wait for. */
const SYNC_BYTES = 8 << 20

interface Head {
  readonly shape: string
  readonly position: Position
  readonly keys: StateKeys
}

export interface WrittenSnapshot {
  readonly path: string
  readonly bytes: number
}

/**
 * Writes the state down, reads it back for its checksums, and removes what is older than the two newest. Gives way:
 * after each 8 MiB it syncs and rests as long as that took. The state must not change meanwhile. Throws Node's own
 * errors.
 */
export async function writeSnapshot(dataDir: string, deps: LogStateDeps, state: LogState): Promise<WrittenSnapshot> {
  const { position, keys } = state
  if (position === null) throw new Error('a state of nothing has no snapshot')
  const folder = join(dataDir, SNAPSHOTS_FOLDER)
  await mkdir(folder, { recursive: true, mode: 0o750 })
  const path = join(folder, snapshotName(position))
  const file = await open(`${path}.new`, 'w+', 0o600)
  let bytes: number
  try {
    let syncedBytes = 0
    let beganMs = performance.now()
    const writer = createImageWriter(file, async (written) => {
      if (written - syncedBytes < SYNC_BYTES) return
      await file.datasync()
      await delay(performance.now() - beganMs)
      syncedBytes = written
      beganMs = performance.now()
    })
    await exchangeHead(writer, { shape: shapeOf(deps), position, keys })
    await serializeLogState(state, writer)
    bytes = await writer.end()
    await file.sync()
    await createImageReader(file).skip()
  } catch (error) {
    await rm(`${path}.new`, { force: true })
    throw error
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
  for (const { name } of listSnapshots(dataDir).slice(KEPT)) await rm(join(folder, name), { force: true })
  createDisk(folder).syncDirectory()
  return { path, bytes }
}

export interface LoadDeps extends LogStateDeps {
  /** Null where the log holds what follows this place, else why it does not. */
  readonly misfit: (position: Position) => string | null
  readonly onRefused: (path: string, detail: string) => void
}

/** The state of the newest snapshot that can be used, else an empty one under new keys. */
export async function loadLogState(dataDir: string, deps: LoadDeps): Promise<LogState> {
  for (const { name } of listSnapshots(dataDir)) {
    const path = join(dataDir, SNAPSHOTS_FOLDER, name)
    try {
      return await load(path, deps)
    } catch (error) {
      deps.onRefused(path, errorOf(error).message)
    }
  }
  return createLogState(deps, { features: randomBytes(16), ids: randomBytes(16) })
}

async function load(path: string, deps: LoadDeps): Promise<LogState> {
  const file = await open(path, 'r')
  try {
    return await read(file, deps)
  } finally {
    await file.close()
  }
}

async function read(file: FileHandle, deps: LoadDeps): Promise<LogState> {
  const reader = createImageReader(file)
  const { shape, position, keys } = await exchangeHead(reader, null)
  if (shape !== shapeOf(deps)) throw new Error('it is of another catalogue, of other limits or of another release')
  const misfit = deps.misfit(position)
  if (misfit !== null) throw new Error(misfit)
  const state = createLogState(deps, keys)
  await serializeLogState(state, reader)
  await reader.end()
  state.position = position
  return state
}

/** What a snapshot begins with: everything that decides whether the rest can be read. */
async function exchangeHead(image: Image, head: Head | null): Promise<Head> {
  const bytes = async (value: Buffer | undefined): Promise<Buffer> =>
    Buffer.from(await image.text(value?.toString('hex') ?? ''), 'hex')
  const shape = await image.text(head?.shape ?? '')
  const logId = await bytes(head?.position.logId)
  const epoch = await image.number(head?.position.epoch ?? 0)
  const sequence = await image.number(head?.position.sequence ?? 0)
  const features = await bytes(head?.keys.features)
  const ids = await bytes(head?.keys.ids)
  return { shape, position: { logId, epoch, sequence }, keys: { features, ids } }
}

/** A digest of all that the layout and the meaning of a state depend on. */
function shapeOf({ policy, limits, codecs }: LogStateDeps): string {
  const { schema, catalogue, currencies, idempotency } = policy
  const { entitiesMax, eventsPerEntityMax, featureEventsMax, lateMsMax, amountSummedMax } = limits
  const { labelsUnmatchedMax, labelsHeldMax, factsBytesMax } = limits
  const bounds = [
    ...[entitiesMax, eventsPerEntityMax, featureEventsMax, lateMsMax, amountSummedMax],
    ...[labelsUnmatchedMax, labelsHeldMax, factsBytesMax],
  ]
  const declared = canonicalJson({ schema, catalogue, currencies, idempotency, bounds })
  const parts = [SNAPSHOT_FORMAT, endianness(), codecs.schemas, declared]
  return createHash('sha256').update(parts.join('\n')).digest('hex')
}
