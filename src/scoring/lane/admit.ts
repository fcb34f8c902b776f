// The gate in a thread of its own, so that requests are answered while a model is read, hashed and measured.
// Invariant: the caller's thread runs no native code of a model. It refuses what the gate refuses, and a gate that does
// not come to an end in time: such a thread may hang inside a native call, and counts among the process's hangs.
import { AssayError, errorOf } from '../../errors.js'
import { answerOf } from '../../runtime/worker-answer.js'
import type { Hangs } from './hangs.js'
import type { ModelThreads } from './threads.js'
import type { Admitted, GateAnswer, GateWire } from './wire.js'

export interface AdmitDeps {
  readonly threads: ModelThreads
  /** The thread was given up inside a native call, and when it came back. */
  readonly hangs: Pick<Hangs, 'abandoned' | 'returned'>
}

/**
 * Reads the ONNX bundle in `directory` and runs the gate. Rejects with ASSAY_BUNDLE_REFUSED as `readBundle` and `admit`
 * do, and with ASSAY_MODEL_FAILED where the thread ended without an answer or took longer than `laneStartMs`.
 */
export async function admitApart(wire: GateWire, { threads, hangs }: AdmitDeps): Promise<Admitted> {
  const { name, version } = wire.identity
  const { laneStartMs } = wire.limits
  const thread = threads.start(wire)
  const answer = await answerOf(thread, laneStartMs).catch((cause: unknown) => {
    throw new AssayError('ASSAY_MODEL_FAILED', `the thread of the gate failed: ${errorOf(cause).message}`, { cause })
  })
  if (!isAnswer(answer)) {
    hangs.abandoned()
    // Ended inside a call of the runtime, it would take the process with it.
    thread.once('message', () => void thread.terminate())
    thread.once('exit', () => hangs.returned())
    thread.unref()
    throw new AssayError('ASSAY_MODEL_FAILED', `${name}@${version}: the gate took over ${laneStartMs} ms`)
  }
  threads.giveBack(thread)
  if (!('code' in answer)) return answer
  throw new AssayError(answer.code, answer.detail, { errors: answer.errors })
}

function isAnswer(value: unknown): value is GateAnswer {
  return typeof value === 'object' && value !== null && ('bundle' in value || 'code' in value)
}
