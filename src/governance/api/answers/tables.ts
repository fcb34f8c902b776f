// Short tables, newest first: control records, findings of the reader.
import type { ControlState } from '../../../contract/control-state.js'
import type * as wire from '../../../contract/governance.js'
import type { JsonRow, JsonValue } from '../../store/queries.js'
import type { PageQuery } from '../source.js'
import * as cells from './cells.js'
import { cursorOf } from './decisions.js'
import type { Held } from './held.js'

export async function audit(held: Held, query: PageQuery): Promise<wire.Audit> {
  const page = await held.queries().controls({ limit: query.limit, cursor: cursorOf(query.after) })
  return { controls: page.rows.map(controlOf), next: page.next === null ? null : String(page.next) }
}

export function controlOf(row: JsonRow): wire.Control {
  const state = row.state
  return {
    at: cells.time(cells.number(row, 'folded_at_ms')),
    ...{ kind: cells.text(row, 'kind'), actor: cells.text(row, 'actor'), reason: cells.text(row, 'reason') },
    model: modelIn(state),
    remote_address: cells.maybeText(row, 'remote_address'),
    routes: routesIn(state),
    policy: cells.isRow(state) ? cells.maybeText(state, 'policy_fingerprint') : null,
    ...{ epoch: cells.number(row, 'epoch'), sequence: cells.number(row, 'sequence') },
  }
}

/** Routes without the experiment's key, which would let anyone choose ids for a bucket. */
export function routesOf({ experiment_key: _, ...routes }: ControlState['routes']): wire.Routes {
  return routes
}

function modelIn(state: JsonValue | undefined): string | null {
  const change = cells.isRow(state) ? state.change : undefined
  return cells.isRow(change) ? cells.maybeText(change, 'model') : null
}

/** A control record holds what changed; null where that is not the routes. */
function routesIn(state: JsonValue | undefined): wire.Routes | null {
  const routes = cells.isRow(state) ? state.routes : undefined
  if (!cells.isRow(routes)) return null
  const challenger = cells.maybeText(routes, 'challenger')
  return {
    ...{ name: cells.text(routes, 'name'), champion: cells.text(routes, 'champion'), challenger },
    ...{ share: cells.number(routes, 'share'), baseline: cells.text(routes, 'baseline') },
    ...{ sticky_by: cells.text(routes, 'sticky_by'), experiment: cells.text(routes, 'experiment') },
    revision: cells.number(routes, 'revision'),
  }
}

export async function findings(held: Held): Promise<wire.Finding[]> {
  const rows = await held.queries().findings()
  return rows.map((row) => ({
    ...{ kind: cells.text(row, 'kind'), harmless: !cells.flag(row, 'damage'), detail: cells.text(row, 'detail') },
    ...{ segment: cells.text(row, 'log_segment'), offset: cells.number(row, 'log_offset') },
    ...{ epoch: cells.number(row, 'epoch'), sequence: cells.number(row, 'sequence') },
  }))
}
