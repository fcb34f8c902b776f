// A model that is not trusted yet, in a process of its own: what it declares, rows through it, the gate over its
// bundle. Invariant: a model that crashes, hangs or takes more memory than the bound ends with its process, as a coded
// refusal; the command that asked lives on and cleans up.
import assert from 'node:assert'
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { InferenceSession } from 'onnxruntime-node'
import { AssayError, type ErrorCode, type InputFault } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { CatalogueFacts } from '../columns.js'
import type { Admission } from '../gate.js'
import type { ModelInput } from '../inputs.js'
import type { Wiring } from '../session.js'

export type Declared = InferenceSession.ValueMetadata

export interface Opened {
  readonly digest: string
  readonly bytes: number
  readonly inputs: readonly Declared[]
  readonly outputs: readonly Declared[]
}

/** What an output was in a real run: declared shapes lie. */
export interface RanOutput {
  readonly name: string
  readonly type: string
  readonly dims: readonly number[]
}

export type NativeRequest =
  | { readonly kind: 'open'; readonly path: string }
  | { readonly kind: 'probe'; readonly inputs: readonly ModelInput[]; readonly rows: Float64Array }
  | { readonly kind: 'score'; readonly wiring: Wiring; readonly rows: Float64Array }
  | { readonly kind: 'gate'; readonly directory: string; readonly facts: CatalogueFacts }

export type NativeAnswer =
  | { readonly opened: Opened }
  | { readonly outputs: readonly RanOutput[] }
  | { readonly raw: Float64Array }
  | { readonly admission: Admission }
  | { readonly code: ErrorCode; readonly detail: string; readonly errors: readonly InputFault[] }

export interface NativeModel {
  readonly opened: Opened
  /** Runs rows (row-major, as wide as the inputs together) once. */
  probe(inputs: readonly ModelInput[], rows: Float64Array): Promise<readonly RanOutput[]>
  /** The raw output of each row, NaN where there is none. */
  score(wiring: Wiring, rows: Float64Array): Promise<Float64Array>
  /** Reads the bundle in `directory` and runs the gate over it. */
  gate(directory: string, facts: CatalogueFacts): Promise<Admission>
  close(): void
}

/** Rows of one message: some 10 ms of work, and far from `laneStartMs` for the slowest model that could serve. */
const CHUNK_ROWS = 1_024
/** Milliseconds between two looks at the memory of the process. */
const LOOK_MS = 50

/** Opens the model file in a process of its own. Rejects with ASSAY_BUNDLE_REFUSED as every call here does. */
export async function openNative(path: string, limits: Limits): Promise<NativeModel> {
  const child = fork(fileURLToPath(new URL('./native-process.js', import.meta.url)), [], {
    ...{ serialization: 'advanced', execArgv: [], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] },
  })
  const memory = watchMemory(child, limits.onboardBytesMax)
  const ask = async (request: NativeRequest): Promise<Exclude<NativeAnswer, { code: ErrorCode }>> => {
    const answer = await exchange(child, request, limits.laneStartMs)
    if (typeof answer === 'string') throw refused(memory.exceeded() ?? answer)
    if ('code' in answer) throw new AssayError(answer.code, answer.detail, { errors: answer.errors })
    return answer
  }
  // Whoever waits for an answer then hears that the process died, and cleans up; the signal acts when that is done.
  let interrupted: NodeJS.Signals | null = null
  const onSignal = (signal: NodeJS.Signals): void => {
    interrupted = signal
    child.kill('SIGKILL')
  }
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  const close = (): void => {
    memory.stop()
    child.kill('SIGKILL')
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
    if (interrupted !== null) process.kill(process.pid, interrupted)
  }
  const score = async (wiring: Wiring, rows: Float64Array): Promise<Float64Array> => {
    const { columns } = wiring
    const raw = new Float64Array(rows.length / columns)
    for (let first = 0; first < raw.length; first += CHUNK_ROWS) {
      const part = rows.slice(first * columns, (first + CHUNK_ROWS) * columns)
      const answer = await ask({ kind: 'score', wiring, rows: part })
      assert('raw' in answer)
      raw.set(answer.raw, first)
    }
    return raw
  }
  try {
    const first = await ask({ kind: 'open', path })
    assert('opened' in first)
    return {
      opened: first.opened,
      async probe(inputs, rows) {
        const answer = await ask({ kind: 'probe', inputs, rows })
        assert('outputs' in answer)
        return answer.outputs
      },
      score,
      async gate(directory, facts) {
        const answer = await ask({ kind: 'gate', directory, facts })
        assert('admission' in answer)
        return answer.admission
      },
      close,
    }
  } catch (error) {
    close()
    throw error
  }
}

function refused(detail: string): AssayError {
  return new AssayError('ASSAY_BUNDLE_REFUSED', detail)
}

/** One question and its answer; a text where the process ended or took too long. */
async function exchange(child: ChildProcess, request: NativeRequest, waitMs: number): Promise<NativeAnswer | string> {
  return new Promise((resolve) => {
    const settle = (answer: NativeAnswer | string): void => {
      clearTimeout(timer)
      child.off('message', onMessage).off('exit', onExit)
      resolve(answer)
    }
    const onMessage = (answer: unknown): void => {
      if (isAnswer(answer)) settle(answer)
    }
    const onExit = (): void => settle(`the process that ran it died (${child.signalCode ?? child.exitCode})`)
    const timer = setTimeout(() => settle(`it took over ${waitMs} ms to ${request.kind}`), waitMs)
    child.on('message', onMessage).on('exit', onExit)
    // It may have died between two questions.
    child.send(request, (error) => {
      if (error !== null) onExit()
    })
  })
}

function isAnswer(value: unknown): value is NativeAnswer {
  return typeof value === 'object' && value !== null
}

/** Kills the process above so many bytes; where the system has no /proc nothing is watched. */
function watchMemory(child: ChildProcess, bytesMax: number) {
  let exceeded: string | null = null
  const timer = setInterval(() => {
    if (residentBytes(child.pid) <= bytesMax) return
    exceeded = `it takes more than ${Math.round(bytesMax / 2 ** 20)} MiB of memory`
    child.kill('SIGKILL')
  }, LOOK_MS)
  return { exceeded: () => exceeded, stop: () => clearInterval(timer) }
}

function residentBytes(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
