// Where the decision-log thread starts: the real disk, the loop of thread.ts, nothing else.
import { parentPort, workerData } from 'node:worker_threads'
import { createDisk } from './disk.js'
import { isThreadData, runLogThread } from './thread.js'

const data: unknown = workerData
if (!isThreadData(data)) throw new TypeError('the decision-log thread was started without its data')
await runLogThread(data, createDisk(data.directory), (message) => parentPort?.postMessage(message))
