// The gate in a thread of its own, so that requests are answered while a model is read, hashed and measured.
// Invariant: the caller's thread runs no native code of a model. It refuses what the gate refuses, and a gate that does
// not come to an end in time: such a thread may hang inside a native call, and counts among the process's hangs.
import { Worker } from 'node:worker_threads'
import type { LaneProviders } from '../contract/providers.js'
import { AssayError, type ErrorCode, errorOf, type InputFault } from '../errors.js'
import type { Limits } from '../limits.js'
import { answerOf } from '../runtime/worker-answer.js'
import type { Bundle } from './bundle.js'
import type { CatalogueFacts } from './columns.js'
import type { Admission } from './gate.js'

/** What the thread is started with. */
export interface GateWire {
  readonly directory: string
  readonly identity: { readonly name: string; readonly version: string }
  readonly facts: CatalogueFacts
  readonly limits: Limits
  /** Payments are answered on these cores meanwhile: in slices, at rest for most of the time. */
  readonly isBeside: boolean
  /** What the lane will run on. */
  readonly providers: LaneProviders
}

export interface Admitted {
  readonly bundle: Bundle
  readonly admission: Admission
}

export type GateAnswer =
  Admitted | { readonly code: ErrorCode; readonly detail: string; readonly errors: readonly InputFault[] }

export interface ApartDeps {
  /** The thread was given up inside a native call, and when it came back. */
  readonly hangs: { abandoned(): void; returned(): void }
}

/**
 * Reads the ONNX bundle in `directory` and runs the gate. Rejects with ASSAY_BUNDLE_REFUSED as `readBundle` and `admit`
 * do, and with ASSAY_MODEL_FAILED where the thread ended without an answer or took longer than `laneStartMs`.
 */
export async function admitApart(wire: GateWire, { hangs }: ApartDeps): Promise<Admitted> {
  const { name, version } = wire.identity
  const file = new URL('./gate-thread.js', import.meta.url)
  const worker = new Worker(file, { workerData: wire, name: `gate ${name}@${version}`, execArgv: [] })
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const answer = await answerOf(worker, wire.limits.laneStartMs).catch((cause: unknown) => {
    throw new AssayError('ASSAY_MODEL_FAILED', `the thread of the gate failed: ${errorOf(cause).message}`, { cause })
  })
  if (!isAnswer(answer)) {
    hangs.abandoned()
    void ended.then(() => hangs.returned())
    worker.unref()
    void worker.terminate()
    throw new AssayError('ASSAY_MODEL_FAILED', `${name}@${version}: the gate took over ${wire.limits.laneStartMs} ms`)
  }
  // The session is freed with its thread: a load is over only then.
  await ended
  if ('code' in answer) throw new AssayError(answer.code, answer.detail, { errors: answer.errors })
  return answer
}

function isAnswer(value: unknown): value is GateAnswer {
  return typeof value === 'object' && value !== null && ('bundle' in value || 'code' in value)
}
