// A reference made of the first live rows of a model whose bundle has none: what is said before it stands, what it
// holds, what is held against it, that a kill at any record gives the same, and how API and console show it.
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FormatRegistry } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import fc from 'fast-check'
import { chromium } from 'playwright-core'
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import * as wire from '../../src/contract/governance.js'
import { storeDirectory } from '../../src/decision-log/reader-position.js'
import { parseProfile } from '../../src/governance/monitors/drift-profile.js'
import { createDriftMonitor, type DriftDeps } from '../../src/governance/monitors/drift.js'
import type { DerivedRow, Monitor, TailRecord } from '../../src/governance/port.js'
import { removeStore } from '../../src/governance/store/open.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { chromiumOnPath } from './chromium.js'
import { compareStores } from './compare.js'
import { createRig, HOUR_MS, pick, POLICY, profileText, several, START_MS, text } from './drift-rig.js'
import { startSidecar, until } from './rig.js'
import { openWriter } from './written-log.js'

t.setTimeout(240_000)
FormatRegistry.Set('date-time', (text) => /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text))

const executablePath = chromiumOnPath()
const ROWS = 2_000
const SMALL = { ...TINY, driftWindowRows: 1000, driftProvisionalRows: ROWS, driftRowsMin: 500 }
const READS = ['amount', 'during_night', 'terminal_risk_30d']
const BARE: DriftDeps = { loadProfile: () => null, featuresOf: () => READS }

function rowsOf(monitor: Monitor, records: Iterable<TailRecord>): DerivedRow[] {
  for (const record of records) monitor.take(record)
  return [...monitor.drain()]
}

const referencesIn = (rows: readonly DerivedRow[]): DerivedRow['row'][] =>
  rows.filter(({ table }) => table === 'drift_references').map(({ row }) => row)

void t.test('before it stands there is no verdict, and the reason; then rows are held against it alone', (t) => {
  const rig = createRig(31)
  const monitor = createDriftMonitor(BARE, { limits: SMALL })
  const first = rowsOf(monitor, several(rig, ROWS - 1))
  t.match(referencesIn(first), [{ kind: 'collecting', rows: ROWS, profile: null, from_ms: null }])
  const said = pick(first, {}).map((row) => text(row, 'series', 'reference', 'state', 'causes', 'n'))
  t.strictSame(said, ['model provisional insufficient collecting 1000'])
  const lastMs = START_MS + (ROWS - 1) * 1000
  const full = rowsOf(monitor, [rig.decide({ atMs: lastMs })])
  const [made] = referencesIn(full)
  t.match(made, { kind: 'provisional', rows: ROWS, from_ms: START_MS, until_ms: lastMs })
  t.equal(pick(full, { causes: 'collecting' }).length, 1, 'the window that it closes was before it')

  const same = pick(rowsOf(monitor, several(rig, 1000, {}, lastMs)), { window_kind: 'count' })
  t.strictSame(new Set(same.map((row) => row['reference'])), new Set(['provisional']))
  t.strictSame(same.map((row) => text(row, 'kind', 'series', 'state', 'causes')).sort(), [
    'action action stable ',
    'feature amount stable ',
    'feature during_night insufficient calendar',
    'feature terminal_risk_30d stable ',
    'field currency stable ',
    'score score stable ',
  ])
  t.equal(same[0]['reference_n'], ROWS)
  const moved = { features: { amount: 900 }, score: 0.99 }
  const after = pick(rowsOf(monitor, several(rig, 1000, moved, lastMs)), { state: 'drift' })
  t.strictSame(after.map((row) => row['series']).sort(), ['amount', 'score'])
  t.end()
})

void t.test('what it holds is what a trainer writes: of the features that the model reads, and no others', (t) => {
  const rig = createRig(32)
  const limits = { ...SMALL, driftProvisionalRows: 100 }
  const monitor = createDriftMonitor(BARE, { limits })
  const amounts = Array.from({ length: 100 }, (_, at) => (at < 10 ? NaN : at < 40 ? 0 : at))
  const records = amounts.map((amount, at) =>
    rig.decide({
      atMs: START_MS + at,
      features: { amount },
      score: at / 100,
      currency: at < 5 ? 'GBP' : at < 8 ? 'USD' : 'EUR',
    }),
  )
  const made = referencesIn(rowsOf(monitor, records)).at(-1)
  const profile = JSON.parse(String(made?.profile)) as { features: { name: string }[]; score: unknown; fields: unknown }
  t.strictSame(profile.features.map(({ name }) => name).sort(), [...READS].sort())
  const amount = profile.features.find(({ name }) => name === 'amount')
  t.match(amount, { null: 10, singles: [{ value: 0, count: 30 }], positive_infinity: 0 })
  t.match(profile, { format: 1, bins: 20, features_from: { first: '2026-03-02T00:00:00.000Z', rows: 100 } })
  t.match(profile.fields, [{ name: 'currency', null: 0, counts: { EUR: 92, GBP: 5, '(unseen)': 3 } }])
  const parsed = parseProfile(String(made?.profile))
  t.strictSame(
    parsed?.score.counts.reduce((sum, count) => sum + count, 0),
    100,
  )
  t.strictSame(
    Object.values(parsed?.actions ?? {}).reduce((sum, count) => sum + count, 0),
    100,
  )
  const all = createDriftMonitor({ loadProfile: () => null }, { limits })
  const whole = referencesIn(rowsOf(all, records)).at(-1)
  t.equal(parseProfile(String(whole?.profile))?.features.length, POLICY.catalogue.features.length, 'else all')
  t.end()
})

void t.test('a feature that is defined anew meanwhile begins the rows anew; a bundle that has one makes none', (t) => {
  const rig = createRig(33)
  const limits = { ...SMALL, driftProvisionalRows: 100 }
  const monitor = createDriftMonitor(BARE, { limits })
  rowsOf(monitor, several(rig, 99))
  const features = POLICY.catalogue.features.map((spec) =>
    spec.name === 'terminal_risk_30d' ? { ...spec, missing: -1 } : spec,
  )
  rig.use({ ...POLICY, catalogue: { ...POLICY.catalogue, features } })
  t.equal(referencesIn(rowsOf(monitor, several(rig, 99))).length, 0)
  t.match(referencesIn(rowsOf(monitor, several(rig, 1))), [{ kind: 'provisional', rows: 100 }])
  const trained = createDriftMonitor({ ...BARE, loadProfile: ({ name }) => profileText(name) }, { limits })
  t.match(referencesIn(rowsOf(trained, several(rig, 200))), [{ kind: 'training', rows: null, profile: null }])
  const broken = createDriftMonitor({ ...BARE, loadProfile: () => '{' }, { limits })
  t.match(referencesIn(rowsOf(broken, several(rig, 200))), [{ kind: 'unreadable' }])
  t.end()
})

void t.test('killed at any record and restored, it is made of the same rows', (t) => {
  const make = (): Monitor => createDriftMonitor(BARE, { limits: TINY })
  const rig = createRig(34)
  const records = Array.from({ length: 150 }, (_, at) => {
    const model = ['fraud-lgbm', 'fraud-xgb'][(at * at) % 3 === 0 ? 0 : 1]
    return rig.decide({ model, atMs: START_MS + at * 700_000, features: at % 4 === 0 ? { amount: NaN } : {} })
  })
  const whole = make()
  const wanted = rowsOf(whole, records)
  t.strictSame(
    referencesIn(wanted)
      .map((row) => text(row, 'model', 'kind'))
      .sort(),
    [
      ...['fraud-lgbm@1 collecting', 'fraud-lgbm@1 provisional'],
      ...['fraud-xgb@1 collecting', 'fraud-xgb@1 provisional'],
    ],
  )
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(records.length), { minLength: 1, maxLength: 4 }), (kills) => {
      let monitor = make()
      const rows: DerivedRow[] = []
      records.forEach((record, at) => {
        if (kills.includes(at)) {
          rows.push(...monitor.drain())
          const checkpoint = monitor.checkpoint()
          monitor = make()
          monitor.restore(checkpoint)
          t.ok(Buffer.from(monitor.checkpoint()).equals(checkpoint))
        }
        monitor.take(record)
      })
      rows.push(...monitor.drain())
      t.equal(JSON.stringify(rows), JSON.stringify(wanted))
    }),
    { numRuns: 8 },
  )
  t.end()
})

void t.test('a sidecar says which reference it is, and derives the same one from the log again', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'assay-provisional-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  const free = { ASSAY_PROCESS__GOVERNANCE__PORT: '0', ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN: '0' }
  const config = loadConfig({ env: { ASSAY_DATA_DIR: dataDir, ...free } })
  const limits = { ...LIMITS, driftWindowRows: 200, driftProvisionalRows: 300, driftRowsMin: 100 }
  const deps = { createMonitors: () => [createDriftMonitor(BARE, { limits })] }
  let written = 0
  const write = async (decisions: number): Promise<void> => {
    const startMs = START_MS + written * 1000
    const writer = await openWriter(join(dataDir, 'decision-log'), { startMs, ordinal: written + 1, seed: written })
    await writer.decisions(decisions)
    await writer.close()
    written += decisions
  }
  const read = async <T>(ask: (url: string) => Promise<T>): Promise<T> => {
    const { sidecar, host } = await startSidecar(config, { limits, deps }, [])
    try {
      await until(() => sidecar.facts().lagRecords === 0 && sidecar.facts().sequence >= written, 'all is read')
      return await ask(String(sidecar.url))
    } finally {
      await sidecar.close(5_000)
      await host.close(5_000)
    }
  }
  const overview = (url: string): Promise<wire.DriftOverview> =>
    fetch(`${url}/api/v1/drift`).then((answer) => answer.json() as Promise<wire.DriftOverview>)

  await write(250)
  const before = await read(overview)
  t.match(before.reference, { kind: 'collecting', rows: 300, from: null, until: null })
  t.match(before.features, [{ feature: 'model', verdict: 'insufficient', windows: [{ cause: 'collecting' }] }])
  await write(400)
  const skip = executablePath === null && process.env.CI !== 'true' ? 'there is no chromium on the PATH' : false
  await t.test('the console says so too', { skip }, async (t) => {
    const browser = await chromium.launch({ executablePath: executablePath ?? '', args: ['--no-sandbox'] })
    t.teardown(() => browser.close())
    const page = await browser.newPage()
    page.setDefaultTimeout(60_000)
    await read(async (url) => {
      await page.goto(`${url}/#/drift`)
      await page.getByText('a provisional reference: the first 300 live decisions of fraud-lgbm@1').waitFor()
      await page.goto(`${url}/#/drift?feature=amount`)
      const key = page.locator('#detail .key').getByText('its first live rows (provisional), n = 300')
      await key.waitFor()
      t.equal(await key.count(), 1)
    })
  })
  const after = await read(async (url) => {
    const detail = (await (await fetch(`${url}/api/v1/drift/amount`)).json()) as wire.DriftDetail
    return { overview: await overview(url), detail }
  })
  t.same([...Value.Errors(wire.DriftOverview, after.overview)], [])
  t.match(after.overview, { kind: 'count/provisional', reference: { kind: 'provisional', rows: 300 } })
  t.ok(Date.parse(after.overview.reference?.until ?? '') > Date.parse(after.overview.reference?.from ?? ''))
  t.match(after.detail.against, [{ reference: 'provisional', raises_alarms: true, reference_rows: 300 }])
  t.equal(
    after.detail.bins.reduce((sum, bin) => sum + bin.reference, 0),
    300,
  )
  const kept = `${storeDirectory(config)}-kept`
  cpSync(storeDirectory(config), kept, { recursive: true })
  removeStore(storeDirectory(config))
  await read(overview)
  const compared = await compareStores(kept, storeDirectory(config))
  t.same(compared.differences, [])
  t.equal(compared.rows.drift_references, 3, 'of the champion, and that one of the baseline’s is begun')
})

void t.test('a day as a whole is no fair comparison for the calendar either', (t) => {
  const rig = createRig(35)
  const monitor = createDriftMonitor(BARE, { limits: { ...SMALL, driftProvisionalRows: 500, driftRowsMin: 20 } })
  rowsOf(monitor, several(rig, 500))
  const hours = Array.from({ length: 50 }, (_, hour) => rig.decide({ atMs: START_MS + hour * HOUR_MS }))
  const days = pick(rowsOf(monitor, hours), { window_kind: 'day', series: 'during_night', reference: 'provisional' })
  t.strictSame(new Set(days.map((row) => text(row, 'state', 'causes'))), new Set(['insufficient calendar']))
  t.end()
})
