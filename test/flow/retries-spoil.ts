// A decision log written again record by record, as it was but for one decision: what a server with a fault would have
// left behind, whole by every checksum. Holds no test.
import { createRecordCodecs } from '../../src/contract/record.js'
import { decisionId } from '../../src/contract/decision.js'
import { openDecisionLog } from '../../src/decision-log/open.js'
import { LIMITS } from '../../src/limits.js'
import type { ControlState } from '../../src/contract/control-state.js'
import { readDecisionLog } from '../../src/scoring/restore.js'
import { type LoggedDecision, readLog } from './server-rig.js'

export interface Moved {
  readonly logDir: string
  readonly decisionId: string
  readonly feature: string
}

/** Copies the folded decisions of a log into a new one under `folder`; the middle one as `change` leaves it. */
export async function withChanged(
  logDir: string,
  folder: string,
  change: (decision: LoggedDecision, policy: ControlState['policy']) => LoggedDecision,
): Promise<{ readonly decisionId: string }> {
  const head: { control: Buffer; state: ControlState }[] = []
  await readDecisionLog(logDir, {
    onRecord: () => undefined,
    onSegment: ({ controlState }, state) => void head.push({ control: Buffer.from(controlState), state }),
  })
  const [{ control, state }] = head
  const codecs = createRecordCodecs(state.policy.schema)
  const log = await openDecisionLog({
    ...{ directory: folder, durability: 'buffered', limits: LIMITS, diskBytesMax: Infinity },
    ...{ schemas: Buffer.from(codecs.schemas), controlState: () => control, onProgress: () => undefined },
  })
  const { decisions } = await readLog(logDir)
  const folded = decisions.filter(({ facts }) => !facts.unfolded)
  const chosen = folded[folded.length >> 1]
  for (const one of folded) {
    const { facts, personal } = one === chosen ? change(one, state.policy) : one
    if (!log.reserve()) throw new Error('the ring holds the whole log')
    log.append('decision', (buffer, to) => codecs.encodeDecision(facts, personal, buffer, to))
  }
  await log.close(10_000)
  const { epoch, ordinal } = chosen.facts
  return { decisionId: decisionId(log.logId, epoch, ordinal, false) }
}

/** The middle one counts one transaction more. */
export async function withMovedVector(logDir: string, folder: string): Promise<Moved> {
  const feature = 'customer_count_7d'
  const written = await withChanged(logDir, folder, ({ facts, personal }, { catalogue }) => {
    const at = catalogue.features.findIndex(({ name }) => name === feature)
    const vector = Buffer.from(personal.vector)
    vector.writeFloatLE(vector.readFloatLE(4 * at) + 1, 4 * at)
    return { facts, personal: { ...personal, vector } }
  })
  return { ...written, logDir: folder, feature }
}
