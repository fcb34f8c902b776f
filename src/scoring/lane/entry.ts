// Where a lane thread starts; everything it does is in thread.ts.
// It is an entry of its own, so that thread.ts can be run around another session. It refuses any other start.
import assert from 'node:assert'
import { parentPort, workerData } from 'node:worker_threads'
import { openSession } from '../../models/session.js'
import { serveLane } from './thread.js'
import { isLaneWire } from './wire.js'

const data: unknown = workerData
assert(parentPort !== null && isLaneWire(data), 'a lane thread is started by a lane')
const port = parentPort
await serveLane(data, {
  open: openSession,
  post: (message) => port.postMessage(message),
  monoMs: () => performance.now(),
})
