// The governance store: one transaction a batch, files that are not its own, pages without holes.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { decisionId } from '../../src/contract/decision.js'
import { openDatabase } from '../../src/governance/store/database.js'
import { openStore, STORE_FILE } from '../../src/governance/store/open.js'
import { createQueries, type JsonRow, type PageRequest, type Queries } from '../../src/governance/store/queries.js'
import { TINY } from '../../src/limits.js'
import { type Filled, filled, folder, opened } from './filled-store.js'
import { readAll, storeOptions } from './read-all.js'
import { openWriter, START_MS } from './written-log.js'

/** One store that tests only ask: it takes longer to fill than to question. */
let asked: Filled | null = null
t.before(async () => {
  asked = await filled(t, 400, { others: true })
})

function shared(): Filled {
  if (asked === null) throw new Error('the shared store is not there')
  return asked
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')
const sequencesOf = (rows: readonly JsonRow[]): number[] => rows.map(({ sequence }) => Number(sequence))

void t.test('every record type becomes rows, and one decision is found by its id with all that is known', async (t) => {
  const { queries, store, logId } = shared()
  const counts = await queries.select(
    `SELECT kind, count(*) AS n FROM decisions GROUP BY 1 UNION ALL SELECT 'label', count(*) FROM labels
     UNION ALL SELECT 'control', count(*) FROM controls UNION ALL SELECT 'reply', count(*) FROM replies
     UNION ALL SELECT 'superseded', count(*) FROM superseded ORDER BY 1`,
  )
  t.same(
    counts.map(({ kind, n }) => [kind, n]),
    [
      ['control', 1],
      ['decision', 400],
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
  t.match(await queries.policy(textOf(row?.policy)), { state: { policy: { format: 1 } } })
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
  await store.close()
  await readAll({ logDir, directory })
  const later = await opened(t, directory)
  const rest = await later.queries.decisions({}, { limit: 1_000, cursor: first.next })
  t.same([...sequencesOf(first.rows), ...sequencesOf(rest.rows)], newestFirst, 'thirty more came in between')
  t.equal(rest.next, null)
  const bounded = createQueries(later.store.database, { logId: () => null, limits: TINY })
  t.equal((await bounded.decisions({}, { limit: 1_000 })).rows.length, TINY.pageRowsMax)
})

void t.test('decisions are found by time, entity, model, action, score, degraded and transaction', async (t) => {
  const { queries } = shared()
  const all = (await queries.decisions({}, { limit: 1_000 })).rows
  const ask = async (filter: Parameters<Queries['decisions']>[0], holds: (row: JsonRow) => boolean): Promise<void> => {
    const { rows } = await queries.decisions(filter, { limit: 1_000 })
    t.same(sequencesOf(rows), sequencesOf(all.filter(holds)), JSON.stringify(filter))
    t.ok(rows.length > 0 && rows.length < all.length, `${rows.length} rows`)
  }
  const customer = textOf(all[5]?.entity_customer_id)
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
  const { store, queries } = shared()
  const range = { fromMs: START_MS, untilMs: START_MS + 1_000, stepMs: 100 }
  const intervals = await queries.intervals(range)
  t.same(
    intervals.map(({ atMs }) => atMs),
    [0, 100, 200, 300, 400].map((ms) => START_MS + ms),
  )
  t.equal(
    intervals.reduce((sum, { decisions }) => sum + decisions, 0),
    400,
  )
  t.equal(
    intervals.reduce((sum, { actions }) => sum + Object.values(actions).reduce((a, b) => a + b, 0), 0),
    400,
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
  await database.close()
  await t.rejects(openStore(storeOptions(foreign)), { code: 'ASSAY_STORE_REFUSED', message: /assay govern rebuild/ })
  const text = folder(t)
  writeFileSync(join(text, STORE_FILE), 'no database at all, but long enough to look like one\n'.repeat(200))
  await t.rejects(openStore(storeOptions(text)), { code: 'ASSAY_STORE_REFUSED', message: /assay govern rebuild/ })
  const { directory, store } = await filled(t, 5)
  await store.database.run(`UPDATE meta SET value = '99' WHERE name = 'version'`)
  await store.close()
  await t.rejects(openStore(storeOptions(directory)), { code: 'ASSAY_STORE_REFUSED', message: /version 99/ })
  const blocked = folder(t)
  writeFileSync(join(blocked, 'a-file'), '')
  await t.rejects(openStore(storeOptions(join(blocked, 'a-file', 'governance'))), { code: 'ASSAY_STORE_IO' })
})

void t.test('a store of an earlier release, or with other tables, is made anew', async (t) => {
  const { directory, store } = await filled(t, 5)
  t.equal(store.resume()?.position.sequence, 5)
  await store.close()
  const other = await openStore({ ...storeOptions(directory, []), tables: { another: { n: 'BIGINT' } } })
  t.same([other.remade, other.resume()], [true, null])
  await other.close()
  const again = await openStore({ ...storeOptions(directory, []), tables: { another: { n: 'BIGINT' } } })
  t.equal(again.remade, false)
  await again.close()
})

void t.test('a query ends at its time limit and says so', async (t) => {
  const { directory, store } = await filled(t, 5)
  await store.close()
  const hurried = await openStore({ ...storeOptions(directory), queryMsMax: 1_000 })
  t.teardown(() => hurried.close())
  const slow = hurried.database.select('SELECT count(*) AS n FROM range(1e10::BIGINT) a WHERE a.range % 7 = 3')
  await t.rejects(slow, { code: 'ASSAY_STORE_IO', message: /took too long/ })
  t.same(await hurried.database.select('SELECT 1 AS one'), [{ one: 1 }], 'and the store goes on')
})
