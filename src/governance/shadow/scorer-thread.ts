// The shadow thread: scores what it is given, one request after the other. A model that is slow, or never comes back
// from its own native call, holds up this thread alone; the sidecar goes on and sheds.
import { parentPort, workerData } from 'node:worker_threads'
import { createShadowScorer } from './scorer.js'
import { type FromShadowThread, isThreadData, type ToShadowThread } from './wire.js'

if (parentPort === null) throw new Error('this file is the entry of a thread')
const port = parentPort
const data: unknown = workerData
if (!isThreadData(data)) throw new TypeError('the shadow thread was started without its data')
const { modelsDir, shadows } = data
const scorer = createShadowScorer(modelsDir)
const post = (message: FromShadowThread, moved: ArrayBuffer[] = []): void => {
  port.postMessage(message, moved)
}

async function serve(message: ToShadowThread): Promise<void> {
  if (message.kind === 'close') {
    await scorer.close()
    port.close()
    return
  }
  const scores = Float64Array.from(await scorer.score(message.group))
  post({ kind: 'scored', id: message.id, scores, models: scorer.models() }, [scores.buffer])
}

let last: Promise<void> = scorer.load(shadows).then(() => {
  post({ kind: 'ready', models: scorer.models() })
})
port.on('message', (message: ToShadowThread) => {
  last = last.then(() => serve(message))
  // An error here is a fault of this program: it ends the thread, and the host starts another.
  last.catch((error: unknown) => {
    setImmediate(() => {
      throw error
    })
  })
})
