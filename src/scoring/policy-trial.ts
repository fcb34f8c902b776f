// What a policy would have decided of the newest decisions in the log, before anybody is decided under it. Read and
// recomputed in a thread of its own that gives way to payments; one at a time.
import { Worker } from 'node:worker_threads'
import type { Action } from '../contract/decision.js'
import type { Thresholds } from '../contract/manifest.js'
import { digestText } from '../contract/canonical-json.js'
import { type Policy, policyDifferences } from '../contract/policy.js'
import { AssayError, errorOf } from '../errors.js'
import type { Limits } from '../limits.js'
import { answerOf } from '../runtime/worker-answer.js'
import type { LoadedModels } from './models.js'
import type { Standing } from './serving.js'

/** What the thread is started with. */
export interface TrialWire {
  readonly directory: string
  /** Whose effect is asked for. */
  readonly policy: Policy
  /** How many of the newest decisions. */
  readonly last: number
  /** name@version → what the manifest of a loaded model states. */
  readonly stated: readonly (readonly [string, Thresholds | undefined])[]
}

export interface TrialResult {
  /** Decisions looked at: those that were decided, not evaluated or observed. */
  readonly decisions: number
  readonly would_change: number
  /** From which action to which, how many, and their amount in minor units of the base currency. */
  readonly changes: readonly { from: Action; to: Action; decisions: number; amount_minor: number }[]
  /** What each rule would have matched. */
  readonly rules: readonly { id: string; state: string; decisions: number }[]
  /** Their models are not loaded, and the record does not say all of their cuts. */
  readonly not_recomputed: number
}

/** As `?dry_run=true` answers. */
export interface Trial extends TrialResult {
  readonly dry_run: true
  /** Of the policy that serves, and what its change would come to. */
  readonly revision: number
  readonly fingerprint: string
  /** JSON pointers to what would differ. */
  readonly differences: readonly string[]
}

export interface Trials {
  /**
   * What another policy would have made of the newest decisions. Throws ASSAY_CHANGE_CONFLICT while another one runs,
   * ASSAY_LOG_IO where the log cannot be read.
   */
  run(serving: Standing, asked: Standing, last: number): Promise<Trial>
}

/** Of a server's log and the models that it has loaded. */
export function createTrials(
  { directory, loaded }: { readonly directory: string; readonly loaded: LoadedModels },
  { trialMsMax }: Pick<Limits, 'trialMsMax'>,
): Trials {
  let runs = false
  return {
    async run({ policy: served, live }, { policy, policyDigest }, last) {
      if (runs) throw new AssayError('ASSAY_CHANGE_CONFLICT', 'another policy is being tried: retry')
      runs = true
      const file = new URL('./policy-trial-thread.js', import.meta.url)
      const stated = [loaded.baseline, ...loaded.models.values()].map(
        (model) => [model.reference, model.stated] as const,
      )
      const workerData: TrialWire = { directory, policy, last, stated }
      const worker = new Worker(file, { workerData, name: 'policy trial', execArgv: [] })
      // One that fails when nobody waits for it any more.
      worker.on('error', () => undefined)
      try {
        const answer = await answerOf(worker, trialMsMax)
        const fingerprint = digestText(policyDigest)
        const differences = policyDifferences(served, policy)
        if (isResult(answer)) return { dry_run: true, revision: live.revision, fingerprint, differences, ...answer }
        throw new Error(`it took over ${trialMsMax} ms: try fewer decisions`)
      } catch (cause) {
        throw new AssayError('ASSAY_LOG_IO', `the policy could not be tried: ${errorOf(cause).message}`, { cause })
      } finally {
        runs = false
        void worker.terminate()
      }
    },
  }
}

function isResult(answer: unknown): answer is TrialResult {
  return typeof answer === 'object' && answer !== null && 'would_change' in answer
}
