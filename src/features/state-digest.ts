// A canonical walk over the feature state: what is visible, in the order in which it would leave, with no trace of
// where it lies in memory. Two states that answer alike from now on give the same bytes.
import { EntityBuckets } from './buckets.js'
import type { LabelFold } from './label-fold.js'
import type { EntityWindows } from './windows.js'

export interface DigestInput {
  readonly facts: readonly number[]
  readonly fields: readonly { readonly windows: EntityWindows | EntityBuckets; readonly heldFrom: number }[]
  readonly labels: LabelFold
}

const BUFFER_WORDS = 8192

/** Feeds the state to `update` as float64 words, in pieces of at most 64 KiB. */
export function digestState(update: (bytes: Uint8Array) => void, input: DigestInput): void {
  const words = new Float64Array(BUFFER_WORDS)
  let used = 0
  const flush = (): void => {
    update(new Uint8Array(words.buffer, 0, used * 8))
    used = 0
  }
  const put = (value: number): void => {
    if (used === BUFFER_WORDS) flush()
    words[used++] = value
  }
  input.facts.forEach(put)
  for (const { windows, heldFrom } of input.fields) {
    put(windows.entities)
    put(windows.evictions)
    put(windows.evictedUntil)
    if (windows instanceof EntityBuckets) {
      windows.walk(heldFrom, put)
      continue
    }
    const { sumMasks, rawSources, countMasks, marked } = windows.plan
    windows.walk(heldFrom, (entity, stretch, from, to) => {
      const { capacity, floats, times, sums, raws, words, ids, shorts } = stretch
      entity.forEach(put)
      put(to - from)
      for (let at = from; at < to; at++) {
        put(floats[times + at])
        // Prefixes as differences: their base depends on what has been dropped since.
        for (let c = 0; c < sumMasks.length; c++) {
          put(floats[sums + c * capacity + at] - floats[sums + c * capacity + at - 1])
        }
        for (let c = 0; c < countMasks.length; c++) {
          const column = stretch.counts + c * capacity
          put((shorts[column + at] - shorts[column + at - 1]) & 0xffff)
        }
        for (let c = 0; c < rawSources.length; c++) put(floats[raws + c * capacity + at])
        if (marked.length > 0) {
          put(words[ids + 2 * at])
          put(words[ids + 2 * at + 1])
        }
      }
    })
  }
  input.labels.walk((label) => label.forEach(put))
  flush()
}
