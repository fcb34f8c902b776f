// The operator of model-swaps.ts, in a thread of his own: on the generator's, what he sends and reads would hold up
// requests for milliseconds, and the swap would be charged with them.
import { parentPort, workerData } from 'node:worker_threads'
import { createOperationsClient } from '../src/scoring/operations-client.js'

export interface SwapData {
  readonly url: string
  readonly model: string
}

/** Versions: `next` comes in the place of `now`, `after` is taken out. */
export interface Swap {
  readonly now: string
  readonly next: string
  readonly after: string | null
}

const { url, model } = workerData as SwapData
const client = createOperationsClient({ url, answerMsMax: 60_000 }, {})
const reason = 'a swap of the proof'

/** Milliseconds that it took. */
async function swap({ now, next, after }: Swap): Promise<number> {
  const beganMs = performance.now()
  await client.ask('POST', `/v1/models/${model}/${next}:load`, { reason })
  const { body, tag } = await client.ask('GET', '/v1/routes')
  if (body.champion !== `${model}@${now}`) throw new Error(`${String(body.champion)} answers, not version ${now}`)
  await client.ask('PUT', '/v1/routes', { champion: `${model}@${next}`, reason }, tag)
  if (after !== null) await client.ask('POST', `/v1/models/${model}/${after}:unload`, { reason })
  return performance.now() - beganMs
}

parentPort?.on('message', (wanted: Swap) => void swap(wanted).then((ms) => parentPort?.postMessage(ms)))
