// Compares everything that two stores derived, row by row; what stores say of themselves is left out. No test.
import { join } from 'node:path'
import { openDatabase } from '../../src/governance/store/database.js'
import { STORE_FILE } from '../../src/governance/store/open.js'
import { OWN_TABLES } from '../../src/governance/store/tables.js'

export interface Comparison {
  /** table → rows in the first store. */
  readonly rows: Readonly<Record<string, number>>
  /** One line for each table that differs. */
  readonly differences: readonly string[]
}

/** Rows that follow from the log alone, where a table holds others too. */
const OF_THE_LOG = new Map([
  ['findings', ` WHERE kind <> 'reader_ahead'`],
  ['alerts', ` WHERE origin = 'record'`],
])

/**
 * Directories of two stores that nobody uses. A finding of records taken back is left out: it tells what happened to a
 * sidecar, and a log read afresh holds nothing of it. So is an alert that a clock saw, and the name of a finding's
 * segment: a recovery may have copied the segment into another file since.
 */
export async function compareStores(left: string, right: string): Promise<Comparison> {
  const options = {
    directory: left,
    file: join(left, STORE_FILE),
    memoryBytesMax: 512 << 20,
    threads: 2,
    queryMsMax: 60_000,
  }
  const database = await openDatabase(options)
  try {
    await database.run(`ATTACH '${join(right, STORE_FILE)}' AS other (READ_ONLY)`)
    const tables = async (catalogue: string): Promise<Map<string, string>> => {
      const found = await database.select(
        `SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_index) AS shape
         FROM duckdb_columns() WHERE database_name = ? AND NOT internal GROUP BY 1 ORDER BY 1`,
        [catalogue],
      )
      return new Map(found.map(({ table_name: name, shape }) => [String(name), String(shape)]))
    }
    const [ours, theirs] = [await tables('store'), await tables('other')]
    const differences: string[] = []
    const rows: Record<string, number> = {}
    for (const table of new Set([...ours.keys(), ...theirs.keys()])) {
      if (table in OWN_TABLES) continue
      if (ours.get(table) !== theirs.get(table)) {
        differences.push(`${table}: columns ${ours.get(table)} | ${theirs.get(table)}`)
        continue
      }
      const where = OF_THE_LOG.get(table) ?? ''
      const count = async (from: string): Promise<number> =>
        Number((await database.select(`SELECT count(*) AS n FROM ${from}`))[0]?.n)
      const shown = table === 'findings' ? '* EXCLUDE (log_segment)' : '*'
      const all = (catalogue: string): string => `SELECT ${shown} FROM ${catalogue}.${table}${where}`
      rows[table] = await count(`(${all('store')})`)
      const missing = await count(`(${all('other')} EXCEPT ALL ${all('store')})`)
      const extra = await count(`(${all('store')} EXCEPT ALL ${all('other')})`)
      if (missing + extra > 0) differences.push(`${table}: ${missing} rows missing, ${extra} rows too many`)
    }
    return { rows, differences }
  } finally {
    await database.close()
  }
}
