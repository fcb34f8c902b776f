// A thread entry whose disk stalls on order: `extra` is a shared Int32Array; while [0] is 1 no sync returns, and [1]
// counts the syncs that had to wait. Everything else is the real disk.
import { parentPort } from 'node:worker_threads'
import { createDisk } from '../../src/decision-log/disk.js'
import { runLogThread, threadData } from '../../src/decision-log/thread.js'

const data = await threadData(parentPort)
if (!(data.extra instanceof Int32Array)) throw new TypeError('no data')
const order = data.extra
const real = createDisk(data.directory)
const sync = (fd: number): void => {
  if (Atomics.load(order, 0) === 1) Atomics.add(order, 1, 1)
  while (Atomics.load(order, 0) === 1) Atomics.wait(order, 0, 1)
  real.sync(fd)
}
await runLogThread(data, { ...real, sync }, (message) => parentPort?.postMessage(message))
