// One stored decision as a row of the table and of the stream.
import type { ControlState } from '../../../contract/control-state.js'
import { ACTIONS } from '../../../contract/decision.js'
import type * as wire from '../../../contract/governance.js'
import type { JsonRow } from '../../store/queries.js'
import * as cells from './cells.js'
import { type Masks, openFields } from './masks.js'

export const ENTITY_PREFIX = 'entity_'

/** A stored row as the table and the stream show it; entities that the newest policy does not show are masked. */
export function decisionRow(
  row: JsonRow,
  control: ControlState | null,
  { masks }: { readonly masks: Pick<Masks, 'mask'> },
): wire.DecisionRow {
  const currency = cells.text(row, 'currency')
  const open = openFields(control)
  const entities = Object.keys(row)
    .filter((name) => name.startsWith(ENTITY_PREFIX))
    .map((name) => name.slice(ENTITY_PREFIX.length))
  const shown = entities.map((name) => {
    const value = cells.maybeText(row, ENTITY_PREFIX + name)
    return [name, value !== null && !open.has(name) ? masks.mask(value) : value] as const
  })
  return {
    decision_id: cells.text(row, 'decision_id'),
    transaction_id: cells.text(row, 'transaction_id'),
    decided_at: cells.time(cells.number(row, 'decided_at_ms')),
    mode: cells.text(row, 'mode'),
    action: ACTIONS.find((action) => action === row.action) ?? null,
    score: cells.maybeNumber(row, 'score'),
    amount_minor: cells.number(row, 'amount_minor'),
    currency,
    exponent: exponentOf(control, currency),
    entities: Object.fromEntries(shown),
    model: cells.maybeText(row, 'model'),
    role: cells.maybeText(row, 'role'),
    degraded: cells.flag(row, 'degraded'),
    reasons: cells.rows(row, 'reasons').map((reason) => cells.text(reason, 'code')),
    latency_ms: cells.number(row, 'total_us') / 1000,
  }
}

export function exponentOf(control: ControlState | null, currency: string): number {
  return control?.policy.currencies.list[currency]?.exponent ?? 2
}
