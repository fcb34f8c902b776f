// A canonical walk over the feature state: what is visible, in the order in which it would leave, with no trace of
// where it lies in memory. Two states that answer alike from now on give the same bytes.
import type { LabelStore } from './labels.js'
import type { EntityWindows } from './windows.js'

export interface DigestInput {
  readonly facts: readonly number[]
  readonly fields: readonly { readonly windows: EntityWindows; readonly heldFrom: number }[]
  readonly labels: LabelStore
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
    windows.walk(heldFrom, (hashes, floor, chunk, from, to) => {
      hashes.forEach(put)
      put(floor)
      put(to - from)
      for (let at = from; at < to; at++) {
        put(chunk.times[at])
        // Prefixes as differences: their base depends on what has been dropped since.
        for (const column of chunk.sums) put(column[at] - column[at - 1])
        for (const column of chunk.counts) put((column[at] - column[at - 1]) & 0xffff)
        for (const column of chunk.raws) put(column[at])
        if (chunk.idLow.length > 0) {
          put(chunk.idLow[at])
          put(chunk.idHigh[at])
        }
      }
    })
  }
  input.labels.walk((label) => label.forEach(put))
  flush()
}
