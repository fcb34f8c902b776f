// Where the gate runs apart from the thread that answers requests: reads a bundle, runs the gate over it, says what
// came of it, ends. Everything it does is in bundle.ts and gate.ts, which are imported once the thread has given way:
// that takes 0.25 s of CPU. It refuses any other start.
import assert from 'node:assert'
import { parentPort, workerData } from 'node:worker_threads'
import { AssayError } from '../errors.js'
import { systemClock } from '../runtime/clock.js'
import { giveWay } from '../runtime/give-way.js'
import { createRests } from '../runtime/rests.js'
import type { GateAnswer, GateWire } from './admit-apart.js'

function isGateWire(data: unknown): data is GateWire {
  return typeof data === 'object' && data !== null && 'directory' in data && 'identity' in data && 'facts' in data
}

async function run({ directory, identity, facts, limits, isBeside, providers }: GateWire): Promise<GateAnswer> {
  const { readBundle } = await import('./bundle.js')
  const { admit } = await import('./gate.js')
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

const data: unknown = workerData
assert(parentPort !== null && isGateWire(data), 'a gate thread is started by admitApart')
giveWay()
parentPort.postMessage(await run(data))
