// Drift: the strip of windows for each quantity, and one window's counts against its references.
// Invariant: a window stands once. Where rows of it were derived twice (a model's file replaced within an hour, an hour
// derived again), the newest counts.
import type * as wire from '../../../contract/governance.js'
import { raisesAlarms, REFERENCES } from '../../monitors/drift-verdict.js'
import type { JsonRow } from '../../store/queries.js'
import type { DriftDetailQuery, DriftQuery } from '../source.js'
import * as cells from './cells.js'
import type { Held } from './held.js'
import { shownSegment, storedSegment } from './segments.js'

const TABLE = 'drift'
/** The windows that alarms are made from, when nobody asks for others. */
const DEFAULT_KINDS = ['count/training', 'count/provisional']
const VERDICTS: readonly wire.Verdict[] = ['insufficient', 'stable', 'watch', 'drift']
const NO_LISTS = '* EXCLUDE (counts, reference_counts)'
const FEATURES_MAX = 1_000

interface Chosen {
  readonly model: string
  readonly segment: string
  readonly windowKind: string
  readonly reference: string
}

const NOTHING: wire.DriftOverview = { models: [], segments: [], kinds: [], kind: null, reference: null, features: [] }

export async function drift(held: Held, query: DriftQuery): Promise<wire.DriftOverview> {
  if (!(await held.hasTable(TABLE))) return NOTHING
  const found = await held.queries().select(
    `SELECT model, segment, window_kind || '/' || reference AS kind, max(sequence) AS newest FROM ${TABLE}
     GROUP BY ALL ORDER BY newest DESC, kind LIMIT ${FEATURES_MAX}`,
  )
  const all = (name: string): string[] => [...new Set(found.map((row) => cells.text(row, name)))]
  const models = await modelsOf(held, all('model'))
  const model = query.model ?? models[0]
  const own = found.filter((row) => row.model === model).map((row) => cells.text(row, 'kind'))
  const kinds = [...new Set(own)].sort()
  const kind = query.kind ?? DEFAULT_KINDS.find((each) => kinds.includes(each)) ?? kinds[0]
  if (model === undefined || kind === undefined) return NOTHING
  const [windowKind = '', reference = ''] = kind.split('/')
  const chosen = { model, segment: storedSegment(query.segment), windowKind, reference }
  const rows = await windowsOf(held, chosen, query.windows)
  const segments = all('segment').sort().map(shownSegment)
  return {
    models,
    segments,
    kinds,
    kind,
    reference: await referenceOf(held, model),
    features: featuresOf(rows, chosen),
  }
}

/** The champion first: it is the one people mean. */
async function modelsOf(held: Held, models: readonly string[]): Promise<string[]> {
  const champion = (await held.control())?.routes.champion
  return [...models].sort((one, other) => Number(other === champion) - Number(one === champion))
}

/** Of the file of the model that answered last. */
async function referenceOf(held: Held, model: string): Promise<wire.DriftReference | null> {
  if (!(await held.hasTable('drift_references'))) return null
  const [row] = await held.queries().select(
    `SELECT kind, rows, from_ms, until_ms FROM drift_references
       WHERE rowid IN (SELECT max(rowid) FROM drift_references WHERE model = ?)`,
    [model],
  )
  if (row === undefined) return null
  const at = (name: string): string | null => {
    const ms = cells.maybeNumber(row, name)
    return ms === null ? null : cells.time(ms)
  }
  return {
    kind: cells.text(row, 'kind'),
    rows: cells.maybeNumber(row, 'rows'),
    from: at('from_ms'),
    until: at('until_ms'),
  }
}

/** Of the rows that come out alike under `by`, the one derived last. Never by sorting rowids: see answers/alerts.ts. */
const newest = (where: string, by: string): string =>
  `rowid IN (SELECT max(rowid) FROM ${TABLE} WHERE ${where} GROUP BY ${by})`

/** Rows of the newest windows, oldest first. */
async function windowsOf(held: Held, chosen: Chosen, windows: number): Promise<JsonRow[]> {
  const { model, segment, windowKind, reference } = chosen
  const where = 'model = ? AND segment = ? AND window_kind = ? AND reference = ?'
  const parameters = [model, segment, windowKind, reference]
  return [
    ...(await held.queries().select(
      `SELECT ${NO_LISTS} FROM ${TABLE} WHERE ${where} AND from_ms >= (SELECT coalesce(min(from_ms), 0) FROM
       (SELECT DISTINCT from_ms FROM ${TABLE} WHERE ${where} ORDER BY from_ms DESC LIMIT ${windows}))
       AND ${newest(where, 'kind, series, from_ms')} ORDER BY until_ms, sequence`,
      [...parameters, ...parameters, ...parameters],
    )),
  ]
}

function featuresOf(rows: readonly JsonRow[], chosen: Chosen): wire.DriftFeature[] {
  const byName = new Map<string, JsonRow[]>()
  for (const row of rows) {
    const name = nameOf(row)
    const held = byName.get(name)
    if (held === undefined) byName.set(name, [row])
    else held.push(row)
  }
  return [...byName].slice(0, FEATURES_MAX).map(([feature, own]) => featureOf(feature, own, chosen))
}

function featureOf(feature: string, rows: readonly JsonRow[], { model, segment }: Chosen): wire.DriftFeature {
  const windows = rows.map(windowOf)
  const newest = windows.at(-1)
  const verdict = newest?.verdict ?? 'insufficient'
  const kind = cells.text(rows[0] ?? {}, 'kind')
  return { feature, model, segment: shownSegment(segment), kind, verdict, since: sinceOf(windows), windows }
}

/** Since when the newest verdict has held, for those that somebody must look at. */
function sinceOf(windows: readonly wire.DriftWindow[]): string | null {
  const last = windows.at(-1)
  if (last === undefined || rank(last.verdict) < rank('watch')) return null
  const before = windows.findLastIndex(({ verdict }) => rank(verdict) < rank('watch'))
  return windows[before + 1]?.from ?? null
}

const rank = (verdict: wire.Verdict): number => VERDICTS.indexOf(verdict)

/** A feature, the score and the actions go by their name; a null rate and a field say what they are. */
function nameOf(row: JsonRow): string {
  const kind = cells.text(row, 'kind')
  const name = cells.text(row, 'series')
  return kind === 'null_rate' || kind === 'field' ? `${kind}:${name}` : name
}

function windowOf(row: JsonRow): wire.DriftWindow {
  const causes = cells.text(row, 'causes')
  return {
    window: String(cells.number(row, 'sequence')),
    from: cells.time(cells.number(row, 'from_ms')),
    until: cells.time(cells.number(row, 'until_ms')),
    n: cells.number(row, 'n'),
    verdict: VERDICTS.find((verdict) => verdict === row.state) ?? 'insufficient',
    psi: cells.maybeNumber(row, 'psi'),
    psi_low: cells.maybeNumber(row, 'psi_at_least'),
    psi_textbook: cells.maybeNumber(row, 'psi_textbook'),
    p: cells.maybeNumber(row, 'p'),
    cause: causes === '' ? null : causes.replaceAll('_', ' ').replaceAll(',', ', '),
  }
}

export async function driftFeature(
  held: Held,
  feature: string,
  query: DriftDetailQuery,
): Promise<wire.DriftDetail | null> {
  const { features, kind } = await drift(held, query)
  const own = features.find((each) => each.feature === feature)
  if (own === undefined || kind === null) return null
  const window = query.window === null ? own.windows.at(-1) : own.windows.find((each) => each.window === query.window)
  const rows = window === undefined ? [] : await rowsOf(held, own, { kind, sequence: Number(window.window) })
  const row = rows.find((each) => kindOf(each) === kind)
  if (window === undefined || row === undefined) {
    return { ...own, window: null, against: [], reference_rows: 0, current_rows: 0, bins: [] }
  }
  const current = cells.numbers(row, 'counts')
  const layout = await cellsOf(held, row)
  const stored = cells.numbers(row, 'reference_counts')
  const reference = stored.length > 0 ? stored : layout.map((cell) => cells.number(cell, 'reference_n'))
  return {
    ...own,
    window,
    against: rows.map(againstOf),
    reference_rows: cells.number(row, 'reference_n'),
    current_rows: cells.number(row, 'n'),
    bins: binsOf(layout, reference, current),
  }
}

/** A window's rows of one quantity under one file of the model, one for each reference, training first. */
async function rowsOf(
  held: Held,
  { feature, model, segment }: wire.DriftFeature,
  { kind, sequence }: { readonly kind: string; readonly sequence: number },
): Promise<JsonRow[]> {
  const [windowKind = ''] = kind.split('/')
  const where = 'sequence = ? AND model = ? AND segment = ? AND window_kind = ?'
  const parameters = [sequence, model, storedSegment(segment), windowKind]
  const found = await held
    .queries()
    .select(`SELECT * FROM ${TABLE} WHERE ${where} AND ${newest(where, 'kind, series, reference')}`, [
      ...parameters,
      ...parameters,
    ])
  const own = found.filter((row) => nameOf(row) === feature)
  const digest = own.find((row) => kindOf(row) === kind)?.digest
  const order = REFERENCES.hour.map(String)
  const place = (row: JsonRow): number => order.indexOf(cells.text(row, 'reference'))
  return own.filter((row) => row.digest === digest).sort((one, other) => place(one) - place(other))
}

const kindOf = (row: JsonRow): string => `${cells.text(row, 'window_kind')}/${cells.text(row, 'reference')}`

function againstOf(row: JsonRow): wire.DriftAgainst {
  const { from: _, until: __, ...verdict } = windowOf(row)
  const reference = cells.text(row, 'reference')
  const rows = cells.number(row, 'reference_n')
  return {
    ...{ kind: kindOf(row), reference, raises_alarms: raisesAlarms(reference), reference_rows: rows },
    ...verdict,
  }
}

/** Cells of a quantity, in order, as they were told last: again where the model version was let go of meanwhile. */
async function cellsOf(held: Held, row: JsonRow): Promise<JsonRow[]> {
  if (!(await held.hasTable('drift_cells'))) return []
  const of = ['model', 'digest', 'kind', 'series'].map((name) => cells.text(row, name))
  const where = 'model = ? AND digest = ? AND kind = ? AND series = ?'
  const last = `rowid IN (SELECT max(rowid) FROM drift_cells WHERE ${where} GROUP BY cell)`
  const found = await held
    .queries()
    .select(`SELECT * FROM drift_cells WHERE ${where} AND ${last} ORDER BY cell`, [...of, ...of])
  return [...found]
}

/** Cells that hold anything on either side; each with its share of the PSI, smoothed as the verdict's is (Jeffreys). */
function binsOf(layout: readonly JsonRow[], reference: readonly number[], current: readonly number[]): wire.Bin[] {
  const total = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0)
  const occupied = current.map((count, at) => count + (reference[at] ?? 0) > 0)
  const k = occupied.filter(Boolean).length
  const [n, m] = [total(current), total(reference)]
  return current.flatMap((count, at) => {
    if (occupied[at] !== true) return []
    const then = reference[at] ?? 0
    const [p, q] = [(count + 0.5) / (n + 0.5 * k), (then + 0.5) / (m + 0.5 * k)]
    const cell = layout[at] ?? {}
    return [
      {
        label: cells.textOr(cell.label, `cell ${at}`),
        kind: cells.textOr(cell.cell_kind, 'category'),
        low: cells.maybeNumber(cell, 'low'),
        high: cells.maybeNumber(cell, 'high'),
        ...{ reference: then, current: count, psi: (p - q) * Math.log(p / q) },
      },
    ]
  })
}

/** How the champion's quantities stand in their newest windows. */
export async function driftCounts(held: Held): Promise<wire.Summary['drift']> {
  const { features } = await drift(held, { model: null, segment: null, kind: null, windows: 24 })
  const of = (verdict: wire.Verdict): number => features.filter((each) => each.verdict === verdict).length
  const psi = (each: wire.DriftFeature): number => each.windows.at(-1)?.psi ?? 0
  const worst = [...features].sort((a, b) => rank(b.verdict) - rank(a.verdict) || psi(b) - psi(a))[0]
  return {
    ...{ features: features.length, drift: of('drift'), watch: of('watch'), insufficient: of('insufficient') },
    worst:
      worst === undefined
        ? null
        : {
            ...{ feature: worst.feature, verdict: worst.verdict, since: worst.since },
            psi: worst.windows.at(-1)?.psi ?? null,
            psi_low: worst.windows.at(-1)?.psi_low ?? null,
          },
  }
}

/** A closed window of one quantity as the stream tells it. */
export function driftEvent(row: JsonRow): object {
  return {
    feature: nameOf(row),
    ...{ model: cells.text(row, 'model'), segment: shownSegment(cells.text(row, 'segment')) },
    kind: kindOf(row),
    ...windowOf(row),
  }
}
