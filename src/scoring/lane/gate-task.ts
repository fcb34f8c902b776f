// The gate in a model's thread: reads a bundle, runs the gate over it, says what came of it. What it does is in
// models/bundle.ts and models/gate.ts.
import { AssayError } from '../../errors.js'
import { readBundle } from '../../models/bundle.js'
import { openAdmitted } from '../../models/gate.js'
import type { ModelSession } from '../../models/session.js'
import { systemClock } from '../../runtime/clock.js'
import { createRests } from '../../runtime/rests.js'
import { batchRowsMax, type GateAnswer, type GateWire } from './wire.js'

/** The answer, and the session that has passed; null where none has. */
export async function runGate(
  task: GateWire,
): Promise<{ readonly answer: GateAnswer; readonly session: ModelSession | null }> {
  const { directory, identity, facts, limits, isBeside, providers } = task
  try {
    const bundle = await readBundle(directory, { limits, identity })
    const { kind } = bundle.manifest
    if (kind !== 'onnx') {
      const { name, version } = identity
      throw new AssayError('ASSAY_BUNDLE_REFUSED', `${name}@${version} cannot be routed to: it is not an ONNX model`)
    }
    const { admission, session } = await openAdmitted(bundle, facts, {
      ...{ limits, clock: systemClock, providers },
      rowsMax: Math.max(limits.flightRowsMax, batchRowsMax(providers, limits)),
      ...(isBeside && { rest: createRests(systemClock) }),
    })
    return { answer: { bundle, admission }, session }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    const { code, message, errors } = error
    return { answer: { code, detail: message, errors }, session: null }
  }
}
