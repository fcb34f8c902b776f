// The loop of the decision-log thread, over any disk: commit while frames wait, work ahead while none do, then sleep.
// Invariant: the main thread is told of every move of the durable sequence or the health, with at most one message
// under way. The thread ends when the ring was closed and is empty, or when it was told to stop while the disk fails.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { ringReader } from '../runtime/ring.js'
import { createCommitter } from './commit.js'
import type { CommitterOptions } from './commit.js'
import type { Disk } from './disk.js'
import type { Dropped } from './room.js'
import { createGauges } from './gauges.js'

/** What the main thread hands over. Buffers arrive as plain byte arrays. */
export interface ThreadData {
  readonly directory: string
  readonly ring: SharedArrayBuffer
  readonly gauges: SharedArrayBuffer
  readonly options: Omit<CommitterOptions, 'logId' | 'schemas'>
  readonly logId: Uint8Array
  readonly schemas: Uint8Array
  readonly controlState: Uint8Array
  /** Brings later control states (`ControlChange`). */
  readonly controlPort: MessagePort
}

/** From the record after `afterSequence` on, this is the control state. */
export interface ControlChange {
  readonly afterSequence: number
  readonly state: Uint8Array
}

/** What the thread says; `progress` is the only frequent one. */
export type ThreadMessage =
  | 'progress'
  | 'started'
  | { readonly startFailed: string }
  | { readonly fault: string }
  | { readonly dropped: Dropped }
  | { readonly closed: { readonly clean: boolean; readonly staged: number } }

const BACK_OFF_MS_MIN = 10
const BACK_OFF_MS_MAX = 1_000
/** Nothing is lost by waking up now and then: written frames of `buffered` wait for their sync. */
const SLEEP_MS = 250

/** Runs until the log is closed. `post` sends to the main thread. */
export async function runLogThread(
  data: ThreadData,
  disk: Disk,
  post: (message: ThreadMessage) => void,
): Promise<void> {
  const gauges = createGauges(data.gauges)
  const ring = ringReader(data.ring)
  const committer = createCommitter(
    {
      ...{ disk, ring, gauges },
      nowMs: () => Date.now(),
      monoMs: () => performance.now(),
      controlState: createControlStates(data),
      onFault: (fault) => post({ fault }),
      onDropped: (dropped) => post({ dropped }),
    },
    { ...data.options, logId: bufferOf(data.logId), schemas: bufferOf(data.schemas) },
  )
  try {
    committer.start()
  } catch (error) {
    post({ startFailed: error instanceof Error ? error.message : String(error) })
    return
  }
  post('started')
  const tell = (): void => void (gauges.takeMainAsleep() && post('progress'))
  let backOffMs = BACK_OFF_MS_MIN
  for (;;) {
    const result = committer.step()
    if (result === 'idle') {
      if (ring.ended()) break
      // A turn of the loop lets go of what finished in the background.
      if (committer.prepare()) await setImmediate()
      else ring.sleep(SLEEP_MS)
      continue
    }
    tell()
    if (result === 'committed') {
      backOffMs = BACK_OFF_MS_MIN
      continue
    }
    if (gauges.stopped()) break
    gauges.pause(backOffMs)
    backOffMs = Math.min(backOffMs * 2, BACK_OFF_MS_MAX)
  }
  const clean = committer.finish()
  tell()
  post({ closed: { clean, staged: committer.stagedFrames() } })
  committer.letGo()
}

/** The control state that holds before a sequence, out of those sent so far; older ones are let go. */
function createControlStates(data: ThreadData): (firstSequence: number) => Buffer {
  const changes: ControlChange[] = [{ afterSequence: -1, state: data.controlState }]
  return (firstSequence) => {
    for (let got = receiveMessageOnPort(data.controlPort); got !== undefined;) {
      if (isControlChange(got.message)) changes.push(got.message)
      got = receiveMessageOnPort(data.controlPort)
    }
    while ((changes[1]?.afterSequence ?? Infinity) < firstSequence) changes.shift()
    return bufferOf(changes[0]?.state ?? new Uint8Array())
  }
}

function isControlChange(message: unknown): message is ControlChange {
  return typeof message === 'object' && message !== null && 'afterSequence' in message && 'state' in message
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** What `openDecisionLog` hands to a thread that it has started. */
export async function threadData(port: MessagePort | null): Promise<ThreadData & { readonly extra?: unknown }> {
  const data: unknown = port === null ? null : (await once(port, 'message'))[0]
  if (!isThreadData(data)) throw new TypeError('the decision-log thread was started without its data')
  return data
}

function isThreadData(data: unknown): data is ThreadData {
  return typeof data === 'object' && data !== null && 'ring' in data && data.ring instanceof SharedArrayBuffer
}
