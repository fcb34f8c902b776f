// Where a model's thread starts. It does one task after the other: to run the gate over a bundle (gate-task.ts), or to
// serve a lane (thread.ts) until its rows ring is closed. It refuses any other task.
// The session that has passed the gate serves the lane that follows; where none of that bundle does, it is closed.
import assert from 'node:assert'
import { isDeepStrictEqual } from 'node:util'
import { parentPort } from 'node:worker_threads'
import type { Bundle } from '../../models/bundle.js'
import { type ModelSession, openSession } from '../../models/session.js'
import { serveLane } from './thread.js'
import { type GateWire, isGateWire, isLaneWire } from './wire.js'

assert(parentPort !== null, 'a model thread is started by threads.ts')
const port = parentPort
let admitted: { readonly bundle: Bundle; readonly session: ModelSession } | null = null

async function gate(task: GateWire): Promise<void> {
  await takeAdmitted(null)
  // Imported where it is needed, which takes 0.25 s of CPU: the thread that replaces a lost one runs no gate.
  const { runGate } = await import('./gate-task.js')
  const { answer, session } = await runGate(task)
  if ('bundle' in answer && session !== null) admitted = { bundle: answer.bundle, session }
  port.postMessage(answer)
}

/** The session, if it is of this bundle. */
async function takeAdmitted(bundle: Bundle | null): Promise<ModelSession | null> {
  const last = admitted
  admitted = null
  if (last === null) return null
  const { digest, manifest } = last.bundle
  if (digest === bundle?.digest && isDeepStrictEqual(manifest, bundle.manifest)) return last.session
  await last.session.close()
  return null
}

async function run(task: unknown): Promise<void> {
  if (isGateWire(task)) return gate(task)
  assert(isLaneWire(task), 'a model thread runs the gate or serves a lane')
  await serveLane(task, {
    open: async (bundle, options) => (await takeAdmitted(bundle)) ?? openSession(bundle, options),
    post: (message) => port.postMessage(message),
    monoMs: () => performance.now(),
  })
  port.postMessage({ kind: 'ended' })
}

port.on('message', (task: unknown) => void run(task))
