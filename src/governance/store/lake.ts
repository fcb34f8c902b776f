// The lake: decisions as Parquet, one partition a UTC day of record time, and how long rows and partitions stay.
// Invariants: a partition is written once its day is closed by a record of the next one, under another name first, so
// that whoever reads the lake finds whole files only; rows leave the store only when their partition is written (or
// the lake is off). All of it follows record time, so a rebuild ends with the same rows.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Upkeep } from '../pipeline.js'
import { type Database, guarded } from './database.js'
import { quoted } from './tables.js'

export interface LakeOptions {
  /** `<data>/governance/lake` */
  readonly directory: string
  /** False: no partitions; retention alone. */
  readonly enabled: boolean
  /** Days; 0 keeps for ever. */
  readonly rowDays: number
  readonly partitionDays: number
  /** Tables of monitors whose rows leave with the others: table → column of record time. */
  readonly ages?: Readonly<Record<string, string>>
  readonly onWritten?: (day: string, decisions: number) => void
  /** Table → sequence up to which somebody who needs its rows has had them; tables that nobody needs are not in it. */
  readonly taken?: () => ReadonlyMap<string, number>
  /** Rows that leave before they were taken. */
  readonly onMissed?: (table: string, rows: number) => void
}

const DAY_MS = 86_400_000
/** A day is closed when a record this much later was seen: a slow lane puts records into the log out of order. */
const CLOSED_AFTER_MS = 60_000

/** Starts where the store left off. */
export async function createLake(database: Database, options: LakeOptions): Promise<Upkeep> {
  let nextDay = await firstOpenDay(database)

  async function closeDay(day: number): Promise<void> {
    const name = dayName(day)
    const [from, until] = [day * DAY_MS, (day + 1) * DAY_MS]
    const [counted] = await database.ask(
      'SELECT count(*) AS decisions, max(sequence) AS last_sequence FROM decisions WHERE decided_at_ms >= ? AND decided_at_ms < ?',
      [from, until],
    )
    const decisions = Number(counted?.decisions ?? 0)
    if (decisions > 0 && options.enabled) {
      await writePartition(database, options.directory, { name, from, until })
      options.onWritten?.(name, decisions)
    }
    await database.run('BEGIN TRANSACTION')
    await database.run('INSERT INTO partitions VALUES (?, ?, ?)', [
      name,
      decisions,
      Number(counted?.last_sequence ?? 0),
    ])
    await commitClosed(day + 1)
  }

  /** Ends the transaction, and lets go what is too old once all before `openDay` is closed. */
  async function commitClosed(openDay: number): Promise<void> {
    if (options.rowDays > 0) await dropRows(database, (openDay - options.rowDays) * DAY_MS, options)
    await database.run('COMMIT')
    if (options.partitionDays > 0) dropPartitions(options.directory, dayName(openDay - options.partitionDays))
  }

  /** Days without a decision, all at once: a server that once had the time of 1970 leaves twenty thousand of them. */
  async function closeEmptyDays(from: number, until: number): Promise<void> {
    await database.run('BEGIN TRANSACTION')
    await database.run(
      `INSERT INTO partitions SELECT CAST(DATE '1970-01-01' + CAST(day AS INTEGER) AS VARCHAR), 0, 0
       FROM range(CAST(? AS BIGINT), CAST(? AS BIGINT)) AS days(day)`,
      [from, until],
    )
    await commitClosed(until)
  }

  return {
    follow: (recordedAtMs) =>
      guarded(async () => {
        const openDay = Math.floor((recordedAtMs - CLOSED_AFTER_MS) / DAY_MS)
        nextDay ??= await oldestDay(database)
        if (nextDay === null) return
        while (nextDay < openDay) {
          const filled = Math.min(openDay, (await oldestDay(database, nextDay)) ?? openDay)
          if (filled > nextDay) await closeEmptyDays(nextDay, filled)
          nextDay = filled
          if (nextDay < openDay) await closeDay(nextDay++)
        }
      }),
  }
}

/** Removes the partitions that hold records beyond `sequence`: the log took those back. */
export async function takePartitionsBack(database: Database, directory: string, sequence: number): Promise<void> {
  const rows = await database.ask('SELECT day FROM partitions WHERE last_sequence > ?', [sequence])
  for (const { day } of rows)
    rmSync(join(directory, 'decisions', `day=${String(day)}`), { recursive: true, force: true })
}

async function firstOpenDay(database: Database): Promise<number | null> {
  const [row] = await database.ask('SELECT max(day) AS day FROM partitions')
  if (typeof row?.day === 'string') return Math.floor(Date.parse(`${row.day}T00:00:00Z`) / DAY_MS) + 1
  return oldestDay(database)
}

/** The first day from `from` that has a decision. */
async function oldestDay(database: Database, from = 0): Promise<number | null> {
  const [row] = await database.ask('SELECT min(decided_at_ms) AS oldest FROM decisions WHERE decided_at_ms >= ?', [
    from * DAY_MS,
  ])
  return typeof row?.oldest === 'number' ? Math.floor(row.oldest / DAY_MS) : null
}

async function writePartition(
  database: Database,
  lake: string,
  day: { readonly name: string; readonly from: number; readonly until: number },
): Promise<void> {
  const directory = join(lake, 'decisions', `day=${day.name}`)
  mkdirSync(directory, { recursive: true, mode: 0o750 })
  const partial = join(directory, '.partial')
  rmSync(partial, { force: true })
  const rows = `SELECT * FROM decisions WHERE decided_at_ms >= ${day.from} AND decided_at_ms < ${day.until} ORDER BY sequence`
  await database.run(`COPY (${rows}) TO '${partial.replaceAll("'", "''")}' (FORMAT parquet, COMPRESSION zstd)`)
  renameSync(partial, join(directory, 'decisions.parquet'))
}

/** Control records, policies, findings and alerts have no age: few, and evidence of what was done and known. */
const AGES = { decisions: 'decided_at_ms', labels: 'folded_at_ms', replies: 'at_ms', superseded: 'at_ms' }

/** Rows of every table with a record time that lies before. */
async function dropRows(database: Database, beforeMs: number, options: LakeOptions): Promise<void> {
  const taken = options.taken?.() ?? new Map<string, number>()
  for (const [table, column] of Object.entries({ ...AGES, ...options.ages })) {
    const upTo = taken.get(table)
    if (upTo !== undefined) {
      const counted = `SELECT count(*) AS missed FROM ${quoted(table)} WHERE ${quoted(column)} < ? AND sequence > ?`
      const [row] = await database.ask(counted, [beforeMs, upTo])
      if (Number(row?.missed) > 0) options.onMissed?.(table, Number(row?.missed))
    }
    await database.run(`DELETE FROM ${quoted(table)} WHERE ${quoted(column)} < ?`, [beforeMs])
  }
}

function dropPartitions(lake: string, before: string): void {
  const directory = join(lake, 'decisions')
  if (!existsSync(directory)) return
  for (const name of readdirSync(directory, { withFileTypes: true }).map((entry) => entry.name)) {
    if (/^day=\d{4}-\d{2}-\d{2}$/.test(name) && name.slice(4) < before)
      rmSync(join(directory, name), { recursive: true, force: true })
  }
}

function dayName(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10)
}
