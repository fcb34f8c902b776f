// `assay up`: a server with a sidecar beside it, as processes, and what the end of each means for the other.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CLI } from '../../bench/server.js'
import { until } from '../flow/server-rig.js'
import { type Child, child } from './child.js'

const PORTS = {
  ASSAY_PROCESS__HTTP__PORT: '0',
  ASSAY_PROCESS__OPERATIONS__PORT: '0',
  ASSAY_PROCESS__GOVERNANCE__PORT: '0',
}

const PRIORITY = 'ASSAY_PROCESS__GOVERNANCE__PRIORITY'
const [NICE, POLICY, SCHED_IDLE] = [16, 38, 5]

/** Both, once the sidecar is there. */
async function startUp(
  t: Test,
  env: Readonly<Record<string, string>> = {},
): Promise<{ up: Child; sidecars: () => number[] }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'assay-up-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  const up = child(t, process.execPath, [CLI, 'up', '--no-history'], { ASSAY_DATA_DIR: dataDir, ...PORTS, ...env })
  const sidecars = (): number[] => childrenOf(up.process.pid ?? 0)
  await until(() => sidecars().length === 1, 'a sidecar', { msMax: 60_000 })
  return { up, sidecars }
}

void t.test(
  'a sidecar that ends is started again, and the end of the server ends it',
  { timeout: 110_000 },
  async (t) => {
    const { up, sidecars } = await startUp(t, { [PRIORITY]: 'nice' })
    const [first] = sidecars()
    await until(() => statOf(first ?? 0, NICE) === 10, 'that it gives way', { msMax: 30_000 })
    process.kill(first ?? 0, 'SIGKILL')
    await until(() => sidecars().length === 1 && sidecars()[0] !== first, 'another sidecar', { msMax: 30_000 })
    t.equal(up.process.exitCode, null, 'the server goes on')
    const [second] = sidecars()
    t.ok(isAlive(second ?? 0))
    up.process.kill('SIGTERM')
    t.equal(await up.exited, 0, up.output())
    t.notOk(isAlive(second ?? 0), 'the sidecar ended with it')
  },
)

void t.test('a sidecar whose server was killed ends itself', { timeout: 110_000 }, async (t) => {
  const { up, sidecars } = await startUp(t, { [PRIORITY]: 'idle' })
  const [pid] = sidecars()
  await until(() => statOf(pid ?? 0, POLICY) === SCHED_IDLE, 'that it gives way at once', { msMax: 30_000 })
  up.process.kill('SIGKILL')
  await up.exited
  await until(() => !isAlive(pid ?? 0), 'the end of the sidecar', { msMax: 30_000 })
  t.pass('it ended')
})

/** Processes started by this one. */
function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text
    .split(' ')
    .filter((part) => part !== '')
    .map(Number)
}

/** A field of /proc/<pid>/stat, counted from the one behind the name. */
function statOf(pid: number, field: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return Number(fields[field])
}

function isAlive(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '')[0] !== 'Z'
  } catch {
    return false
  }
}
