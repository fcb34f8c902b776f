// Asks the brokers for the id of a topic, which kafkajs does not: its metadata requests are too old for it. One of
// version 11 (brokers from 2.8 on; KIP-516) is written here and goes out over a connection that kafkajs makes with its
// own configuration, so that TLS, SASL and the sockets are those of everything else. Reaches into kafkajs 2.2.4.
import assert from 'node:assert'
import type { Kafka } from 'kafkajs'

interface Broker {
  readonly versions: Readonly<Record<number, { readonly maxVersion: number }>>
  readonly connectionPool: { send(exchange: object): Promise<unknown> }
}

interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  readonly brokerPool: { readonly seedBroker: unknown }
}

const METADATA = 3
const VERSION = 11
const CLUSTER = 'private:Kafka:createCluster'
const UNKNOWN_TOPIC = 3
const TOPIC_ID_BYTES = 16

/**
 * The id under which a topic was made, as Kafka's tools print it; null where the brokers know no ids, or no such topic.
 * Connects and disconnects each time; rejects as kafkajs does.
 */
export async function fetchTopicId(kafka: Kafka, topic: string): Promise<string | null> {
  const cluster = createCluster(kafka)
  try {
    await cluster.connect()
    const { seedBroker: broker } = cluster.brokerPool
    assert(isBroker(broker), 'kafkajs has connected to a broker')
    if ((broker.versions[METADATA]?.maxVersion ?? 0) < VERSION) return null
    const answer = await broker.connectionPool.send({
      request: {
        ...{ apiKey: METADATA, apiVersion: VERSION, apiName: 'Metadata' },
        encode: () => {
          const buffer = metadataRequest(topic)
          return Promise.resolve({ buffer, buf: buffer })
        },
      },
      response: {
        decode: (payload: Buffer) => Promise.resolve({ payload, clientSideThrottleTime: 0 }),
        parse: ({ payload }: { payload: Buffer }) => Promise.resolve(payload),
      },
    })
    assert(Buffer.isBuffer(answer))
    return readTopicId(answer, topic)
  } finally {
    await cluster.disconnect()
  }
}

function createCluster(kafka: Kafka): Cluster {
  const symbol = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === CLUSTER)
  const create: unknown = symbol === undefined ? undefined : Reflect.get(kafka, symbol)
  assert(typeof create === 'function', 'kafkajs makes clusters')
  const cluster: unknown = Reflect.apply(create, kafka, [{ allowAutoTopicCreation: false }])
  assert(isCluster(cluster), 'kafkajs makes clusters')
  return cluster
}

function isCluster(value: unknown): value is Cluster {
  return typeof value === 'object' && value !== null && 'connect' in value && 'brokerPool' in value
}

function isBroker(value: unknown): value is Broker {
  return typeof value === 'object' && value !== null && 'versions' in value && 'connectionPool' in value
}

/** What follows the client's id: the tagged fields of a flexible header, then the body, one topic by its name. */
function metadataRequest(topic: string): Buffer {
  const name = Buffer.from(topic)
  return Buffer.concat([
    Buffer.from([0]),
    Buffer.from([2]),
    Buffer.alloc(TOPIC_ID_BYTES),
    varint(name.length + 1),
    name,
    // Of the topic: tagged fields. Then: no auto creation, no authorised operations, tagged fields.
    Buffer.from([0, 0, 0, 0]),
  ])
}

/** Reads the answer up to the id. Exported for tests. */
export function readTopicId(answer: Buffer, topic: string): string | null {
  let at = 0
  const int = (bytes: 2 | 4): number => answer.readIntBE((at += bytes) - bytes, bytes)
  const count = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = answer.readUInt8(at++)
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }
  const text = (): string => {
    const bytes = Math.max(0, count() - 1)
    return answer.toString('utf8', at, (at += bytes))
  }
  const tags = (): void => {
    for (let left = count(); left > 0; left--) {
      count()
      const bytes = count()
      at += bytes
    }
  }
  tags()
  int(4)
  for (let left = count() - 1; left > 0; left--) {
    int(4)
    text()
    int(4)
    text()
    tags()
  }
  text()
  int(4)
  assert(count() - 1 === 1, 'one topic was asked for')
  const code = int(2)
  assert(text() === topic, 'it is that topic')
  const id = answer.subarray(at, at + TOPIC_ID_BYTES)
  if (code === UNKNOWN_TOPIC || id.every((byte) => byte === 0)) return null
  if (code !== 0) throw new Error(`the brokers say ${code} of the topic ${topic}`)
  return id.toString('base64url')
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  for (let left = value; ; left >>>= 7) {
    if (left < 0x80) return Buffer.from([...bytes, left])
    bytes.push((left & 0x7f) | 0x80)
  }
}
