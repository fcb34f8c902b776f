// The governance store: one transaction a batch, files that are not its own, pages without holes, days and retention.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { decisionId } from '../../src/contract/decision.js'
import { openDatabase } from '../../src/governance/store/database.js'
import { createLake, type LakeOptions } from '../../src/governance/store/lake.js'
import { openStore, type Store, STORE_FILE } from '../../src/governance/store/open.js'
import { createQueries, type JsonRow, type PageRequest, type Queries } from '../../src/governance/store/queries.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { readAll, storeOptions } from './read-all.js'
import { openWriter, START_MS, type WriterOptions } from './written-log.js'

interface Filled {
  readonly logDir: string
  readonly directory: string
  readonly store: Store
  readonly queries: Queries
  readonly logId: Buffer
}

function folder(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'assay-store-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** A store that has read a log of so many decisions. */
async function filled(t: Test, decisions: number, options: WriterOptions & { others?: boolean } = {}): Promise<Filled> {
  const at = folder(t)
  const [logDir, directory] = [join(at, 'decision-log'), join(at, 'governance')]
  const writer = await openWriter(logDir, options)
  await writer.decisions(decisions)
  if (options.others === true) await writer.others()
  await writer.close()
  await readAll({ logDir, directory })
  return { logDir, directory, ...(await opened(t, directory)), logId: writer.log.logId }
}

async function opened(t: Test, directory: string): Promise<Pick<Filled, 'store' | 'queries'>> {
  const store = await openStore(storeOptions(directory))
  t.teardown(() => store.close())
  const logId = (): Buffer | null => store.resume()?.position.logId ?? null
  return { store, queries: createQueries(store.database, { logId, limits: LIMITS }) }
}

const sequencesOf = (rows: readonly JsonRow[]): number[] => rows.map(({ sequence }) => Number(sequence))

void t.test('every record type becomes rows, and one decision is found by its id with all that is known', async (t) => {
  const { queries, store, logId } = await filled(t, 120, { others: true })
  const counts = await queries.select(
    `SELECT kind, count(*) AS n FROM decisions GROUP BY 1 UNION ALL SELECT 'label', count(*) FROM labels
     UNION ALL SELECT 'control', count(*) FROM controls UNION ALL SELECT 'reply', count(*) FROM replies
     UNION ALL SELECT 'superseded', count(*) FROM superseded ORDER BY 1`,
  )
  t.same(
    counts.map(({ kind, n }) => [kind, n]),
    [
      ['control', 1],
      ['decision', 120],
      ['inference', 1],
      ['label', 1],
      ['observed', 1],
      ['reply', 1],
      ['superseded', 1],
    ],
  )
  const id = decisionId(logId, 1, 17, false)
  const row = await queries.decision(id)
  t.match(row, {
    decision_id: id,
    sequence: 17,
    decided_at_ms: START_MS + 17,
    transaction_id: 't-17',
    reasons: [],
    rules: [],
  })
  t.equal(Array.isArray(row?.vector) && row.vector.length, store.resume()?.control?.policy.catalogue.features.length)
  t.equal(await queries.decision(decisionId(logId, 1, 9_999, false)), null)
  t.equal(await queries.decision(decisionId(Buffer.alloc(8, 3), 1, 17, false)), null, 'an id of another log')
  t.equal(await queries.decision('no id'), null)
  t.match(await queries.labels('t-1'), [{ source: 'issuer', value: true, entities: { customer_id: 'c1' } }])
  t.same(await queries.labels('t-2'), [])
  t.match((await queries.controls({ limit: 5 })).rows, [{ actor: 'operator-2', state: { routes: { revision: 1 } } }])
  t.match(await queries.policy(row?.policy as string), { state: { policy: { format: 1 } } })
  t.equal(await queries.policy('sha256:unknown'), null)
})

async function allPages(
  queries: Queries,
  order: PageRequest['order'],
  between: () => Promise<void>,
): Promise<number[]> {
  const sequences: number[] = []
  for (let cursor: number | null = null; ;) {
    const page = await queries.decisions({}, { limit: 7, cursor, order })
    sequences.push(...sequencesOf(page.rows))
    await between()
    cursor = page.next
    if (cursor === null) return sequences
  }
}

void t.test('pages have neither holes nor repeats, whatever arrives between them', async (t) => {
  const { queries, logDir, directory, store } = await filled(t, 50)
  const newestFirst = Array.from({ length: 50 }, (_, at) => 50 - at)
  t.same(await allPages(queries, 'newest', () => Promise.resolve()), newestFirst)
  t.same(await allPages(queries, 'oldest', () => Promise.resolve()), [...newestFirst].reverse())
  const writer = await openWriter(logDir, { ordinal: 51, seed: 9 })
  await writer.decisions(30)
  await writer.close()
  const first = await queries.decisions({}, { limit: 20 })
  store.close()
  await readAll({ logDir, directory })
  const later = await opened(t, directory)
  const rest = await later.queries.decisions({}, { limit: 1_000, cursor: first.next })
  t.same([...sequencesOf(first.rows), ...sequencesOf(rest.rows)], newestFirst, 'thirty more came in between')
  t.equal(rest.next, null)
  const bounded = createQueries(later.store.database, { logId: () => null, limits: TINY })
  t.equal((await bounded.decisions({}, { limit: 1_000 })).rows.length, TINY.pageRowsMax)
})

void t.test('decisions are found by time, entity, model, action, score, degraded and transaction', async (t) => {
  const { queries } = await filled(t, 400)
  const all = (await queries.decisions({}, { limit: 1_000 })).rows
  const ask = async (filter: Parameters<Queries['decisions']>[0], holds: (row: JsonRow) => boolean): Promise<void> => {
    const { rows } = await queries.decisions(filter, { limit: 1_000 })
    t.same(sequencesOf(rows), sequencesOf(all.filter(holds)), JSON.stringify(filter))
    t.ok(rows.length > 0 && rows.length < all.length, `${rows.length} rows`)
  }
  const customer = all[5]?.entity_customer_id as string
  await ask(
    { fromMs: START_MS + 100, untilMs: START_MS + 200 },
    ({ sequence }) => Number(sequence) >= 100 && Number(sequence) < 200,
  )
  await ask({ entity: { field: 'customer_id', value: customer } }, (row) => row.entity_customer_id === customer)
  await ask({ model: 'baseline@1' }, (row) => row.model === 'baseline@1')
  await ask({ action: 'decline' }, (row) => row.action === 'decline')
  await ask({ scoreMin: 0.25, scoreMax: 0.5 }, ({ score }) => Number(score) >= 0.25 && Number(score) <= 0.5)
  await ask({ degraded: true }, (row) => row.degraded === true)
  await ask({ transactionId: 't-33' }, (row) => row.transaction_id === 't-33')
  await ask(
    { degraded: false, action: 'approve', scoreMax: 0.1 },
    (r) => r.degraded === false && r.action === 'approve' && Number(r.score) <= 0.1,
  )
  t.same(await queries.entityFields(), ['customer_id', 'terminal_id'])
  const unknown = { entity: { field: 'x" OR 1=1 --', value: 'c1' } }
  t.same(await queries.decisions(unknown, { limit: 9 }), { rows: [], next: null }, 'a field that no policy declares')
})

void t.test('intervals count every decision once and never more of them than a page has rows', async (t) => {
  const { store, queries } = await filled(t, 300)
  const range = { fromMs: START_MS, untilMs: START_MS + 1_000, stepMs: 100 }
  const intervals = await queries.intervals(range)
  t.same(
    intervals.map(({ atMs }) => atMs),
    [0, 100, 200, 300].map((ms) => START_MS + ms),
  )
  t.equal(
    intervals.reduce((sum, { decisions }) => sum + decisions, 0),
    300,
  )
  t.equal(
    intervals.reduce((sum, { actions }) => sum + Object.values(actions).reduce((a, b) => a + b, 0), 0),
    300,
  )
  t.ok(intervals.every(({ p50Us, p99Us }) => p50Us !== null && p99Us !== null && p50Us <= p99Us))
  const few = createQueries(store.database, { logId: () => null, limits: TINY })
  t.ok((await few.intervals({ ...range, stepMs: 1 })).length <= TINY.pageRowsMax)
  t.same(await queries.intervals({ fromMs: 0, untilMs: 1, stepMs: 1 }), [])
})

void t.test('a batch that fails leaves nothing of itself behind', async (t) => {
  const { store, logId, queries } = await filled(t, 10)
  const before = store.resume()
  const batch = { records: [], findings: [], takenBackTo: null, position: { logId, epoch: 1, sequence: 99 } }
  const row = { window_number: 1, first_sequence: 1, n: 1, sequences: 1, amount: 1, counts: [] }
  const derived = [
    { table: 'test_windows', row },
    { table: 'test_windows', row: { ...row, n: 2 ** 40 } },
  ]
  const checkpoints = new Map([['test-windows', Buffer.from('{}')]])
  await t.rejects(store.write({ batch, derived, checkpoints, control: null }), { code: 'ASSAY_STORE_IO' })
  t.same(store.resume(), before)
  t.same((await queries.select('SELECT count(*) AS n FROM test_windows'))[0]?.n, 0)
  t.same((await queries.select('SELECT sequence FROM position'))[0]?.sequence, 10)
  await t.rejects(
    store.write({ batch, derived: [{ table: 'unheard_of', row: {} }], checkpoints, control: null }),
    { code: 'ASSAY_STORE_IO' },
    'a table that no monitor declared',
  )
})

void t.test('a file of another program, of a later release or in use is refused with what to do', async (t) => {
  const foreign = folder(t)
  const options = {
    directory: foreign,
    file: join(foreign, STORE_FILE),
    memoryBytesMax: 128 << 20,
    threads: 1,
    queryMsMax: 9_000,
  }
  const database = await openDatabase(options)
  await database.run('CREATE TABLE somebody (x INTEGER)')
  database.close()
  await t.rejects(openStore(storeOptions(foreign)), { code: 'ASSAY_STORE_REFUSED', message: /assay govern rebuild/ })
  const text = folder(t)
  writeFileSync(join(text, STORE_FILE), 'no database at all, but long enough to look like one\n'.repeat(200))
  await t.rejects(openStore(storeOptions(text)), { code: 'ASSAY_STORE_REFUSED', message: /assay govern rebuild/ })
  const { directory, store } = await filled(t, 5)
  await store.database.run(`UPDATE meta SET value = '99' WHERE name = 'version'`)
  store.close()
  await t.rejects(openStore(storeOptions(directory)), { code: 'ASSAY_STORE_REFUSED', message: /version 99/ })
  const blocked = folder(t)
  writeFileSync(join(blocked, 'a-file'), '')
  await t.rejects(openStore(storeOptions(join(blocked, 'a-file', 'governance'))), { code: 'ASSAY_STORE_IO' })
})

void t.test('a store of an earlier release, or with other tables, is made anew', async (t) => {
  const { directory, store } = await filled(t, 5)
  t.equal(store.resume()?.position.sequence, 5)
  store.close()
  const other = await openStore({ ...storeOptions(directory, []), tables: { another: { n: 'BIGINT' } } })
  t.same([other.remade, other.resume()], [true, null])
  other.close()
  const again = await openStore({ ...storeOptions(directory, []), tables: { another: { n: 'BIGINT' } } })
  t.equal(again.remade, false)
  again.close()
})

function lakeFolder(t: Test): LakeOptions {
  return { directory: join(folder(t), 'lake'), enabled: true, rowDays: 0, partitionDays: 0 }
}

const DAY_MS = 86_400_000

void t.test('a day is written as Parquet once it is closed, and rows leave only after that', async (t) => {
  const { store, queries } = await filled(t, 60, { stepMs: DAY_MS / 12 })
  const options = { ...lakeFolder(t), rowDays: 2, partitionDays: 3 }
  const lake = await createLake(store.database, options)
  const days = (): string[] =>
    existsSync(options.directory) ? readdirSync(join(options.directory, 'decisions')).sort() : []
  await lake.follow(START_MS)
  t.same(days(), [], 'no day is closed')
  await lake.follow(Date.UTC(2026, 10, 21) + 59_000)
  t.same(days(), [], 'a day is closed a minute later: a slow lane writes out of order')
  await lake.follow(Date.UTC(2026, 10, 21) + 60_000)
  t.same(days(), ['day=2026-11-20'])
  await lake.follow(store.recordedAtMs())
  t.same(days(), ['day=2026-11-22', 'day=2026-11-23', 'day=2026-11-24'], 'partitions older than three days are gone')
  t.same(readdirSync(join(options.directory, 'decisions', 'day=2026-11-24')), ['decisions.parquet'])
  const [held] = await queries.select('SELECT min(decided_at_ms) AS oldest, count(*) AS n FROM decisions')
  t.equal(held?.oldest, Date.UTC(2026, 10, 23), 'rows of the last two closed days and the open one')
  const [parquet] = await queries.select(
    `SELECT count(*) AS n, sum(sequence) AS sum FROM read_parquet('${options.directory}/decisions/day=2026-11-24/*.parquet')`,
  )
  const [rows] = await queries.select(
    `SELECT count(*) AS n, sum(sequence) AS sum FROM decisions WHERE decided_at_ms >= ? AND decided_at_ms < ?`,
    [Date.UTC(2026, 10, 24), Date.UTC(2026, 10, 25)],
  )
  t.same(parquet, rows)
  t.equal((await queries.select('SELECT count(*) AS n FROM partitions'))[0]?.n, 5)
  await (await createLake(store.database, options)).follow(store.recordedAtMs())
  t.equal((await queries.select('SELECT count(*) AS n FROM partitions'))[0]?.n, 5, 'nothing is closed twice')
})

void t.test('with the lake off, retention alone is followed', async (t) => {
  const { store, queries } = await filled(t, 60, { stepMs: DAY_MS / 12 })
  const options = { ...lakeFolder(t), enabled: false, rowDays: 1, partitionDays: 1 }
  await (await createLake(store.database, options)).follow(store.recordedAtMs())
  t.notOk(existsSync(options.directory))
  t.equal(
    (await queries.select('SELECT min(decided_at_ms) AS oldest FROM decisions'))[0]?.oldest,
    Date.UTC(2026, 10, 24),
  )
})

void t.test('a query ends at its time limit and says so', async (t) => {
  const { directory, store } = await filled(t, 5)
  store.close()
  const hurried = await openStore({ ...storeOptions(directory), queryMsMax: 100 })
  t.teardown(() => hurried.close())
  const slow = hurried.database.select('SELECT count(*) AS n FROM range(1e10::BIGINT) a WHERE a.range % 7 = 3')
  await t.rejects(slow, { code: 'ASSAY_STORE_IO', message: /took too long/ })
  t.same(await hurried.database.select('SELECT 1 AS one'), [{ one: 1 }], 'and the store goes on')
})
