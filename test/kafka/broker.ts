// A real Kafka broker for tests: one KRaft node from Maven Central's jars, kept outside the tree, on loopback ports of
// its own. It can be killed, paused and started again on the same data. KAFKA_VERSION chooses the release. No test.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../clients/clients.js'
import { cached } from './cache.js'

export interface Broker {
  /** host:port, as clients take it. */
  readonly address: string
  /** SIGKILL: as a machine that goes away. */
  kill(): Promise<void>
  /** Again, on the same data and ports. */
  restart(): Promise<void>
  /** SIGSTOP and SIGCONT: connections stay open and nobody answers. */
  pause(): void
  resume(): void
  stop(): Promise<void>
}

/** A listener beside the plain one. */
export interface Listener {
  readonly name: string
  readonly protocol: 'SSL' | 'SASL_SSL' | 'SASL_PLAINTEXT'
  readonly port: number
  /** What clients are told, where it is not 127.0.0.1. */
  readonly advertisedHost?: string
}

export interface BrokerOptions {
  readonly listeners?: readonly Listener[]
  /** More lines of server.properties. */
  readonly properties?: Readonly<Record<string, string>>
  /** More arguments for the tool that makes the broker's folder. */
  readonly formatWith?: readonly string[]
  readonly javaOptions?: readonly string[]
}

/** What is ready soon and ends soon: start and first requests take a third less of the processor. */
export const SHORT_LIVED_JAVA = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC']

const VERSION = process.env.KAFKA_VERSION ?? '4.3.0'
const START_MS_MAX = 90_000
const artifact = (group: string, name: string, version: string): string =>
  `<groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version>`
const POM = (version: string): string => `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>${artifact('assay', 'test-broker', '1')}
  <dependencies>
    <dependency>${artifact('org.apache.kafka', 'kafka_2.13', version)}</dependency>
    <dependency>${artifact('org.slf4j', 'slf4j-simple', '1.7.36')}</dependency>
  </dependencies>
</project>
`

/** Why no broker can be had here, in words; null where one can. */
export function brokerMissing(): string | null {
  for (const [command, argument] of [
    ['java', '-version'],
    ['mvn', '--version'],
  ] as const) {
    if (spawnSync(command, [argument], { stdio: 'ignore' }).status !== 0) return `${command} is not there`
  }
  return null
}

function jars(version: string): string {
  return cached(`kafka-${version}`, (folder, fetch) => {
    writeFileSync(join(folder, 'pom.xml'), POM(version))
    fetch('mvn', '-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=libs')
  })
}

/**
 * Classes as the first broker had them loaded when it ended, mapped by those after it: a start takes a quarter less of
 * the processor. Java passes over an archive that does not fit it.
 */
function sharedClasses(cache: string, folder: string) {
  const kept = join(cache, 'classes.jsa')
  if (existsSync(kept)) {
    const mapped = [`-XX:SharedArchiveFile=${kept}`]
    return { tool: mapped, broker: mapped, keep: () => undefined }
  }
  const made = join(folder, 'classes.jsa')
  return {
    tool: [],
    broker: [`-XX:ArchiveClassesAtExit=${made}`],
    keep() {
      if (!existsSync(made)) return
      const copied = `${kept}.${process.pid}`
      copyFileSync(made, copied)
      renameSync(copied, kept)
    },
  }
}

/** Starts a broker on an empty folder; resolves when it takes connections. */
export async function startBroker(folder: string, options: BrokerOptions = {}): Promise<Broker> {
  const cache = jars(VERSION)
  const libs = join(cache, 'libs', '*')
  // A broker's voters name each other by port, so that 0 does not do.
  const [port, controllerPort] = await Promise.all([freePort(), freePort()])
  const address = `127.0.0.1:${port}`
  mkdirSync(folder, { recursive: true })
  const settings = join(folder, 'server.properties')
  const lines = { ...properties(folder, port, controllerPort, options.listeners), ...options.properties }
  writeFileSync(
    settings,
    Object.entries(lines)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  )
  const id = Buffer.from('assay-test-clust').toString('base64url')
  const format = ['kafka.tools.StorageTool', 'format', '-t', id, '-c', settings, ...(options.formatWith ?? [])]
  const shared = sharedClasses(cache, folder)
  const formatted = spawnSync('java', [...SHORT_LIVED_JAVA, ...shared.tool, '-cp', libs, ...format], {
    encoding: 'utf8',
  })
  if (formatted.status !== 0) throw new Error(`the broker's folder was not made: ${formatted.stderr}`)

  let child: ChildProcess | null = null
  async function start(): Promise<void> {
    const output = join(folder, 'output')
    const out = openSync(output, 'w')
    const { javaOptions = [...SHORT_LIVED_JAVA, ...shared.broker] } = options
    const command = [...javaOptions, '-cp', libs, 'kafka.Kafka', settings]
    const started = spawn('java', command, { stdio: ['ignore', out, out] })
    closeSync(out)
    // Tests end when nothing is left to do, and it is then stopped.
    started.unref()
    child = started
    const endMs = Date.now() + START_MS_MAX
    while (!(await listens(port))) {
      if (started.exitCode !== null || Date.now() > endMs)
        throw new Error(`the broker did not start:\n${readFileSync(output, 'utf8').slice(-8_192)}`)
      await delay(100)
    }
  }
  async function end(signal: NodeJS.Signals): Promise<void> {
    const running = child
    child = null
    if (running === null || running.exitCode !== null || running.signalCode !== null) return
    running.ref()
    const exited = once(running, 'exit')
    running.kill(signal)
    await exited
  }

  await start()
  return {
    address,
    kill: () => end('SIGKILL'),
    restart: start,
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    async stop() {
      await end('SIGTERM')
      shared.keep()
    },
  }
}

function properties(
  folder: string,
  port: number,
  controllerPort: number,
  others: readonly Listener[] = [],
): Record<string, string> {
  const plain = `PLAINTEXT://127.0.0.1:${port}`
  const open = others.map((one) => `${one.name}://127.0.0.1:${one.port}`)
  const advertised = others.map((one) => `${one.name}://${one.advertisedHost ?? '127.0.0.1'}:${one.port}`)
  const protocols = others.map(({ name, protocol }) => `${name}:${protocol}`)
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: [plain, ...open, `CONTROLLER://127.0.0.1:${controllerPort}`].join(),
    'advertised.listeners': [plain, ...advertised].join(),
    'listener.security.protocol.map': ['PLAINTEXT:PLAINTEXT', 'CONTROLLER:PLAINTEXT', ...protocols].join(),
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(folder, 'data'),
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'auto.create.topics.enable': 'false',
    // A small heap otherwise dies in the log cleaner.
    'log.cleaner.dedupe.buffer.size': '8388608',
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const settle = (is: boolean): void => {
      socket.destroy()
      resolve(is)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}
