// A lane thread like the real one, around the real session, that obeys a few values in the first column of its rows.
import assert from 'node:assert'
import { parentPort, workerData } from 'node:worker_threads'
import { openSession } from '../../src/models/session.js'
import { serveLane } from '../../src/scoring/lane/thread.js'
import { isLaneWire } from '../../src/scoring/lane/wire.js'
import { MORTAL } from './lane-rig.js'

const data: unknown = workerData
assert(parentPort !== null && isLaneWire(data))
const port = parentPort
await serveLane(data, {
  async open(bundle, options) {
    const session = await openSession(bundle, options)
    return {
      ...session,
      async run(rows, count, out) {
        const firsts = Array.from({ length: count }, (_, i) => rows[i * session.columns])
        if (firsts.includes(MORTAL.exit)) process.exit(3)
        if (firsts.includes(MORTAL.uncaught)) await new Promise(() => setImmediate(fall))
        if (firsts.includes(MORTAL.pause)) await new Promise((resolve) => setTimeout(resolve, 50))
        return session.run(rows, count, out)
      },
    }
  },
  post: (message) => port.postMessage(message),
  monoMs: () => performance.now(),
})

function fall(): void {
  throw new Error('an error that nobody catches')
}
