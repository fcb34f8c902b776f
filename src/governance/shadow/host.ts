// The shadow models as the sidecar's pipeline sees them: a batch goes in, and comes out with scores, or with pairs that
// say that they were shed. Models run in a thread of their own: sharing the pipeline's thread scores as many rows, but
// a model that hangs would take tail, drift and alerts with it, and a native call cannot be ended (bench/shadow.ts).
// Shed first: while the log is further ahead than the bound, while the thread hangs or restarts. Nothing waits
// unbounded.
import { Worker } from 'node:worker_threads'
import { LIMITS, type Limits } from '../../limits.js'
import type { TailRecord } from '../port.js'
import { groupRecords, type PlacedGroup, withScores } from './grouping.js'
import type { LoadedModel } from './scorer.js'
import type { FromShadowThread, ShadowThreadData, ToShadowThread } from './wire.js'

export interface ShadowHostOptions {
  readonly modelsDir: string
  /** name@version of each shadow. */
  readonly shadows: readonly string[]
  /** Records that wait in the log, beyond those in hand. A rebuild says 0: it has all the time. */
  readonly lag: () => number
  /** Records behind the log beyond which pairs are shed, until it is under half of that. */
  readonly lagRecordsMax?: number
  /** Milliseconds that one batch may take before the thread counts as hanging. */
  readonly batchMsMax?: number
  readonly limits?: Limits
  /** Called between groups of rows (pace.ts). */
  readonly rest?: () => void
  /** A model that cannot be loaded, or fails rows, in words; again when the words change. */
  readonly onFault?: (model: string, fault: string) => void
}

export interface ShadowHost {
  /** The same records in the same order, decisions with a score, or the reason for none, of each model. */
  score(records: readonly TailRecord[]): Promise<readonly TailRecord[]>
  models(): readonly LoadedModel[]
  state(): {
    readonly shedding: boolean
    readonly hanging: boolean
    readonly deaths: number
    readonly shedPairs: number
  }
  /** Ends the thread; one that hangs is left to the end of the process. */
  close(deadlineMs: number): Promise<void>
}

/** A minute behind at 10,000 a second: what the sidecar catches up with in that time without shadows. */
const LAG_RECORDS_MAX = 600_000
/** A batch of 8,192 rows of eight models of 100 µs a row takes 7 s, a model's first load a second. */
const BATCH_MS_MAX = 30_000
/** Threads that died in a row before shadows stay off: a native fault that comes back with the same rows. */
const DEATHS_MAX = 5

/** Starts the thread and waits until its models are read. */
export async function createShadowHost(options: ShadowHostOptions): Promise<ShadowHost> {
  const { shadows, modelsDir } = options
  const limits = options.limits ?? LIMITS
  const lagMax = options.lagRecordsMax ?? LAG_RECORDS_MAX
  const known = new Map<string, LoadedModel>()
  const reported = new Map<string, string>()
  let deaths = 0
  let deathsInRow = 0
  let shedPairs = 0
  let isShedding = false
  let thread = startThread()

  function startThread(): Thread {
    return openThread({ modelsDir, shadows }, note, () => {
      deaths++
      deathsInRow++
    })
  }

  function note(models: readonly LoadedModel[]): void {
    for (const model of models) {
      known.set(model.reference, model)
      const { reference, fault } = model
      if (fault !== null && reported.get(reference) !== fault) options.onFault?.(reference, fault)
      if (fault === null) reported.delete(reference)
      else reported.set(reference, fault)
    }
    while (known.size > 4 * limits.modelsMax) known.delete(known.keys().next().value ?? '')
  }

  function sheds(lag: number): boolean {
    isShedding = lag > (isShedding ? lagMax / 2 : lagMax)
    return isShedding
  }

  async function scoreGroup(group: PlacedGroup, endMs: number): Promise<Float64Array | null> {
    if (thread.ended()) {
      if (deathsInRow >= DEATHS_MAX) return null
      thread = startThread()
    }
    const scores = await thread.score(group, endMs - performance.now())
    if (scores !== null) deathsInRow = 0
    options.rest?.()
    return scores
  }

  await thread.ready()
  return {
    async score(records) {
      const groups = groupRecords(records, shadows, limits.flightRowsMax)
      if (groups.length === 0) return records
      const isShed = sheds(options.lag())
      const endMs = performance.now() + (options.batchMsMax ?? BATCH_MS_MAX)
      const scores: (Float64Array | null)[] = []
      for (const group of groups) {
        const given = isShed ? null : await scoreGroup(group, endMs)
        if (given === null) shedPairs += group.count * group.models.length
        scores.push(given)
      }
      return withScores(records, groups, scores)
    },
    models: () => [...known.values()],
    state: () => ({ shedding: isShedding, hanging: thread.hangs(), deaths, shedPairs }),
    close: (deadlineMs) => thread.close(deadlineMs),
  }
}

interface Thread {
  ready(): Promise<void>
  /** Null where the thread hangs, or ends before it answers. */
  score(group: PlacedGroup, msMax: number): Promise<Float64Array | null>
  ended(): boolean
  hangs(): boolean
  close(deadlineMs: number): Promise<void>
}

/** Policies that a thread is known to hold, the last used: half of what it keeps, so that none is missing there. */
const POLICIES_TOLD_MAX = 8

function openThread(
  data: ShadowThreadData,
  onModels: (models: readonly LoadedModel[]) => void,
  onDeath: () => void,
): Thread {
  const worker = new Worker(new URL('./scorer-thread.js', import.meta.url), {
    workerData: data,
    name: 'shadows',
    execArgv: [],
  })
  const told = new Set<string>()
  let answer: ((scores: Float64Array | null) => void) | null = null
  let asked = 0
  let answered = 0
  let hasEnded = false
  let isClosing = false
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const readied = new Promise<void>((resolve) => {
    worker.on('message', (message: FromShadowThread) => {
      onModels(message.models)
      if (message.kind === 'ready') return resolve()
      answered = message.id
      if (message.id === asked) answer?.(message.scores)
    })
    void exited.then(resolve)
  })
  // The exit says enough: what it died of is on stderr, as any uncaught error of a thread is by its own handler.
  worker.on('error', () => undefined)
  void exited.then(() => {
    hasEnded = true
    answer?.(null)
    if (!isClosing) onDeath()
  })

  function send(message: ToShadowThread, moved: ArrayBuffer[] = []): void {
    worker.postMessage(message, moved)
  }

  return {
    ready: () => readied,
    async score({ fingerprint, policy, models, count, vectors: logged }, msMax) {
      if (hasEnded || answered !== asked) return null
      asked++
      const vectors = Uint8Array.from(logged)
      const group = { fingerprint, models, count, policy: tell(told, fingerprint) ? policy : null, vectors }
      const scores = new Promise<Float64Array | null>((resolve) => {
        const timer = setTimeout(() => resolve(null), msMax)
        answer = (given) => {
          clearTimeout(timer)
          resolve(given)
        }
      })
      send({ kind: 'score', id: asked, group }, [vectors.buffer])
      return scores
    },
    ended: () => hasEnded,
    hangs: () => !hasEnded && answered !== asked && answer !== null,
    async close(deadlineMs) {
      isClosing = true
      if (hasEnded) return
      send({ kind: 'close' })
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, deadlineMs)))
      await Promise.race([exited, late])
      clearTimeout(timer)
      worker.unref()
    },
  }
}

/** Notes a use; true where the thread has to be told. */
function tell(told: Set<string>, fingerprint: string): boolean {
  const isNew = !told.delete(fingerprint)
  told.add(fingerprint)
  const oldest = told.values().next().value
  if (told.size > POLICIES_TOLD_MAX && oldest !== undefined) told.delete(oldest)
  return isNew
}
