// What the other client's own calls do where the promise of delivery needs a refusal: a member that the group has
// removed commits, and a transactional id is taken over. Printed beside its figures, since speed is not all.
import { Admin, Consumer, Producer } from '@platformatic/kafka'
import { connectTopics, type Topics } from '../../test/kafka/topics.js'
import type { Bench, Part } from './rig.js'

const [OLD, NEW] = [7n, 100n]

/** As a member that was paused for longer than its session, while another went on. */
async function commitWhenRemoved({ address, names: { group, transactions: topic } }: Topics): Promise<string> {
  const common = { clientId: 'promises', bootstrapBrokers: [address] }
  const admin = new Admin(common)
  const join = async (): Promise<Consumer> => {
    const consumer = new Consumer({ ...common, groupId: group, autocommit: false })
    consumer.topics.track(topic)
    await consumer.joinGroup({})
    return consumer
  }
  const commit = (consumer: Consumer, offset: bigint): Promise<void> =>
    consumer.commit({ offsets: [{ topic, partition: 0, offset, leaderEpoch: -1 }] })
  const former = await join()
  await admin.removeMembersFromConsumerGroup({ groupId: group, members: null })
  const owner = await join()
  await commit(owner, NEW)
  const isRefused = await commit(former, OLD).then(
    () => false,
    () => true,
  )
  const held = await owner.listCommittedOffsets({ topics: [{ topic, partitions: [0] }] })
  // Whoever is left has to share anew first: the processes' end does it as well.
  await Promise.allSettled([former.close(), owner.close(), admin.close()])
  return `${isRefused ? 'refused' : 'ACCEPTED'}, the position went from ${NEW} to ${held.get(topic)?.[0]}`
}

/** `fresh`: what a producer says that has no id yet; not said by default. */
async function takeOver({ address, names }: Topics, id: string, fresh: boolean): Promise<string> {
  const none = fresh ? { producerId: -1n, producerEpoch: -1 } : {}
  const open = (): Producer =>
    new Producer({
      ...{ clientId: 'promises', bootstrapBrokers: [address], transactionalId: id, idempotent: true, retries: 1 },
      ...none,
    })
  const messages = [{ topic: names.decisions, partition: 0, value: Buffer.from('x') }]
  const [former, next] = [open(), open()]
  const standing = await former.beginTransaction()
  await standing.send({ messages })
  const taken = await next.beginTransaction().then(
    () => 'taken over',
    () => 'REFUSED',
  )
  const after = await standing
    .send({ messages })
    .then(() => standing.commit())
    .then(
      () => 'the former goes on',
      () => 'the former is fenced',
    )
  await Promise.allSettled([former.close(), next.close()])
  return `${taken}, ${after}`
}

export async function seePromises({ broker }: Bench): Promise<Part> {
  const topics = await connectTopics(broker.address, 'promises')
  await topics.create(1)
  const found = {
    'a commit of a member that was removed': await commitWhenRemoved(topics),
    'a transactional id taken over': await takeOver(topics, 'promises.default', false),
    '… by one that says it is new': await takeOver(topics, 'promises.fresh', true),
  }
  await topics.close()
  return {
    lines: [
      '  @platformatic/kafka, its own calls',
      ...Object.entries(found).map(([what, came]) => `  ${what.padEnd(40)}${came}`),
      '',
    ],
    data: found,
  }
}
