// A worker thread that tries to open a listener and says what came of it; http-edges.test.ts starts it. No test itself.
import { parentPort } from 'node:worker_threads'
import { openRig } from './http-rig.js'

await openRig().then(
  () => parentPort?.postMessage('open'),
  (error: unknown) => parentPort?.postMessage(String(error)),
)
