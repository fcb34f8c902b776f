// Which offsets of a stream the decision log has seen to the end, per topic id and partition: all below a bound, and
// ranges above it. Folded from the log's records, at a start and live; it does no I/O.
// Invariant: what is in it has a record in this log, or holds no message; a topic made again has another id, so that
// nothing of it is in it. Bounded: the lowest range leaves first, and is then no longer known.
import type { StreamSource } from '../contract/record-types.js'
import type { Limits } from '../limits.js'
import { type Image, listIn } from '../runtime/image.js'

/** Offsets as ranges that do not touch, in order; at most so many. */
export class OffsetSet {
  readonly #rangesMax: number
  readonly #from: number[] = []
  readonly #to: number[] = []

  constructor(rangesMax: number) {
    this.#rangesMax = rangesMax
  }

  has(offset: number): boolean {
    const at = lowest(this.#to, offset + 1)
    return at < this.#to.length && this.#from[at] <= offset
  }

  /** Everything from `from` up to, and without, `to`. */
  add(from: number, to: number): void {
    const first = lowest(this.#to, from)
    let end = first
    let [low, high] = [from, to]
    for (; end < this.#to.length && this.#from[end] <= to; end++) {
      low = Math.min(low, this.#from[end])
      high = Math.max(high, this.#to[end])
    }
    this.#from.splice(first, end - first, low)
    this.#to.splice(first, end - first, high)
    if (this.#to.length <= this.#rangesMax) return
    this.#from.shift()
    this.#to.shift()
  }

  async serialize(image: Image): Promise<void> {
    const number = (value = 0): Promise<number> => image.number(value)
    this.#from.splice(0, Infinity, ...(await listIn(image, this.#from, number)))
    this.#to.splice(0, Infinity, ...(await listIn(image, this.#to, number)))
  }

  ranges(): [from: number, to: number][] {
    return this.#from.map((from, at) => [from, this.#to[at]])
  }
}

/** Place of the first value that is not below `value`, in a list that rises. */
function lowest(values: readonly number[], value: number): number {
  let low = 0
  let high = values.length
  // Most often it is the last.
  if (high > 0 && values[high - 1] < value) return high
  while (low < high) {
    const middle = (low + high) >>> 1
    if (values[middle] < value) low = middle + 1
    else high = middle
  }
  return low
}

/** What is known of a partition, as it is shown. */
export interface DecidedPartition {
  readonly topic: string
  readonly topic_id: string
  readonly partition: number
  /** Decided from here on … */
  readonly from: number
  /** … up to, and without, this offset. */
  readonly bound: number
  /** Ranges above the bound, and the offset after the last of them. */
  readonly ranges_above: number
  readonly end: number
}

export interface DecidedOffsets {
  /** Takes in a record of this place; of a dead letter with its code. Without a topic id it is passed by. */
  add(source: StreamSource, sequence: number, code?: string | null): void
  has(source: StreamSource): boolean
  /** True where it became a dead letter, as far as that is still known. */
  isDeadLetter(source: StreamSource): boolean
  /** Sequence of the newest record taken in. */
  newest(): number
  partitions(): DecidedPartition[]
  /** Puts it into an image, or takes it from there. */
  serialize(image: Image): Promise<void>
}

interface Known {
  readonly source: StreamSource
  readonly all: OffsetSet
  readonly letters: OffsetSet
}

export function createDecidedOffsets(limits: Pick<Limits, 'offsetRangesMax' | 'offsetPartitionsMax'>): DecidedOffsets {
  const known = new Map<string, Known>()
  let newest = -1
  /** What was extended last: a stream asks for the same partition again and again. */
  let last: Known | null = null

  const offsets = (): OffsetSet => new OffsetSet(limits.offsetRangesMax)

  function find(source: StreamSource): Known | undefined {
    const { topicId, partition } = source
    if (last !== null && last.source.topicId === topicId && last.source.partition === partition) return last
    return known.get(keyOf(source))
  }

  /** Whatever was extended last is the last to leave. */
  function touch(source: StreamSource): Known {
    const one = find(source) ?? { source, all: offsets(), letters: offsets() }
    if (one === last) return one
    const key = keyOf(source)
    known.delete(key)
    known.set(key, one)
    const [oldest] = known.keys()
    if (known.size > limits.offsetPartitionsMax) known.delete(oldest)
    last = one
    return one
  }

  return {
    add(source, sequence, code = null) {
      newest = Math.max(newest, sequence)
      if (source.topicId === null) return
      const { offset, skipped } = source
      const { all, letters } = touch(source)
      all.add(offset - skipped, offset + 1)
      if (code !== null) letters.add(offset, offset + 1)
    },
    has: (source) => source.topicId !== null && (find(source)?.all.has(source.offset) ?? false),
    isDeadLetter: (source) => source.topicId !== null && (find(source)?.letters.has(source.offset) ?? false),
    newest: () => newest,
    partitions: () => [...known.values()].map(shown),
    async serialize(image) {
      newest = await image.number(newest)
      const list = await listIn(image, [...known.values()], async (one) => {
        const source = await serializeSource(image, one?.source)
        const [all, letters] = [one?.all ?? offsets(), one?.letters ?? offsets()]
        await all.serialize(image)
        await letters.serialize(image)
        return { source, all, letters }
      })
      known.clear()
      last = null
      for (const one of list) known.set(keyOf(one.source), one)
    },
  }
}

async function serializeSource(image: Image, source: StreamSource | undefined): Promise<StreamSource> {
  return {
    topic: await image.text(source?.topic ?? ''),
    topicId: await image.text(source?.topicId ?? ''),
    partition: await image.number(source?.partition ?? 0),
    offset: await image.number(source?.offset ?? 0),
    skipped: await image.number(source?.skipped ?? 0),
  }
}

function keyOf({ topicId, partition }: StreamSource): string {
  return `${topicId} ${partition}`
}

function shown({ source: { topic, topicId, partition }, all }: Known): DecidedPartition {
  const ranges = all.ranges()
  const [from, bound] = ranges[0]
  const end = ranges[ranges.length - 1][1]
  return { topic, topic_id: topicId ?? '', partition, from, bound, ranges_above: ranges.length - 1, end }
}
