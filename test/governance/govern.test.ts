// A whole sidecar: what it says of itself, records taken back, no room, damage, another log.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { until } from '../flow/server-rig.js'
import { compareStores } from './compare.js'
import { folder, reached, startSidecar, writeLog } from './govern-rig.js'
import { readAll } from './read-all.js'
import { openWriter, writeToTakeBack } from './written-log.js'

void t.test('it says that it waits, how far it lags, and that it has caught up', async (t) => {
  const sidecar = await startSidecar(t, folder(t))
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
  const logDir = join(dataDir, 'decision-log')
  const takeBack = await writeToTakeBack(logDir, { kept: 150, lost: 200 })
  const before = await startSidecar(t, dataDir)
  await reached(before, 350)
  await before.close(5_000)
  takeBack()
  const second = await openWriter(logDir, { seed: 2, ordinal: 151 })
  await second.decisions(300)
  await second.close()

  const after = await startSidecar(t, dataDir)
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
  const sidecar = await startSidecar(t, dataDir, { freeBytes: () => free })
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
    const sidecar = await startSidecar(t, dataDir)
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
  const before = await startSidecar(t, dataDir)
  await reached(before, 20)
  await before.close(5_000)
  rmSync(join(dataDir, 'decision-log'), { recursive: true })
  await writeLog(dataDir, 20)
  const sidecar = await startSidecar(t, dataDir)
  await t.rejects(sidecar.ended, { code: 'ASSAY_STORE_REFUSED', message: /another decision log.*assay govern rebuild/ })
})
