// Alerts as the store keeps them.
import type * as wire from '../../../contract/governance.js'
import type { PageQuery } from '../source.js'
import type { Held } from './held.js'

const TABLE = 'alerts'

export async function alerts(held: Held, _query: PageQuery): Promise<wire.Alerts> {
  if (!(await held.hasTable(TABLE))) return { alerts: [], next: null }
  return { alerts: [], next: null }
}

/** How many are firing. */
export async function openAlerts(held: Held): Promise<number> {
  return (await alerts(held, { limit: 1, after: null })).alerts.length
}
