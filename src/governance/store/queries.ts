// What the API asks of the store, as typed questions. Rows come with the column names of tables.ts, lists parsed.
// Pages are keyset pages over `sequence`: rows that arrive or leave between two pages neither shift nor repeat any.
import { parseDecisionId } from '../../contract/decision.js'
import type { Limits } from '../../limits.js'
import type { Database, Parameter, StoredRow, StoredValue } from './database.js'
import { ENTITY_PREFIX } from './decision-columns.js'
import { quoted } from './tables.js'

/** A value of a row as JSON has it. */
export type JsonValue = StoredValue | { readonly [name: string]: JsonValue } | readonly JsonValue[]
export type JsonRow = Readonly<Record<string, JsonValue>>

export interface DecisionFilter {
  readonly fromMs?: number
  readonly untilMs?: number
  /** A field that some policy declares as an entity, and its value. */
  readonly entity?: { readonly field: string; readonly value: string }
  /** name@version */
  readonly model?: string
  readonly action?: string
  readonly kind?: string
  readonly scoreMin?: number
  readonly scoreMax?: number
  readonly degraded?: boolean
  readonly transactionId?: string
}

/** Newest first unless asked otherwise; `cursor` is the `next` of the page before. */
export interface PageRequest {
  readonly limit: number
  readonly cursor?: number | null
  readonly order?: 'newest' | 'oldest'
}

export interface Page {
  readonly rows: readonly JsonRow[]
  /** Null on the last page. */
  readonly next: number | null
}

/** One interval of a chart. */
export interface Interval {
  readonly atMs: number
  readonly decisions: number
  readonly degraded: number
  /** Action → count. */
  readonly actions: Readonly<Record<string, number>>
  /** Microseconds; null where nothing was decided. */
  readonly p50Us: number | null
  readonly p99Us: number | null
  readonly stagesUs: Readonly<Record<'receive' | 'validate' | 'features' | 'infer' | 'decide', number>>
}

export interface Queries {
  decisions(filter: DecisionFilter, page: PageRequest): Promise<Page>
  /** Null for an id of another log, or of a decision that is not held. */
  decision(id: string): Promise<JsonRow | null>
  labels(transactionId: string): Promise<readonly JsonRow[]>
  /** Oldest first; intervals without a decision are left out. */
  intervals(range: { readonly fromMs: number; readonly untilMs: number; readonly stepMs: number }): Promise<Interval[]>
  findings(): Promise<readonly JsonRow[]>
  controls(page: PageRequest): Promise<Page>
  /** Policy and models that records with this fingerprint were written under; null where unknown. */
  policy(fingerprint: string): Promise<JsonRow | null>
  /** Names of the entity fields that decisions can be asked for by. */
  entityFields(): Promise<readonly string[]>
  /** Rows of a monitor's table: for the parts that declared it. */
  select(sql: string, parameters?: readonly Parameter[]): Promise<readonly StoredRow[]>
}

const NO_VECTOR = '* EXCLUDE (vector)'
const JSON_COLUMNS = new Set(['rules', 'rules_shadow', 'reasons', 'fallback', 'entities', 'state', 'fields'])
const LIST_COLUMNS = new Set(['rules', 'rules_shadow', 'reasons', 'fallback'])

/** Questions to an open store; `logId` is that of its log, once known. */
export function createQueries(
  database: Database,
  deps: { readonly logId: () => Uint8Array | null; readonly limits: Pick<Limits, 'pageRowsMax' | 'findingsShownMax'> },
): Queries {
  const { limits } = deps

  async function page(table: string, select: string, where: Conditions, request: PageRequest): Promise<Page> {
    const limit = Math.max(1, Math.min(Math.trunc(request.limit), limits.pageRowsMax))
    const newest = request.order !== 'oldest'
    if (typeof request.cursor === 'number') where.add(newest ? 'sequence <' : 'sequence >', request.cursor)
    const order = newest ? 'DESC' : 'ASC'
    const sql = `SELECT ${select} FROM ${table}${where.text()} ORDER BY sequence ${order} LIMIT ${limit + 1}`
    const found = await database.select(sql, where.parameters)
    const rows = found.slice(0, limit).map(jsonRow)
    return { rows, next: found.length > limit ? Number(rows.at(-1)?.sequence) : null }
  }

  const entityFields = async (): Promise<string[]> => {
    const found = await database.select(
      `SELECT column_name FROM duckdb_columns() WHERE table_name = 'decisions' ORDER BY column_index`,
    )
    const names = found.map(({ column_name: name }) => String(name))
    return names.filter((name) => name.startsWith(ENTITY_PREFIX)).map((name) => name.slice(ENTITY_PREFIX.length))
  }

  return {
    async decisions(filter, request) {
      const where = conditions(filter)
      if (filter.entity !== undefined) {
        const { field, value } = filter.entity
        if (!(await entityFields()).includes(field)) return { rows: [], next: null }
        where.add(`${quoted(ENTITY_PREFIX + field)} =`, value)
      }
      return page('decisions', NO_VECTOR, where, request)
    },
    async decision(id) {
      const ref = parseDecisionId(id)
      const logId = deps.logId()
      if (ref === null || logId === null || Buffer.compare(ref.logId, logId) !== 0) return null
      const [row] = await database.select(
        'SELECT * FROM decisions WHERE epoch = ? AND ordinal = ? AND unfolded = ? LIMIT 1',
        [ref.epoch, ref.ordinal, ref.unfolded],
      )
      return row === undefined ? null : jsonRow(row)
    },
    async labels(transactionId) {
      const found = await database.select(
        `SELECT * FROM labels WHERE transaction_id = ? ORDER BY sequence LIMIT ${limits.pageRowsMax}`,
        [transactionId],
      )
      return found.map(jsonRow)
    },
    intervals: (range) => intervals(database, range, limits.pageRowsMax),
    async findings() {
      const order = 'ORDER BY epoch DESC, sequence DESC, log_offset DESC'
      const found = await database.select(`SELECT * FROM findings ${order} LIMIT ${limits.findingsShownMax}`)
      return found.map(jsonRow)
    },
    controls: (request) => page('controls', '*', createConditions(), request),
    async policy(fingerprint) {
      const [row] = await database.select(
        'SELECT * FROM policies WHERE policy = ? ORDER BY first_sequence DESC LIMIT 1',
        [fingerprint],
      )
      return row === undefined ? null : jsonRow(row)
    },
    entityFields,
    select: (sql, parameters) => database.select(sql, parameters),
  }
}

interface Conditions {
  readonly parameters: Parameter[]
  add(condition: string, parameter: Parameter | undefined): void
  text(): string
}

function createConditions(): Conditions {
  const texts: string[] = []
  const parameters: Parameter[] = []
  return {
    parameters,
    add(condition, parameter) {
      if (parameter === undefined) return
      texts.push(`${condition} ?`)
      parameters.push(parameter)
    },
    text: () => (texts.length === 0 ? '' : ` WHERE ${texts.join(' AND ')}`),
  }
}

function conditions(filter: DecisionFilter): Conditions {
  const where = createConditions()
  where.add('decided_at_ms >=', filter.fromMs)
  where.add('decided_at_ms <', filter.untilMs)
  where.add('model =', filter.model)
  where.add('action =', filter.action)
  where.add('kind =', filter.kind)
  where.add('score >=', filter.scoreMin)
  where.add('score <=', filter.scoreMax)
  where.add('degraded =', filter.degraded)
  where.add('transaction_id =', filter.transactionId)
  return where
}

async function intervals(
  database: Database,
  { fromMs, untilMs, stepMs }: { fromMs: number; untilMs: number; stepMs: number },
  intervalsMax: number,
): Promise<Interval[]> {
  const step = Math.max(stepMs, Math.ceil((untilMs - fromMs) / intervalsMax), 1)
  const actions = ['approve', 'challenge', 'review', 'decline']
  const counts = actions.map((action) => `count(*) FILTER (action = '${action}') AS ${action}`)
  const stages = ['receive', 'validate', 'features', 'infer', 'decide'].map((stage) => `avg(${stage}_us) AS ${stage}`)
  const rows = await database.select(
    `SELECT (decided_at_ms // $3) * $3 AS at_ms, count(*) AS decisions, count(*) FILTER (degraded) AS degraded,
     approx_quantile(total_us, 0.5) AS p50, approx_quantile(total_us, 0.99) AS p99, ${[...counts, ...stages].join(', ')}
     FROM decisions WHERE decided_at_ms >= $1 AND decided_at_ms < $2 AND kind = 'decision' AND mode = 'decide'
     GROUP BY 1 ORDER BY 1`,
    [fromMs, untilMs, step],
  )
  return rows.map((row) => ({
    atMs: Number(row.at_ms),
    decisions: Number(row.decisions),
    degraded: Number(row.degraded),
    actions: Object.fromEntries(actions.map((action) => [action, Number(row[action])])),
    p50Us: row.p50 === null ? null : Number(row.p50),
    p99Us: row.p99 === null ? null : Number(row.p99),
    stagesUs: {
      ...{ receive: Number(row.receive), validate: Number(row.validate), features: Number(row.features) },
      ...{ infer: Number(row.infer), decide: Number(row.decide) },
    },
  }))
}

/** Lists and structures are JSON text in the store; an empty list is null there. */
export function jsonRow(row: StoredRow): JsonRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => {
      if (!JSON_COLUMNS.has(name)) return [name, value]
      if (typeof value === 'string') return [name, parsed(value)]
      return [name, LIST_COLUMNS.has(name) ? [] : null]
    }),
  )
}

/** Written by this release's own JSON.stringify, or by whoever wrote a control record: that may be any text. */
function parsed(text: string): JsonValue {
  try {
    return jsonValue(JSON.parse(text))
  } catch {
    return text
  }
}

function jsonValue(value: unknown): JsonValue {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  if (Array.isArray(value)) return value.map(jsonValue)
  if (typeof value !== 'object') return null
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, jsonValue(member)]))
}
