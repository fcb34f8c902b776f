// The power-cut check: random appends, commits, failures, kills and power cuts over several epochs on the fake disk,
// with the server's own recovery in between, itself cut at random. Whatever was acknowledged, and whatever a start had
// shown, must stand in the log for ever after: once, in order, with its bytes. Everything follows from the seed.
import { createCommitter } from '../../src/decision-log/commit.js'
import type { Durability } from '../../src/decision-log/commit.js'
import { isDamage } from '../../src/decision-log/finding.js'
import { FRAME_HEADER_BYTES, writeFrameHeader } from '../../src/decision-log/frame.js'
import { createGauges, createGaugesBuffer } from '../../src/decision-log/gauges.js'
import { takeEpoch } from '../../src/decision-log/lock.js'
import { openLogReader } from '../../src/decision-log/reader.js'
import { recoverLog } from '../../src/decision-log/recover.js'
import { createRingBuffer, ringReader, ringWriter } from '../../src/runtime/ring.js'
import { NO_FAULTS, createFakeDisk, seededRandom } from './fake-disk.js'
import type { FakeDisk, Faults, Mutation } from './fake-disk.js'

export interface Plan {
  readonly mutation?: Mutation
  /** Acknowledge as the sync begins instead of after it. */
  readonly replyEarly?: boolean
  readonly durability?: Durability
  /** No power cuts, only kills: what `buffered` promises to survive. */
  readonly killsOnly?: boolean
}

export interface Outcome {
  /** What went wrong, first one first; empty for a sound writer. */
  readonly faults: string[]
  readonly acknowledged: number
  readonly cuts: number
  readonly kills: number
  readonly cleanEnds: number
  readonly failedSyncs: number
  readonly abandoned: number
  readonly cutInRecovery: number
  readonly failedStarts: number
}

type Counts = { -readonly [K in keyof Outcome]: Outcome[K] }

const SEGMENT_BYTES = 4096
const BODY_BYTES_MAX = 200
const EPOCHS = 4
const STEPS = 25

/** Runs one seed. */
export function runPowerCuts(seed: number, plan: Plan = {}): Outcome {
  const random = seededRandom(seed)
  const counts: Counts = {
    ...{ faults: [], acknowledged: 0, cuts: 0, kills: 0, cleanEnds: 0 },
    ...{ failedSyncs: 0, abandoned: 0, cutInRecovery: 0, failedStarts: 0 },
  }
  /** Every body ever appended under a sequence, and the one that must be there. */
  const appended = new Map<number, Set<string>>()
  const promised = new Map<number, string>()
  let disk = createFakeDisk(random, plan.mutation)
  let lastEpoch = 0

  const fallBack = (): void => {
    counts.failedSyncs += disk.failedSyncs()
    const cut = disk.dead() || (plan.killsOnly !== true && random() < 0.5)
    if (cut) counts.cuts++
    else counts.kills++
    if (cut) disk.cutPower()
    disk = cut ? disk.afterCut() : disk.afterKill()
  }

  for (let round = 0; round < EPOCHS * 3 && lastEpoch < EPOCHS && counts.faults.length === 0; round++) {
    disk.faults = pickFaults(random, plan)
    const started = start(disk, plan)
    if (started === null) {
      if (disk.dead()) counts.cutInRecovery++
      counts.failedStarts++
      fallBack()
      continue
    }
    lastEpoch = started.epoch
    checkLog(disk, { appended, promised }, counts)
    const clean = runEpoch(disk, started, { random, plan, appended, promised, counts })
    counts.abandoned += started.gauges.get('segmentsAbandoned')
    if (clean) counts.cleanEnds++
    fallBack()
  }
  disk.faults = NO_FAULTS
  if (counts.faults.length === 0) {
    const started = start(disk, plan)
    if (started === null) counts.faults.push('the log cannot be opened on a sound disk')
    else checkLog(disk, { appended, promised }, counts)
  }
  return counts
}

function pickFaults(random: () => number, plan: Plan): Faults {
  const chance = (most: number): number => (random() < 0.5 ? 0 : random() * most)
  return {
    cut: plan.killsOnly === true ? 0 : chance(0.03),
    syncFails: chance(0.15),
    shortWrite: chance(0.05),
    noSpace: chance(0.1),
  }
}

interface Started {
  readonly epoch: number
  readonly committer: ReturnType<typeof createCommitter>
  readonly writer: ReturnType<typeof ringWriter>
  readonly gauges: ReturnType<typeof createGauges>
  readonly nextSequence: number
}

/** What a start of the server does; null where the disk did not let it. */
function start(disk: FakeDisk, plan: Plan): Started | null {
  try {
    const found = recoverLog(disk, { uncountedMax: 100 })
    const epoch = takeEpoch(disk, found.previousEpoch.epoch)
    const sab = createRingBuffer(4096)
    const gauges = createGauges(createGaugesBuffer())
    let clockMs = 0
    const tick = (): number => (clockMs += 400)
    const committer = createCommitter(
      {
        ...{ disk, gauges, ring: ringReader(sab), nowMs: tick, monoMs: tick },
        ...{ onFault: () => undefined, onDropped: () => undefined },
        controlState: (sequence) => Buffer.from(`state before ${sequence}`),
      },
      {
        ...{ logId: found.logId ?? Buffer.from('seedseed'), epoch, keyId: 0, nextSequence: found.nextSequence },
        ...{ previousSegment: found.previousSegment, previousEpoch: found.previousEpoch, schemas: Buffer.from('{}') },
        ...{ durability: plan.durability ?? 'synced', segmentBytes: SEGMENT_BYTES, groupBytesMax: 1024 },
        frameBytesMax: 1024,
        ...{ diskBytesMax: Infinity, onFull: 'refuse', bufferedSyncMs: 1_000 },
      },
    )
    committer.start()
    if (disk.dead()) return null
    return { epoch, committer, gauges, writer: ringWriter(sab), nextSequence: found.nextSequence }
  } catch {
    return null
  }
}

interface Book {
  readonly appended: Map<number, Set<string>>
  readonly promised: Map<number, string>
}

/** Appends and commits at random until the epoch ends; true where it was closed. */
function runEpoch(
  disk: FakeDisk,
  started: Started,
  world: Book & { random: () => number; plan: Plan; counts: Counts },
): boolean {
  const { committer, gauges, writer } = started
  const { random, plan, counts } = world
  const bodies = new Map<number, string>()
  let sequence = started.nextSequence - 1
  let acknowledged = sequence
  let durable = sequence
  const takeDurable = (): void => acknowledge((durable = gauges.durable(durable)))
  const acknowledge = (to: number): void => {
    for (; acknowledged < to; acknowledged++) {
      const body = bodies.get(acknowledged + 1)
      if (body !== undefined) world.promised.set(acknowledged + 1, body)
      counts.acknowledged++
    }
  }
  if (plan.replyEarly === true) disk.onSyncBegin = () => acknowledge(sequence)
  const steps = Math.floor(random() * STEPS)
  for (let i = 0; i < steps && !disk.dead(); i++) {
    for (let n = Math.floor(random() * 6); n > 0; n--) {
      const body = append(writer, sequence + 1, random)
      if (body === null) break
      sequence++
      bodies.set(sequence, body)
      const all = world.appended.get(sequence) ?? new Set()
      world.appended.set(sequence, all.add(body))
    }
    writer.publish()
    const before = gauges.healthy()
    const result = committer.step()
    if (disk.dead()) break
    if ((result === 'failing') === gauges.healthy()) counts.faults.push(`health ${before} → wrong after ${result}`)
    takeDurable()
    if (random() < 0.3) committer.prepare()
  }
  disk.onSyncBegin = () => undefined
  if (disk.dead() || random() < 0.5) return false
  while (committer.step() === 'committed');
  if (!disk.dead()) takeDurable()
  return committer.finish()
}

function append(writer: ReturnType<typeof ringWriter>, sequence: number, random: () => number): string | null {
  const body = Buffer.alloc(Math.floor(random() * BODY_BYTES_MAX))
  for (let i = 0; i < body.length; i++) body[i] = Math.floor(random() * 256)
  const bytes = FRAME_HEADER_BYTES + body.length
  const at = writer.reserve(bytes)
  if (at < 0) return null
  writeFrameHeader(writer.buffer, { at, bytes }, { format: 1, flags: 0, type: 1, keyId: 0, sequence })
  body.copy(writer.buffer, at + FRAME_HEADER_BYTES)
  writer.commit(bytes)
  return body.toString('latin1')
}

/** Reads the log from its first byte; what it shows is promised from now on. */
function checkLog(disk: FakeDisk, book: Book, counts: Counts): void {
  const faults = disk.faults
  disk.faults = NO_FAULTS
  const seen = new Map<number, string>()
  const reader = openLogReader(disk)
  reader.read({
    onFinding: (finding) => {
      if (isDamage(finding))
        counts.faults.push(`${finding.kind} ${finding.segment} ${finding.offset}: ${finding.detail}`)
    },
    onRecord: ({ sequence, buffer, start, end }) => {
      const body = buffer.toString('latin1', start, end)
      if (seen.has(sequence)) counts.faults.push(`sequence ${sequence} stands twice`)
      if (book.appended.get(sequence)?.has(body) !== true)
        counts.faults.push(`sequence ${sequence} was never appended so`)
      seen.set(sequence, body)
    },
  })
  reader.close()
  disk.faults = faults
  for (const [sequence, body] of book.promised) {
    if (seen.get(sequence) !== body) counts.faults.push(`acknowledged record ${sequence} is lost`)
  }
  for (const [sequence, body] of seen) book.promised.set(sequence, body)
}
