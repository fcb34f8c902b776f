// Says in the log that a decision does not stand, where it is of this log.
import { parseDecisionId } from '../contract/decision.js'
import type { RecordCodecs } from '../contract/record.js'
import type { DecisionLog } from '../decision-log/port.js'
import type { Order } from './order.js'

export interface SupersedeDeps {
  readonly log: DecisionLog
  readonly codecs: Pick<RecordCodecs, 'encodeSuperseded'>
  readonly order: Order
  readonly wake: () => void
}

/** False where the log has no room for it now. */
export type Supersede = (decisionId: string, reason: string) => boolean

export function createSupersede({ log, codecs, order, wake }: SupersedeDeps): Supersede {
  return (decisionId, reason) => {
    const reference = parseDecisionId(decisionId)
    if (reference === null || !reference.logId.equals(log.logId)) return true
    if (!log.healthy() || !log.reserve()) return false
    const { epoch: supersededEpoch, ordinal: supersededOrdinal } = reference
    const place = { epoch: log.epoch, ordinal: order.nextUnfolded(), supersededEpoch, supersededOrdinal }
    const record = { ...place, atMs: order.nowMs(), reason }
    log.append('superseded', (buffer, at) => codecs.encodeSuperseded(record, buffer, at))
    wake()
    return true
  }
}
