// What the decision-log thread tells the main thread without a message: how far the log is durable, whether it takes
// writes, and plain counters for the metrics. All in one SharedArrayBuffer.
// Invariant: the durable sequence and the health are read and written atomically; the counters are written by one
// thread and may be read while they move.

const CONTROL = { durableLow: 0, healthy: 1, mainAsleep: 2, stop: 3 } as const
const CONTROL_BYTES = 64

/** Upper bounds in seconds of the buckets of `syncSeconds`; the last bucket has none. */
export const SYNC_SECONDS_BOUNDS: readonly number[] = Object.freeze([
  0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1,
  0.25, 0.5, 1, 2.5,
])
/** Upper bounds in frames of the buckets of `groupFrames`; the last bucket has none. */
export const GROUP_FRAMES_BOUNDS: readonly number[] = Object.freeze([1, 2, 4, 8, 16, 32, 64, 128, 256, 512])

const COUNTERS = [
  'syncs',
  'syncSecondsSum',
  'groups',
  'frames',
  'frameBytes',
  'segments',
  'segmentsAbandoned',
  'failures',
  'recoveries',
  'headFailures',
  'prepareFailures',
  'bufferedLost',
  'droppedSegments',
  'droppedRecords',
  'diskBytes',
  'bytesPerSecond',
] as const

/**
 * syncs, syncSecondsSum: syncs of frames that succeeded or failed, and their time. groups, frames, frameBytes: written.
 * segments: brought into use. segmentsAbandoned: given up after a failed write or sync. failures: times that frames
 * could not be written at the first try. recoveries: times that writing went on after failures. headFailures,
 * prepareFailures: head or next segment could not be written. bufferedLost: frames lost after hand-over under
 * `buffered`. droppedSegments, droppedRecords: removed unarchived at the bound of bytes. diskBytes: size of all
 * segments. bytesPerSecond: recent rate of frames.
 */
export type Counter = (typeof COUNTERS)[number]

export interface Gauges {
  setDurable(sequence: number): void
  /** The durable sequence, given one that it has not passed by more than 2^32. */
  durable(last: number): number
  setHealthy(healthy: boolean): void
  healthy(): boolean
  /** Main thread: says that it will not look again without being woken. */
  mainSleeps(): void
  /** Log thread: true once after each `mainSleeps`. */
  takeMainAsleep(): boolean
  /** Tells the thread to give up waiting; `stopped` says so, `pause` returns early. */
  stop(): void
  stopped(): boolean
  pause(ms: number): void
  add(counter: Counter, by: number): void
  set(counter: Counter, value: number): void
  get(counter: Counter): number
  /** All of them, with the live histograms. */
  counters(): Record<Counter, number> & { readonly syncSeconds: Uint32Array; readonly groupFrames: Uint32Array }
  observeSync(seconds: number): void
  observeGroup(frames: number): void
  /** Counts per bucket, live views. */
  readonly syncSeconds: Uint32Array
  readonly groupFrames: Uint32Array
}

const FLOATS_BYTES = COUNTERS.length * 8
const SYNC_BUCKETS = SYNC_SECONDS_BOUNDS.length + 1
const GROUP_BUCKETS = GROUP_FRAMES_BOUNDS.length + 1

/** Room for one log's gauges. */
export function createGaugesBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(CONTROL_BYTES + FLOATS_BYTES + 4 * (SYNC_BUCKETS + GROUP_BUCKETS))
}

/** Both threads look at the gauges through one of these. */
export function createGauges(sab: SharedArrayBuffer): Gauges {
  const control = new Int32Array(sab, 0, CONTROL_BYTES / 4)
  const floats = new Float64Array(sab, CONTROL_BYTES, COUNTERS.length)
  const syncSeconds = new Uint32Array(sab, CONTROL_BYTES + FLOATS_BYTES, SYNC_BUCKETS)
  const groupFrames = new Uint32Array(sab, CONTROL_BYTES + FLOATS_BYTES + 4 * SYNC_BUCKETS, GROUP_BUCKETS)
  const place = Object.fromEntries(COUNTERS.map((name, i) => [name, i]))
  const at = (counter: Counter): number => place[counter] ?? 0
  const get = (counter: Counter): number => floats[at(counter)] ?? 0
  const bucket = (bounds: readonly number[], value: number): number => {
    let i = 0
    while (i < bounds.length && value > (bounds[i] ?? Infinity)) i++
    return i
  }
  return {
    setDurable: (sequence) => void Atomics.store(control, CONTROL.durableLow, (sequence % 2 ** 32) | 0),
    durable: (last) => last + ((Atomics.load(control, CONTROL.durableLow) - (last % 2 ** 32)) >>> 0),
    setHealthy: (healthy) => void Atomics.store(control, CONTROL.healthy, healthy ? 1 : 0),
    healthy: () => Atomics.load(control, CONTROL.healthy) === 1,
    mainSleeps: () => void Atomics.store(control, CONTROL.mainAsleep, 1),
    takeMainAsleep: () => Atomics.exchange(control, CONTROL.mainAsleep, 0) === 1,
    stop() {
      Atomics.store(control, CONTROL.stop, 1)
      Atomics.notify(control, CONTROL.stop)
    },
    stopped: () => Atomics.load(control, CONTROL.stop) === 1,
    pause: (ms) => void Atomics.wait(control, CONTROL.stop, 0, ms),
    add: (counter, by) => void (floats[at(counter)] = get(counter) + by),
    set: (counter, value) => void (floats[at(counter)] = value),
    get,
    counters() {
      return {
        ...{ syncs: get('syncs'), syncSecondsSum: get('syncSecondsSum'), groups: get('groups'), frames: get('frames') },
        ...{ frameBytes: get('frameBytes'), segments: get('segments'), segmentsAbandoned: get('segmentsAbandoned') },
        ...{ failures: get('failures'), recoveries: get('recoveries'), headFailures: get('headFailures') },
        ...{ prepareFailures: get('prepareFailures'), bufferedLost: get('bufferedLost') },
        ...{ droppedSegments: get('droppedSegments'), droppedRecords: get('droppedRecords') },
        ...{ diskBytes: get('diskBytes'), bytesPerSecond: get('bytesPerSecond'), syncSeconds, groupFrames },
      }
    },
    observeSync(seconds) {
      const i = bucket(SYNC_SECONDS_BOUNDS, seconds)
      syncSeconds[i] = (syncSeconds[i] ?? 0) + 1
      floats[at('syncs')] = get('syncs') + 1
      floats[at('syncSecondsSum')] = get('syncSecondsSum') + seconds
    },
    observeGroup(frames) {
      const i = bucket(GROUP_FRAMES_BOUNDS, frames)
      groupFrames[i] = (groupFrames[i] ?? 0) + 1
      floats[at('groups')] = get('groups') + 1
      floats[at('frames')] = get('frames') + frames
    },
    syncSeconds,
    groupFrames,
  }
}
