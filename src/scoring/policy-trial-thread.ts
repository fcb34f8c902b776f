// Where a policy is tried, apart from the thread that answers requests. What it does is in policy-trial-run.ts, which
// is imported once the thread has given way: that takes 0.2 s of CPU. It refuses any other start.
import assert from 'node:assert'
import { parentPort, workerData } from 'node:worker_threads'
import { giveWay } from '../runtime/give-way.js'
import type { TrialWire } from './policy-trial.js'

function isTrialWire(data: unknown): data is TrialWire {
  return typeof data === 'object' && data !== null && 'directory' in data && 'policy' in data && 'last' in data
}

const data: unknown = workerData
assert(parentPort !== null && isTrialWire(data), 'a trial thread is started by createTrials')
giveWay()
const { runTrial } = await import('./policy-trial-run.js')
parentPort.postMessage(await runTrial(data))
