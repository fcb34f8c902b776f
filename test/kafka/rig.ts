// A real broker for the tests of a file, topics of a test's own, and servers that read them. KAFKA_BROKERS (host:port)
// names another broker, which stays as it is: topics have names of their own there, and are deleted. No test.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createSimulator } from '../../src/simulate/generator.js'
import { type Rig, type RigOptions, startRig, until } from '../flow/server-rig.js'
import { type Broker, brokerMissing, startBroker } from './broker.js'
import { connectTopics, type Topics } from './topics.js'

export interface KafkaRig {
  /** Why the tests of this file are skipped; under CI it is a failure beside. */
  readonly skip: string | false
  /** 4 partitions by default; with 0 the topics are not there yet. */
  readonly openTopics: (t: Test, name: string, partitions?: number) => Promise<Topics>
  /** A server that reads the topics; `edit` has the last word. */
  readonly startReading: (t: Test, topics: Topics, options?: ReadingOptions) => Promise<Rig>
  /** host:port. */
  readonly address: () => string
  /** To be paused and killed; null where it is not this file's. */
  readonly ownBroker: () => Broker | null
}

export interface ReadingOptions extends RigOptions {
  /** The models of the reference policy; otherwise the baseline alone, which is there at once. */
  readonly allModels?: boolean
}

/** Starts a broker before the tests of the file and stops it after them. */
export function kafkaRig(): KafkaRig {
  // Jars may have to be fetched, and a broker takes up to half a minute to start.
  t.setTimeout(600_000)
  const given = process.env.KAFKA_BROKERS ?? ''
  const unable = given === '' ? brokerMissing() : null
  if (unable !== null && process.env.CI === 'true') t.fail(`no broker: ${unable}`)
  const folder = mkdtempSync(join(tmpdir(), 'assay-kafka-'))
  let own: Broker | null = null
  const address = (): string => own?.address ?? given
  const suffix = given === '' ? '' : `.of-${randomUUID().slice(0, 8)}`
  t.before(async () => {
    if (given === '' && unable === null) own = await startBroker(join(folder, 'broker'))
  })
  t.after(async () => {
    await own?.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    skip: unable === null ? false : `no broker: ${unable}`,
    address,
    ownBroker: () => own,
    async openTopics(t, name, partitions = 4) {
      const topics = await connectTopics(address(), name + suffix)
      t.teardown(async () => {
        if (given !== '') await topics.remove()
        await topics.close()
      })
      if (partitions > 0) await topics.create(partitions)
      return topics
    },
    async startReading(t, { names, address }, { edit, allModels = false, ...options } = {}) {
      const rig = await startRig({
        ...options,
        edit(config) {
          const { kafka } = config.process
          if (!allModels) Object.assign(config.policy.routes, { champion: 'baseline@1', challenger: null })
          // A decision that a busy machine does not log in time would be asked for again, and come as a repeat.
          config.policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
          kafka.brokers = [address]
          kafka.group_id = names.group
          const { transactions, decisions, dead } = names
          kafka.topics = { ...kafka.topics, transactions, decisions, dead_letters: dead }
          edit?.(config)
        },
      })
      t.teardown(() => rig.remove())
      return rig
    },
  }
}

/** Asks the broker ten times a second, more often would be load; one that is not ready to answer is asked again. */
export function held(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const ask = async (): Promise<boolean> => {
    try {
      return await holds()
    } catch (error) {
      if (error instanceof Error && 'retriable' in error && error.retriable === true) return false
      throw error
    }
  }
  return until(ask, what, { msMax: 100_000, everyMs: 100 })
}

/** A request is answered; a busy machine may refuse the first. */
export function served(rig: Pick<Rig, 'score'>, wire: object): Promise<void> {
  return held(async () => (await rig.score(wire)).status === 200, 'requests are served')
}

export function transactions(seed: number, count: number): { transaction_id: string; customer_id?: string }[] {
  const simulator = createSimulator({
    ...{ seed, customers: 40, terminals: 60, startMs: Date.now() - 60 * 86_400_000, idPrefix: `k${seed}-` },
  })
  return Array.from({ length: count }, () => simulator.next().wire)
}

/** As it is produced, under its customer. */
export function message(wire: { customer_id?: string }): { key: string | null; value: string } {
  return { key: wire.customer_id ?? null, value: JSON.stringify(wire) }
}
