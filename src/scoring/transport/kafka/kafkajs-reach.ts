// How far the fetches of a partition reach without a break. kafkajs shows the handler no batch that holds only
// transaction markers or what was aborted, and passes over those that follow the messages of a batch.
// Invariant: what is said to hold no message was fetched under this assignment.
import type { Batch, Consumer } from 'kafkajs'

export interface Reach {
  /** The offset from which on nothing was held up to the first message of the batch. */
  before(batch: Batch): number
}

/** Offsets without a message, up to where the next fetch begins. */
interface Empty {
  readonly from: number
  readonly to: number
}

export function createReach(consumer: Pick<Consumer, 'on' | 'events'>): Reach {
  const empties = new Map<string, Empty>()
  const keyOf = ({ topic, partition }: { topic: string; partition: number }): string => `${topic} ${partition}`
  const known = (key: string, at: number): number => {
    const empty = empties.get(key)
    return empty?.to === at ? empty.from : at
  }

  consumer.on(consumer.events.GROUP_JOIN, () => empties.clear())
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
    const [first, last] = [Number(payload.firstOffset), Number(payload.lastOffset)]
    if (payload.batchSize > 0 || payload.firstOffset === null) return
    empties.set(keyOf(payload), { from: known(keyOf(payload), first), to: last + 1 })
  })
  return {
    before(batch) {
      const { messages } = batch
      const first = Number(messages[0].offset)
      const from = known(keyOf(batch), 'fetchedOffset' in batch ? Number(batch.fetchedOffset) : first)
      const end = Number(messages[messages.length - 1].offset) + 1
      empties.set(keyOf(batch), { from: end, to: Number(batch.lastOffset()) + 1 })
      return Math.min(from, first)
    },
  }
}
