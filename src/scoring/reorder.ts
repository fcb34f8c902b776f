// Records stand in the decision log by sequence, state is a fold by ordinal: this buffer puts one into the other.
// Ordinals given by one server differ from their order in the log by at most `inFlightMax`; whatever is missing after
// that died with its process and is noted as a gap.

import { type Image, listIn } from '../runtime/image.js'

/** Ordinals from `from` to `to` (inclusive) of an epoch that the log does not hold. */
export interface OrdinalGap {
  readonly epoch: number
  readonly from: number
  readonly to: number
}

export interface Reorder<Item> {
  /** Takes the next record of the log; applies it and whatever waited for it. */
  push(epoch: number, ordinal: number, item: Item): void
  /** Applies what still waits, in order: the log has ended. */
  end(): void
  readonly gaps: readonly OrdinalGap[]
  /** Items that wait for an earlier one. */
  waiting(): number
  /** All up to this ordinal was applied by other hands; nothing may wait. */
  advance(epoch: number, ordinal: number): void
  /** Puts into an image, or takes from it, what was applied so far; nothing may wait. */
  serialize(image: Image): Promise<void>
}

/** `apply` is called once per item in ordinal order. `gapsMax` bounds the list of gaps kept (the oldest). */
export function createReorder<Item>(
  apply: (item: Item) => void,
  bounds: { inFlightMax: number; gapsMax: number },
): Reorder<Item> {
  const waiting = new Map<number, Item>()
  const gaps: OrdinalGap[] = []
  let epoch = 0
  let next = 1

  function drain(): void {
    for (let item = waiting.get(next); item !== undefined; item = waiting.get(next)) {
      waiting.delete(next++)
      apply(item)
    }
  }

  function skipGap(): void {
    let lowest = Infinity
    for (const ordinal of waiting.keys()) if (ordinal < lowest) lowest = ordinal
    if (gaps.length < bounds.gapsMax) gaps.push({ epoch, from: next, to: lowest - 1 })
    next = lowest
    drain()
  }

  function end(): void {
    while (waiting.size > 0) skipGap()
  }

  return {
    push(recordEpoch, ordinal, item) {
      if (recordEpoch !== epoch) {
        end()
        epoch = recordEpoch
      }
      if (ordinal < next) return
      waiting.set(ordinal, item)
      drain()
      if (waiting.size > bounds.inFlightMax) skipGap()
    },
    end,
    gaps,
    waiting: () => waiting.size,
    advance(toEpoch, ordinal) {
      if (waiting.size > 0) throw new Error('a reorder buffer that holds something cannot be passed by')
      epoch = toEpoch
      next = ordinal + 1
    },
    async serialize(image) {
      if (waiting.size > 0) throw new Error('a reorder buffer that holds something has no image')
      epoch = await image.number(epoch)
      next = await image.number(next)
      const kept = await listIn(image, gaps, async (gap) => ({
        epoch: await image.number(gap?.epoch ?? 0),
        from: await image.number(gap?.from ?? 0),
        to: await image.number(gap?.to ?? 0),
      }))
      gaps.splice(0, gaps.length, ...kept)
    },
  }
}
