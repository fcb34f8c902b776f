// Where a model's thread starts. It does one task after the other: to run the gate over a bundle (gate-task.ts), or to
// serve a lane (thread.ts) until its rows ring is closed. It refuses any other task.
import assert from 'node:assert'
import { parentPort } from 'node:worker_threads'
import { openSession } from '../../models/session.js'
import { serveLane } from './thread.js'
import { isGateWire, isLaneWire } from './wire.js'

assert(parentPort !== null, 'a model thread is started by threads.ts')
const port = parentPort

async function run(task: unknown): Promise<void> {
  if (isGateWire(task)) {
    // Imported where it is needed, which takes 0.25 s of CPU: the thread that replaces a lost one runs no gate.
    const { runGate } = await import('./gate-task.js')
    port.postMessage(await runGate(task))
    return
  }
  assert(isLaneWire(task), 'a model thread runs the gate or serves a lane')
  await serveLane(task, {
    open: openSession,
    post: (message) => port.postMessage(message),
    monoMs: () => performance.now(),
  })
  port.postMessage({ kind: 'ended' })
}

port.on('message', (task: unknown) => void run(task))
