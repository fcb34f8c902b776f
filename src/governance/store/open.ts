// The governance store: one DuckDB file of everything derived from the decision log.
// Invariants: a batch, what was derived from it, every monitor's checkpoint and the reader's position become visible
// together or not at all; a file of another release, another log or another program is refused or made anew, never
// half used. It is derived: `removeStore` loses nothing that the decision log holds.
import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseControlState } from '../../contract/control-state.js'
import { type Finding, isDamage } from '../../decision-log/finding.js'
import type { Position } from '../../decision-log/reader.js'
import { READER_POSITION_NAME } from '../../decision-log/reader-position.js'
import type { Batch, Cell, Control, DerivedRow, TailRecord } from '../port.js'
import { createRowAppender, createTableAppender, isColumnType, type TableAppender } from './append.js'
import { type Database, guarded, openDatabase, refused } from './database.js'
import {
  DECISION_COLUMNS,
  type DecisionColumn,
  decisionSource,
  type DecisionSource,
  ENTITY_PREFIX,
  entityColumn,
  type UnderPolicy,
  underPolicy,
} from './decision-columns.js'
import { entityNames, recordedAtMs, rowsOf } from './record-rows.js'
import { createStatement, OWN_TABLES, quoted, STORE_VERSION, type Tables, TABLES } from './tables.js'

export interface StoreOptions {
  /** `<data>/governance` */
  readonly directory: string
  /** Tables of the monitors, beside the store's own. */
  readonly tables: Tables
  readonly memoryBytesMax: number
  readonly threads: number
  readonly queryMsMax?: number
  /** Called between columns that are written (pace.ts). */
  readonly rest?: () => void
}

export interface Resume {
  readonly position: Position
  readonly control: Control | null
}

/** One transaction. */
export interface StoreWrite {
  readonly batch: Batch
  readonly derived: readonly DerivedRow[]
  /** Name → what a monitor must remember. Unchanged ones are not written again. */
  readonly checkpoints: ReadonlyMap<string, Uint8Array>
  /** What holds after the batch. */
  readonly control: Control | null
}

export interface Store {
  /** True where an older file was replaced: everything is read again. */
  readonly remade: boolean
  readonly database: Database
  /** Where to go on; null for a new store. */
  resume(): Resume | null
  checkpoint(name: string): Uint8Array | null
  /** Throws ASSAY_STORE_IO; then nothing of it was written, and the store has to be opened again. */
  write(write: StoreWrite): Promise<void>
  /** Record time of the newest record, ms; 0 before the first. */
  recordedAtMs(): number
  /** Resolves once the file is let go of. */
  close(): Promise<void>
}

/** Name of the database file. */
export const STORE_FILE = 'store.duckdb'
/** Findings of a batch on their way, in memory. */
const INCOMING = 'incoming_findings'
/**
 * A reader that starts again reports again what it finds on its way: once is enough. Segment and offset do not count,
 * since a recovery may have copied the segment into another file.
 */
const ADD_FINDINGS = `INSERT INTO findings SELECT DISTINCT ON (sequence, epoch, kind, detail) * FROM ${INCOMING} i
  WHERE NOT EXISTS (SELECT 1 FROM findings f
  WHERE f.sequence = i.sequence AND f.epoch = i.epoch AND f.kind = i.kind AND f.detail = i.detail)`
/** Checkpoint under which the control state is kept. */
const CONTROL = 'control'
const QUERY_MS_MAX = 10_000
const NO_LOG = new Uint8Array(8)

/** Removes the store; the lake's partitions stay. */
export function removeStore(directory: string): void {
  for (const name of [READER_POSITION_NAME, STORE_FILE, `${STORE_FILE}.wal`, 'temporary']) {
    rmSync(join(directory, name), { recursive: true, force: true })
  }
}

/** Opens or makes the store. Throws ASSAY_STORE_REFUSED, ASSAY_STORE_LOCKED or ASSAY_STORE_IO. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const database = await open(options)
  try {
    const state = await prepare(database, options)
    if (state !== 'outdated') return await createStore(database, options, false)
  } catch (error) {
    await database.close()
    throw error
  }
  await database.close()
  removeStore(options.directory)
  const fresh = await open(options)
  await prepare(fresh, options)
  return createStore(fresh, options, true)
}

function open({ directory, memoryBytesMax, threads, queryMsMax = QUERY_MS_MAX }: StoreOptions): Promise<Database> {
  return openDatabase({ directory, file: join(directory, STORE_FILE), memoryBytesMax, threads, queryMsMax })
}

/** Makes the tables of an empty file; says whether an existing one is of this release. Throws ASSAY_STORE_REFUSED. */
async function prepare(database: Database, options: StoreOptions): Promise<'current' | 'outdated'> {
  const file = join(options.directory, STORE_FILE)
  const found = await database.ask('SELECT table_name FROM duckdb_tables() WHERE schema_name = ?', ['main'])
  const names = found.map((row) => String(row.table_name))
  const digest = tablesDigest(options.tables)
  if (names.length === 0) {
    await makeTables(database, options.tables, digest)
    return 'current'
  }
  if (!names.includes('meta')) throw refused(file, 'this database was not made by Assay')
  const meta = new Map((await database.ask('SELECT name, value FROM meta')).map(({ name, value }) => [name, value]))
  const version = Number(meta.get('version'))
  if (meta.get('store') !== 'assay governance' || !(version >= 1))
    throw refused(file, 'this database was not made by Assay')
  if (version > STORE_VERSION) throw refused(file, `it is of version ${version}; this release knows ${STORE_VERSION}`)
  return version < STORE_VERSION || meta.get('tables') !== digest ? 'outdated' : 'current'
}

async function makeTables(database: Database, extra: Tables, digest: string): Promise<void> {
  for (const [table, columns] of Object.entries(extra)) {
    if (table in TABLES || table in OWN_TABLES) throw new RangeError(`the table ${table} belongs to the store`)
    for (const type of Object.values(columns))
      if (!isColumnType(type)) throw new RangeError(`${table}: no type ${type}`)
  }
  await database.run('BEGIN TRANSACTION')
  for (const [table, columns] of Object.entries({ ...TABLES, ...OWN_TABLES, ...extra })) {
    await database.run(createStatement(table, columns))
  }
  const meta = { store: 'assay governance', version: String(STORE_VERSION), tables: digest }
  for (const [name, value] of Object.entries(meta)) await database.run('INSERT INTO meta VALUES (?, ?)', [name, value])
  await database.run('COMMIT')
}

function tablesDigest(extra: Tables): string {
  return createHash('sha256').update(JSON.stringify({ TABLES, OWN_TABLES, extra })).digest('hex')
}

async function createStore(database: Database, options: StoreOptions, remade: boolean): Promise<Store> {
  const checkpoints = await readCheckpoints(database)
  let resume = await readPosition(database, checkpoints.get(CONTROL) ?? null)
  let recordedMs = resume === null ? 0 : await readRecordedAt(database)
  const writing = await createWriting(database, options)

  async function commit({ batch, derived, checkpoints: given, control }: StoreWrite): Promise<void> {
    await writing.addEntities(batch)
    await database.run('BEGIN TRANSACTION')
    let newestMs = recordedMs
    for (const record of batch.records) {
      newestMs = Math.max(newestMs, recordedAtMs(record))
      writing.addRecord(record, batch.position?.logId ?? NO_LOG)
    }
    for (const { table, row } of derived) writing.add(table, row)
    for (const finding of batch.findings) writing.add(INCOMING, findingRow(finding))
    await writing.flush()
    if (batch.findings.length > 0) {
      await database.run(ADD_FINDINGS)
      await database.run(`DELETE FROM ${INCOMING}`)
    }
    const changed = new Map(given)
    if (control !== resume?.control && control !== null) changed.set(CONTROL, Buffer.from(JSON.stringify(control)))
    for (const [name, content] of changed) await writeCheckpoint(database, checkpoints, name, content)
    if (batch.position !== null) await writePosition(database, batch.position, newestMs)
    await database.run('COMMIT')
    if (batch.position !== null) resume = { position: batch.position, control }
    recordedMs = newestMs
  }

  return {
    remade,
    database,
    resume: () => resume,
    checkpoint: (name) => checkpoints.get(name) ?? null,
    write: (write) => guarded(() => commit(write)),
    recordedAtMs: () => recordedMs,
    close: () => database.close(),
  }
}

/** Rows on their way into the tables. */
interface Writing {
  /** Columns for entities that a policy of this batch declares first; a transaction of their own. */
  addEntities(batch: Batch): Promise<void>
  addRecord(record: TailRecord, logId: Uint8Array): void
  add(table: string, row: Readonly<Record<string, Cell>>): void
  flush(): Promise<void>
}

async function createWriting(
  database: Database,
  { tables, rest = () => undefined }: Pick<StoreOptions, 'tables' | 'rest'>,
): Promise<Writing> {
  const columns: Tables = { ...TABLES, ...tables, [INCOMING]: TABLES.findings }
  await database.run(createStatement(INCOMING, TABLES.findings).replace('TABLE', 'TEMPORARY TABLE'))
  const appenders = new Map<string, TableAppender<Readonly<Record<string, Cell>>>>()
  const entities = new Map(await entityColumns(database))
  const makeDecisions = (): TableAppender<DecisionSource> => {
    const all = [...DECISION_COLUMNS, ...entities.values()]
    return createTableAppender(
      'decisions',
      all.map(([name, type, get]) => ({ name, type, get })),
      rest,
    )
  }
  let decisions = makeDecisions()
  let policyText = await lastPolicy(database)
  let under: UnderPolicy | null = null
  let seen: Control['policy'] | null = null
  let noted: Control | null = null

  const appenderOf = (table: string): TableAppender<Readonly<Record<string, Cell>>> => {
    const known = appenders.get(table)
    if (known !== undefined) return known
    const shape = columns[table]
    if (shape === undefined) throw new RangeError(`no monitor declares the table ${table}`)
    const made = createRowAppender(table, shape, rest)
    appenders.set(table, made)
    return made
  }
  const notePolicy = (control: Control, sequence: number): void => {
    if (control === noted) return
    noted = control
    // What operators change stands in the control records.
    const { routes: _, previous: __, forced: ___, ramp: ____, ...rest } = control
    const text = JSON.stringify(rest)
    if (text === policyText) return
    policyText = text
    appenderOf('policies').add({ first_sequence: sequence, policy: control.policy_fingerprint, state: text })
  }

  return {
    async addEntities({ records }) {
      for (const { control } of records) {
        if (control.policy === seen) continue
        seen = control.policy
        for (const field of entityNames(control).filter((name) => !entities.has(name))) {
          const [name, type] = entityColumn(field)
          await database.run(`ALTER TABLE decisions ADD COLUMN ${quoted(name)} ${type}`)
          entities.set(field, entityColumn(field))
          decisions = makeDecisions()
        }
      }
    },
    addRecord(record, logId) {
      const { control, sequence } = record
      notePolicy(control, sequence)
      if (under?.policy !== control.policy) under = underPolicy(control.policy)
      const source = decisionSource(record, under, logId)
      if (source !== null) decisions.add(source)
      else for (const { table, row } of rowsOf(record)) appenderOf(table).add(row)
    },
    add: (table, row) => appenderOf(table).add(row),
    async flush() {
      await decisions.flush(database.writer)
      for (const appender of appenders.values()) await appender.flush(database.writer)
    },
  }
}

/** Field → column, in the order in which they were added. */
async function entityColumns(database: Database): Promise<[string, DecisionColumn][]> {
  const found = await database.ask(
    `SELECT column_name FROM duckdb_columns() WHERE table_name = 'decisions' ORDER BY column_index`,
  )
  const names = found.map(({ column_name: name }) => String(name)).filter((name) => name.startsWith(ENTITY_PREFIX))
  return names.map((name) => [name.slice(ENTITY_PREFIX.length), entityColumn(name.slice(ENTITY_PREFIX.length))])
}

async function lastPolicy(database: Database): Promise<string | null> {
  const [row] = await database.ask('SELECT state FROM policies ORDER BY first_sequence DESC LIMIT 1')
  return row === undefined ? null : String(row.state)
}

function findingRow(finding: Finding): Readonly<Record<string, Cell>> {
  const { sequence, epoch, kind, segment, offset, detail } = finding
  return { sequence, epoch, kind, log_segment: segment, log_offset: offset, detail, damage: isDamage(finding) }
}

async function readCheckpoints(database: Database): Promise<Map<string, Uint8Array>> {
  const rows = await database.ask('SELECT name, content FROM checkpoints')
  return new Map(
    rows.flatMap(({ name, content }) => (content instanceof Uint8Array ? [[String(name), content] as const] : [])),
  )
}

async function writeCheckpoint(
  database: Database,
  held: Map<string, Uint8Array>,
  name: string,
  content: Uint8Array,
): Promise<void> {
  const before = held.get(name)
  if (before !== undefined && Buffer.compare(before, content) === 0) return
  if (before === undefined) await database.run('INSERT INTO checkpoints VALUES (?, ?)', [name, content])
  else await database.run('UPDATE checkpoints SET content = ? WHERE name = ?', [content, name])
  held.set(name, Uint8Array.from(content))
}

async function readPosition(database: Database, control: Uint8Array | null): Promise<Resume | null> {
  const [row] = await database.ask('SELECT log_id, epoch, sequence FROM position')
  if (row === undefined) return null
  const logId = Buffer.from(String(row.log_id), 'hex')
  return {
    position: { logId, epoch: Number(row.epoch), sequence: Number(row.sequence) },
    control: control === null ? null : parseControlState(Buffer.from(control).toString('utf8')),
  }
}

async function readRecordedAt(database: Database): Promise<number> {
  const [row] = await database.ask('SELECT record_at_ms FROM position')
  return Number(row?.record_at_ms ?? 0)
}

async function writePosition(database: Database, position: Position, recordAtMs: number): Promise<void> {
  const { logId, epoch, sequence } = position
  await database.run('DELETE FROM position')
  await database.run('INSERT INTO position VALUES (?, ?, ?, ?)', [logId.toString('hex'), epoch, sequence, recordAtMs])
}
