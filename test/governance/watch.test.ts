// What the sidecar sees of itself becomes alerts: lag and losses, told by the clock without a record, ended by it too;
// and nothing of it changes what follows from the log.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import fc from 'fast-check'
import type { Signal } from '../../src/governance/alert.js'
import { lagSignal } from '../../src/governance/alert-signals.js'
import { type Alerter, createAlerter } from '../../src/governance/alerter.js'
import { openGovernanceApi } from '../../src/governance/api/open.js'
import type { Batch, DerivedRow } from '../../src/governance/port.js'
import { createWatch } from '../../src/governance/watch.js'
import { until } from '../flow/server-rig.js'
import { compareStores } from './compare.js'
import { folder, type GovernRig, reached, startSidecar, writeLog } from './govern-rig.js'
import { openWriter, writeToTakeBack } from './written-log.js'

const NO_RECORDS: Batch = { records: [], findings: [], position: null, takenBackTo: null }

/** Alert rows of the store in the order in which they were written: kind, transition, and the label that tells. */
async function told(sidecar: GovernRig): Promise<string[]> {
  const rows = (await sidecar.queries()?.select('SELECT * FROM alerts')) ?? []
  return rows.map(({ kind, transition, labels }) => {
    const { counter, finding } = JSON.parse(String(labels)) as Record<string, string>
    return [kind, transition, counter ?? finding].filter((word) => word !== undefined).join(' ')
  })
}

/** Reads the stream from now on; the alerts that it told so far. */
async function alertsStreamed(t: Test, { url }: GovernRig): Promise<() => unknown[]> {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const { body } = await fetch(`${url}/api/v1/stream`, { signal: stop.signal })
  let text = ''
  const read = async (): Promise<void> => {
    for await (const chunk of body ?? []) text += Buffer.from(chunk as Uint8Array).toString()
  }
  read().catch(() => undefined)
  return () =>
    [...text.matchAll(/^event: alert\n(?:id: .*\n)?data: (.*)$/gm)].map(([, data]) => JSON.parse(data) as unknown)
}

const untilTold = (sidecar: GovernRig, wanted: string): Promise<void> =>
  until(async () => (await told(sidecar)).includes(wanted), wanted)

/** Fifty decisions, a byte of the seventh another. */
async function writeDamagedLog(dataDir: string): Promise<void> {
  await writeLog(dataDir, 50)
  const segment = join(dataDir, 'decision-log', '0000000001.segment')
  const bytes = readFileSync(segment)
  bytes[bytes.indexOf('t-7')] = 0x58
  writeFileSync(segment, bytes)
}

void t.test('a loss is said until its row is committed; a lag by every look', (t) => {
  const watch = createWatch({ lagSecondsMax: 60 })
  const alerter = createAlerter()
  const levels = (lagSeconds: number, lost: number): string[] =>
    watch.look({ lagSeconds, losses: { lost } }, 0).map(({ kind, level }) => `${kind} ${level}`)
  t.same(levels(10, 0), ['lag good', 'loss good'])
  t.same(levels(61, 5), ['lag warning', 'loss critical'])
  t.same(levels(61, 5), ['lag warning', 'loss critical'], 'the store failed: the row is lost, what it told is not')
  alerter.observe(watch.look({ lagSeconds: 61, losses: { lost: 5 } }, 0))
  watch.committed(alerter.consider([], NO_RECORDS))
  t.same(levels(61, 5), ['lag warning', 'loss good'])
  t.same(levels(55, 6), ['lag unknown', 'loss critical'])
  watch.settle({ lost: 6 })
  t.same(levels(55, 6), ['lag unknown', 'loss good'])
  t.end()
})

void t.test('signals of a clock change no row that follows from the log, wherever they come', (t) => {
  const bad = (minute: number): DerivedRow => ({
    table: 'shadow_windows',
    row: { window_ms: 60_000, until_ms: minute * 60_000, sequence: minute, shadow: 'b@1', flips: 500, pairs: 1_000 },
  })
  const run = (looks: readonly (readonly Signal[])[]): readonly DerivedRow[] => {
    const alerter = createAlerter({ watchedMax: 1 })
    return looks.flatMap((signals, minute) => {
      alerter.observe(signals)
      const { flips } = bad(minute).row
      const row =
        minute % 9 < 4 ? bad(minute) : { ...bad(minute), row: { ...bad(minute).row, flips: Number(flips) / 100 } }
      return alerter.consider([row], NO_RECORDS)
    })
  }
  const ofTheLog = (rows: readonly DerivedRow[]): string =>
    JSON.stringify(rows.filter(({ row }) => row.origin === 'record'))
  const look = fc.array(
    fc.integer({ min: 0, max: 200 }).map((seconds) => lagSignal(seconds, 1e12 + seconds, 60)),
    { maxLength: 3 },
  )
  fc.assert(
    fc.property(
      fc.array(look, { minLength: 40, maxLength: 40 }),
      (looks) => ofTheLog(run(looks)) === ofTheLog(run(looks.map(() => []))),
    ),
  )
  t.not(ofTheLog(run(Array.from({ length: 40 }, () => []))), '[]')
  t.end()
})

void t.test('a lag that lasts opens an alert, and it ends after the lag although nothing more is read', async (t) => {
  const dataDir = folder(t)
  const writer = await openWriter(join(dataDir, 'decision-log'))
  t.teardown(() => writer.close())
  await writer.decisions(50)
  let [free, nowMs, opened] = [2_000, Date.now(), 0]
  const createCounting = (): Alerter => {
    const alerter = createAlerter()
    return { ...alerter, observe: (signals) => alerter.observe(signals) && ++opened > 0 }
  }
  const clock = { nowMs: () => nowMs, monoMs: () => performance.now() }
  const deps = { createAlerter: createCounting, freeBytes: () => free, clock, createApi: openGovernanceApi }
  const sidecar = await startSidecar(t, dataDir, deps, { ASSAY_PROCESS__GOVERNANCE__PORT: '0' })
  await reached(sidecar, 50)
  const streamed = await alertsStreamed(t, sidecar)
  await until(() => sidecar.facts().lagRecords === 0, 'caught up')
  free = 0
  // The batch that is waited for is still read; before the one after it there is no room.
  await writer.decisions(1)
  await until(() => sidecar.facts().state === 'paused', 'paused')
  await writer.decisions(10)
  await writer.synced()
  nowMs += 61_000
  await until(() => opened > 0, 'the alert is open')
  t.same(await told(sidecar), [], 'a full disk takes no row')
  free = 2_000
  await untilTold(sidecar, 'lag resolved')
  t.same(await told(sidecar), ['lag opened', 'lag resolved'])
  t.equal(sidecar.facts().sequence, 61)
  const said = (): string[] =>
    sidecar.events
      .filter(({ name }) => name.startsWith('Alert'))
      .map(({ name, fields }) => `${name} ${String(fields.kind)}`)
  // The rows are there before the logger is told: it hears of what is committed.
  await until(() => said().length === 2, 'and the logger said so')
  t.same(said(), ['AlertOpened lag', 'AlertResolved lag'])
  await until(() => streamed().length === 2, 'the stream, which no record moved on')
  t.match(streamed(), [{ state: 'firing' }, { state: 'resolved' }])
})

void t.test('records that the log took back are a loss that somebody is told of', async (t) => {
  const dataDir = folder(t)
  const logDir = join(dataDir, 'decision-log')
  const takeBack = await writeToTakeBack(logDir, { kept: 40, lost: 30 })
  const createAlerterOf = { createAlerter: () => createAlerter() }
  const before = await startSidecar(t, dataDir, createAlerterOf)
  await reached(before, 70)
  await before.close(5_000)
  takeBack()
  await (await openWriter(logDir, { seed: 2, ordinal: 41 })).close()
  const after = await startSidecar(t, dataDir, createAlerterOf)
  await until(() => after.facts().rebuildsTotal === 1 && after.facts().ready, 'a store made anew')
  await untilTold(after, 'loss opened records_taken_back')
  t.equal(after.facts().takenBackTotal, 30)
})

void t.test('damage is told once, however often the sidecar starts again, and as a rebuild tells it', async (t) => {
  const dataDir = folder(t)
  await writeDamagedLog(dataDir)
  let nowMs = Date.now()
  const clock = { nowMs: () => nowMs, monoMs: () => performance.now() }
  const deps = { createAlerter: () => createAlerter(), clock }
  for (const life of [1, 2, 3]) {
    const sidecar = await startSidecar(t, dataDir, deps)
    await reached(sidecar, 50)
    await untilTold(sidecar, 'log opened gap')
    t.same((await told(sidecar)).sort(), ['log opened damage', 'log opened gap'], `life ${life}`)
    await sidecar.close(5_000)
    nowMs += 2 * 86_400_000
  }
  const fresh = join(dataDir, 'fresh')
  const offline = { ...deps, isOffline: true }
  const rebuilt = await startSidecar(t, dataDir, offline, { ASSAY_PROCESS__GOVERNANCE__DATA_DIR: fresh })
  await reached(rebuilt, 50)
  await rebuilt.close(5_000)
  const { rows, differences } = await compareStores(join(dataDir, 'governance'), fresh)
  t.same(differences, [])
  t.match(rows, { alerts: 2, findings: 2 })
})

void t.test('what is open and what changed are metrics, by kind, level and state', async (t) => {
  const dataDir = folder(t)
  await writeDamagedLog(dataDir)
  const more = { ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
  const deps = { createAlerter: () => createAlerter(), createApi: openGovernanceApi }
  const sidecar = await startSidecar(t, dataDir, deps, more)
  await reached(sidecar, 50)
  const opened = 'assay_governance_alert_changes_total{kind="log",level="critical",transition="opened"} 2'
  const scrape = async (): Promise<string> => (await fetch(`${sidecar.url}/metrics`)).text()
  await until(async () => (await scrape()).includes(opened), opened)
  const body = await scrape()
  t.match(body, 'assay_governance_alerts_open{kind="log",level="critical",state="firing"} 2')
  t.match(body, 'assay_governance_alerts_open{kind="lag",level="warning",state="firing"} 0', 'zeros are shown')
  t.match(body, 'assay_governance_alerts_open{kind="log",level="critical",state="silenced"} 0')
})
