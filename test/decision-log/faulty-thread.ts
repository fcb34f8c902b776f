// A thread entry whose disk fails or stalls on order: `extra` is a shared Int32Array, [0] 1 = syncs fail, 2 = stall 2 s
// once.
import { parentPort } from 'node:worker_threads'
import { createDisk } from '../../src/decision-log/disk.js'
import type { Disk } from '../../src/decision-log/disk.js'
import { runLogThread, threadData } from '../../src/decision-log/thread.js'

const data = await threadData(parentPort)
if (!(data.extra instanceof Int32Array)) throw new TypeError('no data')
const order = data.extra
const real = createDisk(data.directory)
const disk: Disk = {
  ...real,
  sync(fd) {
    const now = Atomics.load(order, 0)
    if (now === 1) throw new Error('EIO: ordered')
    if (now === 2) {
      Atomics.store(order, 0, 3)
      Atomics.wait(order, 1, 0, 2_000)
    }
    real.sync(fd)
  },
}
await runLogThread(data, disk, (message) => parentPort?.postMessage(message))
