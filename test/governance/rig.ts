// A real server under simulated traffic, a real sidecar with its monitors beside it in this process, and its API.
// Shared by the tests of the API and of the console; no test.
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CLI, type RunningServer, startServer } from '../../bench/server.js'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Config, loadConfig } from '../../src/config.js'
import { govern, type GovernDeps, type Sidecar } from '../../src/govern.js'
import { createAlerter } from '../../src/governance/alerter.js'
import { openGovernanceApi } from '../../src/governance/api/open.js'
import { createDriftMonitor } from '../../src/governance/monitors/drift.js'
import { createShadowMonitor } from '../../src/governance/monitors/shadow.js'
import { chooseShadows } from '../../src/governance/shadow/choose.js'
import { createShadowHost, type ShadowHost } from '../../src/governance/shadow/host.js'
import { LIMITS, type Limits } from '../../src/limits.js'
import type { EventName, Fields } from '../../src/telemetry/logger.js'
import { QUICK_SERVE } from '../flow/quick.js'

export interface GovernanceRig {
  readonly server: RunningServer
  readonly config: Config
  readonly dataDir: string
  readonly url: string
  readonly events: { readonly name: EventName; readonly fields: Fields }[]
  sidecar(): Sidecar
  /** Ends the sidecar; `restart` starts another on the same store and port. */
  stop(): Promise<void>
  restart(): Promise<void>
  /** Runs `assay traffic` with these options until it ends; its summary. */
  traffic(...options: string[]): Promise<{ readonly answered: number }>
  /** Resolves when the store holds everything that stands in the log. */
  caughtUp(): Promise<void>
  /** Sends payments until the API has pairs of scores: a minute of them appears when a later one has begun. */
  compared(): Promise<void>
  /** JSON of an address under /api/v1. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- what a server says is looked at field by field
  ask(path: string): Promise<any>
  remove(): Promise<void>
}

export interface RigOptions {
  readonly edit?: (config: Config) => void
  readonly limits?: Limits
  /** More parts of the sidecar. */
  readonly deps?: Partial<GovernDeps>
}

/** Starts both; resolves when the API answers. */
export async function startGovernance(options: RigOptions = {}): Promise<GovernanceRig> {
  const dataDir = await mkdtemp(join(tmpdir(), 'assay-governance-'))
  const server = await startServer({ dataDir, command: QUICK_SERVE })
  const config = structuredClone(loadConfig({ env: { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__PORT: '0' } }))
  options.edit?.(config)
  const events: { name: EventName; fields: Fields }[] = []
  const start = (): Promise<Running> => startSidecar(config, options, events)
  let running = await start()
  config.process.governance.port = Number(new URL(running.sidecar.url ?? '').port)
  const url = running.sidecar.url ?? ''
  const stop = async (): Promise<void> => {
    await running.sidecar.close(5_000)
    await running.host.close(5_000)
  }
  const ask: GovernanceRig['ask'] = async (path) => (await fetch(`${url}/api/v1/${path}`)).json()
  const traffic: GovernanceRig['traffic'] = (...args) => runTraffic(server.scorePort, args)
  const caughtUp = (): Promise<void> => until(() => isCaughtUp(running.sidecar, server), 'the sidecar reads everything')
  return {
    ...{ server, config, dataDir, url, events, stop, traffic, caughtUp, ask },
    sidecar: () => running.sidecar,
    async restart() {
      running = await start()
    },
    async compared() {
      await caughtUp()
      while ((await ask('shadow')).models.length === 0) {
        await traffic('--rate', '5', '--for', '1s')
        await caughtUp()
      }
    },
    async remove() {
      await stop()
      await server.kill()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

export interface Running {
  readonly sidecar: Sidecar
  readonly host: ShadowHost
}

/** A sidecar with its monitors and API in this process, over the log of a configuration. */
export async function startSidecar(
  config: Config,
  options: RigOptions,
  events: { name: EventName; fields: Fields }[],
): Promise<Running> {
  const modelsDir = config.process.models_dir
  const { shadows, manifestThresholds } = await chooseShadows({ configured: null, modelsDir })
  const host = await createShadowHost({ modelsDir, shadows, lag: () => 0 })
  const sidecar = await govern(config, {
    logger: { event: (name, fields = {}) => void events.push({ name, fields }), flush: () => undefined },
    ...(options.limits !== undefined && { limits: options.limits }),
    createMonitors: () => [
      createDriftMonitor({ loadProfile: profileIn(modelsDir) }, { limits: options.limits ?? LIMITS }),
      createShadowMonitor({ manifestThresholds }),
    ],
    createShadows: () => Promise.resolve({ ...host, close: () => Promise.resolve() }),
    createAlerter: () => createAlerter(),
    createApi: openGovernanceApi,
    ...options.deps,
  })
  return { sidecar, host }
}

function profileIn(modelsDir: string): (model: { name: string; version: string }) => string {
  return ({ name, version }) => readFileSync(join(modelsDir, name, version, 'reference-profile.json'), 'utf8')
}

async function isCaughtUp(sidecar: Sidecar, server: RunningServer): Promise<boolean> {
  const metrics = await (await fetch(`http://127.0.0.1:${server.operationsPort}/metrics`)).text()
  const synced = Number(/^assay_log_synced_sequence (\d+)$/m.exec(metrics)?.[1])
  const { sequence, state } = sidecar.facts()
  return state === 'reading' && sequence >= synced
}

async function runTraffic(port: number, args: readonly string[]): Promise<{ answered: number }> {
  const base = ['traffic', '--url', `http://127.0.0.1:${port}`, '--json', '--label-delay', '1s', '--after', '1s']
  const child = spawn(process.execPath, [CLI, ...base, ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await once(child, 'close')
  return JSON.parse(output) as { answered: number }
}

export async function until(holds: () => boolean | Promise<boolean>, what: string, msMax = 30_000): Promise<void> {
  const endMs = performance.now() + msMax
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${msMax} ms`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
