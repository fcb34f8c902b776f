// Windows held against training, the day and the week before: what the API says of them and how the console shows it,
// over a written log of eight days and a real sidecar. The page needs a Chromium; where there is none, that is skipped.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FormatRegistry } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { chromium } from 'playwright-core'
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import * as wire from '../../src/contract/governance.js'
import { storeDirectory } from '../../src/decision-log/reader-position.js'
import { openDatabase } from '../../src/governance/store/database.js'
import { STORE_FILE } from '../../src/governance/store/open.js'
import { LIMITS } from '../../src/limits.js'
import { chromiumOnPath } from './chromium.js'
import { type Running, startSidecar, until } from './rig.js'
import { openWriter, START_MS } from './written-log.js'

FormatRegistry.Set('date-time', (text) => /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text))

const HOUR_MS = 3_600_000
const LIMITS_HERE = { ...LIMITS, driftWindowRows: 100_000, driftRowsMin: 100 }

const dataDir = mkdtempSync(join(tmpdir(), 'assay-references-'))
const environment = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
const config = structuredClone(
  loadConfig({ env: { ...environment, ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN: '0' } }),
)
let running: Running

const executablePath = chromiumOnPath()
const inBrowser = {
  skip: executablePath === null && process.env.CI !== 'true' ? 'there is no chromium on the PATH' : false,
}

/** Hours after the first noon, decisions from then on, and the byte of the model's digest. */
const HOURS: readonly (readonly [number, number, number])[] = [
  [0, 150, 1],
  [6 * 24, 150, 1],
  [7 * 24, 150, 1],
  // The model's file is replaced within an hour.
  [7 * 24 + 1, 110, 1],
  [7 * 24 + 1.5, 140, 2],
  [7 * 24 + 3, 5, 2],
]

async function start(): Promise<void> {
  running = await startSidecar(config, { limits: LIMITS_HERE }, [])
  const decisions = HOURS.reduce((sum, [, count]) => sum + count, 0)
  await until(() => running.sidecar.facts().sequence >= decisions, 'all is read')
}

async function stop(): Promise<void> {
  await running.sidecar.close(5_000)
  await running.host.close(5_000)
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- what a server says is looked at field by field
async function ask(path: string): Promise<any> {
  return (await fetch(`${String(running.sidecar.url)}/api/v1/${path}`)).json()
}

t.setTimeout(240_000)

t.before(async () => {
  let ordinal = 1
  for (const [seed, [hours, decisions, digest]] of HOURS.entries()) {
    const startMs = START_MS + hours * HOUR_MS
    const writer = await openWriter(join(dataDir, 'decision-log'), { startMs, stepMs: 1_000, digest, ordinal, seed })
    await writer.decisions(decisions)
    await writer.close()
    ordinal += decisions
  }
  await start()
})

t.teardown(async () => {
  await stop()
  rmSync(dataDir, { recursive: true, force: true })
})

const startsOf = (of: Pick<wire.DriftFeature, 'windows'>): string[] => of.windows.map(({ from }) => from)

async function amount(kind: string): Promise<wire.DriftFeature> {
  const { features } = (await ask(`drift?kind=${kind}`)) as wire.DriftOverview
  const found = features.find(({ feature }) => feature === 'amount')
  if (found === undefined) throw new Error(`no window of amount: ${kind}`)
  return found
}

void t.test('a window stands beside each of its references, and only training raises alarms', async (t) => {
  const { kinds } = await ask('drift')
  t.same(kinds, ['day/training', 'hour/day_before', 'hour/training', 'hour/week_before'])
  const [{ window }] = (await amount('hour/week_before')).windows
  const detail = await ask(`drift/amount?kind=hour/week_before&window=${window}`)
  t.same([...Value.Errors(wire.DriftDetail, detail)], [])
  t.match(detail.window.from, /^2026-11-27T12:00/)
  const shown = detail.against.map((one: wire.DriftAgainst) => [one.kind, one.raises_alarms, one.verdict, one.window])
  t.same(shown, [
    ['hour/training', true, 'drift', window],
    ['hour/day_before', false, 'stable', window],
    ['hour/week_before', false, 'stable', window],
  ])
  t.equal(detail.against[2].psi, detail.window.psi)
  t.equal(detail.against[2].reference_rows, detail.reference_rows)
})

void t.test('an hour that two files of one model answered stands once, as the newer one saw it', async (t) => {
  const { windows } = await amount('hour/training')
  t.equal(new Set(startsOf({ windows })).size, windows.length)
  t.equal(windows.length, 4)
  const last = windows[3]
  t.match(last.from, /T13:00/)
  t.ok(last.n > 120, `${last.n} rows, of 140; the older file had 110`)
  const detail = await ask('drift/amount?kind=hour/training')
  t.same([detail.window, detail.current_rows], [last, last.n])
  t.equal(detail.against.length, 1)
})

void t.test('the console shows the references side by side and says which are for the eye', inBrowser, async (t) => {
  const browser = await chromium.launch({ executablePath: executablePath ?? '', args: ['--no-sandbox'] })
  t.teardown(() => browser.close())
  const page = await browser.newPage({ viewport: { width: 1280, height: 1500 } })
  page.setDefaultTimeout(60_000)
  const [{ window }] = (await amount('hour/week_before')).windows
  await page.goto(`${String(running.sidecar.url)}/#/drift?kind=hour/training&feature=amount&window=${window}`)
  const table = page.locator('#detail section.table').first()
  await table.waitFor()
  t.equal(await table.locator('tbody tr').count(), 3)
  t.match(await page.locator('#detail').innerText(), /for the eye and raise no alarm/)
  t.match(await page.locator('h1').getAttribute('class'), /bad/)
  await table.getByText('the same hour of the week before').click()
  await page.getByText('this comparison raises no alarm').waitFor()
  t.match(await page.locator('#detail .key').innerText(), /the same hour of the week before, n = 1\d\d/)
  t.notMatch(await page.locator('h1').getAttribute('class'), /bad/, 'nobody is told to act')
  t.equal(await page.locator('select').last().inputValue(), 'hour/week_before')
  t.equal(await page.evaluate('document.documentElement.scrollWidth > innerWidth'), false)
})

void t.test('an hour that was derived again stands once, where it was, as derived last', async (t) => {
  const before = await amount('hour/training')
  const place = 2
  const { from } = before.windows[place]
  await stop()
  const directory = storeDirectory(config)
  const options = { directory, file: join(directory, STORE_FILE), memoryBytesMax: 256 << 20, threads: 1 }
  const database = await openDatabase({ ...options, queryMsMax: 60_000 })
  await database.run(
    `INSERT INTO drift SELECT * REPLACE ((SELECT max(sequence) + 1 FROM drift) AS sequence, n + 1000 AS n)
     FROM drift WHERE window_kind = 'hour' AND from_ms = ${Date.parse(from)}`,
  )
  await database.close()
  await start()
  const after = await amount('hour/training')
  t.same(startsOf(after), startsOf(before))
  t.equal(after.windows[place].n, before.windows[place].n + 1000)
  const { features } = await ask('drift?kind=hour/training&windows=2')
  t.same(startsOf(features[0]), startsOf(before).slice(-2), 'and takes the place of no other')
})
