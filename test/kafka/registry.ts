// A real schema registry for tests: Apicurio from Maven Central, kept outside the tree, in memory, on a loopback port
// of its own. It can be paused and killed, and forgets all then. SCHEMA_REGISTRY_URL names another, which
// stays as it is. No test.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../clients/clients.js'
import { SHORT_LIVED_JAVA } from './broker.js'
import { cached } from './cache.js'

export interface TestRegistry {
  /** Under which Confluent's paths stand. */
  readonly url: string
  /** False where it is not this test's to start and to kill. */
  readonly isOwn: boolean
  /** Resolves when it answers. */
  start(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** SIGSTOP and SIGCONT: it takes connections and does not answer. */
  pause(): void
  resume(): void
  /** The id. */
  register(subject: string, schema: string): Promise<number>
  schemaOf(id: number): Promise<string>
}

const VERSION = '2.6.13.Final'
const ARTIFACT = `io.apicurio:apicurio-registry-app:${VERSION}:tar.gz:all`
const START_MS_MAX = 120_000
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'

function unpacked(): string {
  return cached(`apicurio-${VERSION}`, (folder, fetch) => {
    fetch('mvn', '-q', '-B', 'dependency:copy', `-Dartifact=${ARTIFACT}`, '-DoutputDirectory=.')
    const archive = `apicurio-registry-app-${VERSION}-all.tar.gz`
    fetch('tar', 'xzf', archive)
    rmSync(join(folder, archive))
  })
}

/** Chooses where it will listen; starts nothing yet. */
export async function prepareRegistry(folder: string): Promise<TestRegistry> {
  const other = process.env.SCHEMA_REGISTRY_URL ?? ''
  const port = await freePort()
  const url = other === '' ? `http://127.0.0.1:${port}/apis/ccompat/v7` : other
  let child: ChildProcess | null = null

  return {
    ...{ url, isOwn: other === '' },
    async start() {
      if (other !== '') return
      child = launch(unpacked(), folder, port)
      const endMs = Date.now() + START_MS_MAX
      while (!(await answers(`${url}/subjects`))) {
        if (child.exitCode !== null || Date.now() > endMs)
          throw new Error(`the registry did not start:\n${readFileSync(join(folder, 'output'), 'utf8').slice(-8_192)}`)
        await delay(200)
      }
    },
    async kill() {
      if (child === null || child.exitCode !== null || child.signalCode !== null) return
      child.ref()
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    async register(subject, schema) {
      const response = await fetch(`${url}/subjects/${subject}/versions`, {
        ...{ method: 'POST', headers: { 'content-type': MEDIA_TYPE }, body: JSON.stringify({ schema }) },
      })
      const { id } = (await response.json()) as { id?: number }
      if (id === undefined) throw new Error(`the registry refused a schema of ${subject}: ${response.status}`)
      return id
    },
    async schemaOf(id) {
      const response = await fetch(`${url}/schemas/ids/${id}`)
      return ((await response.json()) as { schema: string }).schema
    },
  }
}

function launch(home: string, folder: string, port: number): ChildProcess {
  mkdirSync(folder, { recursive: true })
  const out = openSync(join(folder, 'output'), 'w')
  const jar = join(home, `apicurio-registry-app-${VERSION}-runner.jar`)
  const address = ['-Dquarkus.http.host=127.0.0.1', `-Dquarkus.http.port=${port}`]
  const options = [...SHORT_LIVED_JAVA, ...address, '-jar', jar]
  const child = spawn('java', options, { cwd: folder, stdio: ['ignore', out, out] })
  closeSync(out)
  // Tests end when nothing is left to do, and it is then stopped.
  child.unref()
  return child
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(5_000) })).ok
  } catch {
    return false
  }
}
