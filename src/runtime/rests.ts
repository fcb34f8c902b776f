// Rests of a thread that works through something beside threads that answer requests: in slices, for most of the time
// at rest. A low priority alone does not do (pace.ts says why), and what has to serve later cannot have one: without
// privileges no thread gets its own back. Pure but for the clock and the wait.

/** Milliseconds of work after which there is a rest. */
const SLICE_MS = 0.25
/** Milliseconds of rest for each of work. */
const REST_MS = 12
/** Milliseconds of rest in all: a slow model is admitted before its time is over. */
const REST_MS_MAX = 5_000

export interface RestsDeps {
  /** Monotonic milliseconds with fraction. */
  readonly monoMs: () => number
  /** Keeps the thread for so many milliseconds. */
  readonly keepThread?: (ms: number) => void
}

/** To be called between two pieces of work; keeps the thread for a rest where a slice is over. */
export function createRests({ monoMs, keepThread = wait }: RestsDeps): () => void {
  let sliceBeganMs = monoMs()
  let leftMs = REST_MS_MAX
  return () => {
    const workedMs = monoMs() - sliceBeganMs
    if (workedMs < SLICE_MS || leftMs === 0) return
    const restMs = Math.min(workedMs * REST_MS, leftMs)
    leftMs -= restMs
    keepThread(restMs)
    sliceBeganMs = monoMs()
  }
}

const cell = new Int32Array(new SharedArrayBuffer(4))

/** Keeps the thread for so many milliseconds, without work. */
export function wait(ms: number): void {
  Atomics.wait(cell, 0, 0, ms)
}
