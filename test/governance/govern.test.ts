// A whole sidecar: records taken back, disks that are full, logs and stores that are not its own, and the commands.
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { CLI } from '../../bench/server.js'
import { loadConfig } from '../../src/config.js'
import { govern, type GovernDeps, type Sidecar } from '../../src/govern.js'
import { LIMITS } from '../../src/limits.js'
import type { EventName, Fields } from '../../src/telemetry/logger.js'
import { until } from '../flow/server-rig.js'
import { child } from './child.js'
import { compareStores } from './compare.js'
import { readAll } from './read-all.js'
import { createWindowMonitor } from './window-monitor.js'
import { copyLog, openWriter } from './written-log.js'

const QUICK = { ...LIMITS, tailGatherMs: 1, tailPollMsMax: 5, governRetryMs: 5, governRetryMsMax: 50 }
const SIDECAR = fileURLToPath(new URL('./sidecar.js', import.meta.url))

interface Rig extends Sidecar {
  readonly dataDir: string
  readonly logDir: string
  readonly events: { readonly name: EventName; readonly fields: Fields }[]
}

function folder(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'assay-govern-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

async function start(t: Test, dataDir: string, deps: Partial<GovernDeps> = {}): Promise<Rig> {
  const env = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN: '1000' }
  const events: Rig['events'] = []
  const sidecar = await govern(loadConfig({ env }), {
    logger: { event: (name, fields = {}) => void events.push({ name, fields }), flush: () => undefined },
    ...{ limits: QUICK, createMonitors: () => [createWindowMonitor()], ...deps },
  })
  t.teardown(() => sidecar.close(5_000))
  return { ...sidecar, dataDir, logDir: join(dataDir, 'decision-log'), events }
}

const reached = (sidecar: Sidecar, sequence: number): Promise<void> =>
  until(() => sidecar.facts().sequence >= sequence, `sequence ${sequence}`)

async function writeLog(dataDir: string, decisions: number): Promise<void> {
  const writer = await openWriter(join(dataDir, 'decision-log'))
  await writer.decisions(decisions)
  await writer.close()
}

void t.test('it says that it waits, how far it lags, and that it has caught up', async (t) => {
  const sidecar = await start(t, folder(t))
  await until(() => sidecar.facts().state === 'waiting', 'waiting')
  t.match(sidecar.facts(), { ready: true, troubles: [], logId: null, lagRecords: 0, lagSeconds: 0 })
  await writeLog(sidecar.dataDir, 250)
  await reached(sidecar, 250)
  t.match(sidecar.facts(), {
    state: 'reading',
    ready: true,
    lagRecords: 0,
    recordsTotal: 250,
    findingsTotal: 0,
    epoch: 1,
  })
  t.equal((await sidecar.queries()?.decisions({}, { limit: 5 }))?.rows.length, 5)
  await sidecar.close(5_000)
  t.equal(sidecar.queries(), null)
})

void t.test('records that the log took back go, with all that was derived from them', async (t) => {
  const dataDir = folder(t)
  const [logDir, base] = [join(dataDir, 'decision-log'), join(dataDir, 'base')]
  const first = await openWriter(logDir)
  await first.decisions(150)
  await first.synced()
  copyLog(logDir, base)
  await first.decisions(200)
  await first.close()
  const before = await start(t, dataDir)
  await reached(before, 350)
  await before.close(5_000)
  rmSync(logDir, { recursive: true })
  renameSync(base, logDir)
  const second = await openWriter(logDir, { seed: 2, ordinal: 151 })
  await second.decisions(300)
  await second.close()

  const after = await start(t, dataDir)
  await until(() => after.facts().rebuildsTotal === 1, 'a rebuild')
  await reached(after, 450)
  const findings = await after.queries()?.findings()
  t.match(
    findings?.find(({ kind }) => kind === 'reader_ahead'),
    { sequence: 150, damage: true },
  )
  t.ok(after.events.some(({ name }) => name === 'StoreRebuilt'))
  await after.close(5_000)
  await readAll({ logDir, directory: join(dataDir, 'fresh') })
  const { rows, differences } = await compareStores(join(dataDir, 'governance'), join(dataDir, 'fresh'))
  t.same(differences, [])
  t.match(rows, { decisions: 450, test_windows: 4 })
})

void t.test('below the floor of free bytes nothing is read or written until there is room', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 50)
  let free = 999
  const sidecar = await start(t, dataDir, { freeBytes: () => free })
  await until(() => sidecar.facts().state === 'paused', 'paused')
  t.match(sidecar.facts(), { ready: false, sequence: 0, troubles: [/disk_free_bytes_min/] })
  free = 1_000
  await reached(sidecar, 50)
  t.match(sidecar.facts(), { state: 'reading', troubles: [] })
})

void t.test('damage is counted, named by health and stands in the store once, after restarts too', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 50)
  const segment = join(dataDir, 'decision-log', '0000000001.segment')
  const bytes = readFileSync(segment)
  bytes[bytes.indexOf('t-7')] = 0x58
  writeFileSync(segment, bytes)
  for (const life of [1, 2, 3]) {
    const sidecar = await start(t, dataDir)
    await reached(sidecar, 50)
    const findings = (await sidecar.queries()?.findings()) ?? []
    t.same(findings.map(({ kind }) => kind).sort(), ['damage', 'gap'], `life ${life}`)
    if (life === 1) t.match(sidecar.facts().troubles, [/2 findings of lost or changed evidence/])
    await sidecar.close(5_000)
  }
})

void t.test('a store derived from another log is refused with what to do', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 20)
  const before = await start(t, dataDir)
  await reached(before, 20)
  await before.close(5_000)
  rmSync(join(dataDir, 'decision-log'), { recursive: true })
  await writeLog(dataDir, 20)
  const sidecar = await start(t, dataDir)
  await t.rejects(sidecar.ended, { code: 'ASSAY_STORE_REFUSED', message: /another decision log.*assay govern rebuild/ })
})

void t.test('a second sidecar on the same store waits for the first to end', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 20)
  const first = await start(t, dataDir)
  await reached(first, 20)
  const second = child(t, process.execPath, [SIDECAR, '--until', '20'], { ASSAY_DATA_DIR: dataDir })
  await until(() => second.output().includes('ASSAY_STORE_LOCKED'), 'the refusal')
  await first.close(5_000)
  t.equal(await second.exited, 0, second.output())
})

void t.test('a disk that takes no more is stated and retried, and what waits is derived once it does', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 1_500)
  // A bound on the size of files, in KiB, in place of a full disk: a write beyond it fails.
  const command = `trap '' XFSZ; ulimit -f 300; exec "$0" "$@"`
  const full = child(t, 'bash', ['-c', command, process.execPath, SIDECAR, '--until', '1500'], {
    ASSAY_DATA_DIR: dataDir,
  })
  await until(() => (full.output().match(/ASSAY_STORE_IO/g) ?? []).length >= 2, 'two refusals', { msMax: 60_000 })
  t.equal(full.process.exitCode, null, 'it goes on trying')
  full.process.kill('SIGKILL')
  await full.exited
  const roomy = child(t, process.execPath, [SIDECAR, '--until', '1500'], { ASSAY_DATA_DIR: dataDir })
  t.equal(await roomy.exited, 0, roomy.output())
  await readAll({ logDir: join(dataDir, 'decision-log'), directory: join(dataDir, 'fresh') })
  const { differences } = await compareStores(join(dataDir, 'governance'), join(dataDir, 'fresh'))
  t.same(differences, [])
})

void t.test('assay govern rebuild makes the store anew and ends', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 300)
  const env = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__LOGGER__LEVEL: 'error' }
  for (const _ of [1, 2]) {
    const rebuild = child(t, process.execPath, [CLI, 'govern', 'rebuild'], env)
    t.equal(await rebuild.exited, 0)
    t.match(rebuild.output(), /^rebuilt: up to sequence 300, 0 findings/)
  }
  const misuse = child(t, process.execPath, [CLI, 'govern', 'rebuilt'], env)
  t.equal(await misuse.exited, 2)
})
