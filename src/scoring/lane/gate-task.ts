// The gate in a model's thread: reads a bundle, runs the gate over it, says what came of it. What it does is in
// models/bundle.ts and models/gate.ts.
import { AssayError } from '../../errors.js'
import { readBundle } from '../../models/bundle.js'
import { admit } from '../../models/gate.js'
import { systemClock } from '../../runtime/clock.js'
import { createRests } from '../../runtime/rests.js'
import type { GateAnswer, GateWire } from './wire.js'

export async function runGate({
  directory,
  identity,
  facts,
  limits,
  isBeside,
  providers,
}: GateWire): Promise<GateAnswer> {
  try {
    const bundle = await readBundle(directory, { limits, identity })
    const { kind } = bundle.manifest
    if (kind !== 'onnx') {
      const { name, version } = identity
      throw new AssayError('ASSAY_BUNDLE_REFUSED', `${name}@${version} cannot be routed to: it is not an ONNX model`)
    }
    const rests = isBeside ? { rest: createRests(systemClock) } : {}
    return { bundle, admission: await admit(bundle, facts, { limits, clock: systemClock, providers, ...rests }) }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    const { code, message, errors } = error
    return { code, detail: message, errors }
  }
}
