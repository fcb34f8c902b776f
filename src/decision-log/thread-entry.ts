// Where the decision-log thread starts: the real disk, the loop of thread.ts, nothing else.
import { parentPort } from 'node:worker_threads'
import { createDisk } from './disk.js'
import { runLogThread, threadData } from './thread.js'

const data = await threadData(parentPort)
await runLogThread(data, createDisk(data.directory), (message) => parentPort?.postMessage(message))
