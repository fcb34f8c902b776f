// What the parts of the Kafka bench share: the broker, how much is asked of it, and servers that read from it.
import { join } from 'node:path'
import type { Broker } from '../../test/kafka/broker.js'
import { streamEnv } from '../../test/kafka/fault-run.js'
import type { Topics } from '../../test/kafka/topics.js'
import { median } from '../interval.js'
import { type RunningServer, startServer } from '../server.js'

export interface Bench {
  readonly broker: Broker
  /** On the volume to be measured. */
  readonly folder: string
  readonly pairs: number
  readonly seconds: number
  /** Under load, before anything is measured. */
  readonly warmUpSeconds: number
  /** How it goes on, while it does. */
  readonly say: (line: string) => void
}

export const PARTITIONS = 4

/** A part's figures as text and as data. */
export interface Part {
  readonly lines: readonly string[]
  readonly data: unknown
}

/** A server of its own log that reads from the topics; `name` is its folder's. */
export function startStream(
  { broker, folder }: Bench,
  topics: Topics,
  { name, exactlyOnce = false }: { name: string; exactlyOnce?: boolean },
): Promise<RunningServer> {
  const env = { ...streamEnv(broker, topics), ASSAY_PROCESS__KAFKA__EXACTLY_ONCE: String(exactlyOnce) }
  return startServer({ dataDir: join(folder, name), env })
}

export async function endStream(server: RunningServer): Promise<void> {
  const code = await server.stop()
  if (code !== 0) throw new Error(`the server ended with ${code}:\n${server.output()}`)
}

export function medianOf<Key extends string>(list: readonly Readonly<Record<Key, number>>[], key: Key): number {
  return median(list.map((one) => one[key]))
}

/** Numbers in columns behind a name. */
export function row(name: string, figures: readonly number[], digits = 2): string {
  return `  ${name.padEnd(36)}${figures.map((figure) => figure.toFixed(digits).padStart(10)).join('')}`
}
