// Where the decision-log thread starts: the real disk, the loop of thread.ts, nothing else.
import { parentPort, workerData } from 'node:worker_threads'
import { createDisk } from './disk.js'
import { runLogThread } from './thread.js'
import type { ThreadData } from './thread.js'

const data: ThreadData = workerData
runLogThread(data, createDisk(data.directory), (message) => parentPort?.postMessage(message))
