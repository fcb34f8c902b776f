// The lake: days as Parquet once they are closed, and how long rows and partitions stay.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createLake, type LakeOptions } from '../../src/governance/store/lake.js'
import { filled, folder } from './filled-store.js'
import { START_MS } from './written-log.js'

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

void t.test('a decision of a clock that stood at 1970 closes the days since at once, each once', async (t) => {
  const { store, queries } = await filled(t, 60, { stepMs: DAY_MS / 12 })
  await store.database.run(
    'UPDATE decisions SET decided_at_ms = 5 WHERE sequence = (SELECT min(sequence) FROM decisions)',
  )
  const lake = await createLake(store.database, lakeFolder(t))
  await lake.follow(store.recordedAtMs())
  const closed = Math.floor((store.recordedAtMs() - 60_000) / DAY_MS)
  const [row] = await queries.select(
    'SELECT count(*) AS n, count(DISTINCT day) AS days, min(day) AS first FROM partitions',
  )
  t.same(row, { n: closed, days: closed, first: '1970-01-01' })
  const filledDays = await queries.select('SELECT day FROM partitions WHERE decisions > 0 ORDER BY day')
  t.equal(filledDays.length, 6)
})

void t.test('what monitors derived leaves with the rows it is of, where they state its age', async (t) => {
  const { store, queries } = await filled(t, 60, { stepMs: DAY_MS / 12 })
  for (const table of ['aged', 'kept']) {
    await store.database.run(`CREATE TABLE ${table} AS SELECT sequence, decided_at_ms AS until_ms FROM decisions`)
  }
  const options = { ...lakeFolder(t), rowDays: 1, ages: { aged: 'until_ms' } }
  await (await createLake(store.database, options)).follow(store.recordedAtMs())
  const counted = async (table: string): Promise<number> =>
    Number((await queries.select(`SELECT count(*) AS n FROM ${table}`))[0]?.n)
  t.equal(await counted('kept'), 60)
  t.ok((await counted('decisions')) < 60)
  t.equal(await counted('aged'), await counted('decisions'))
})

void t.test('rows that leave before they were taken are counted; what nobody takes is not', async (t) => {
  const { store, queries } = await filled(t, 60, { stepMs: DAY_MS / 12 })
  await store.database.run('CREATE TABLE aged AS SELECT sequence, decided_at_ms AS until_ms FROM decisions')
  const missed = new Map<string, number>()
  const options = {
    ...{ ...lakeFolder(t), rowDays: 1, ages: { aged: 'until_ms' }, taken: () => new Map([['decisions', 7]]) },
    onMissed: (table: string, rows: number) => void missed.set(table, (missed.get(table) ?? 0) + rows),
  }
  await (await createLake(store.database, options)).follow(store.recordedAtMs())
  const [held] = await queries.select('SELECT count(*) AS n FROM decisions')
  t.ok(Number(held?.n) < 53)
  t.same([...missed], [['decisions', 60 - Number(held?.n) - 7]])
})
