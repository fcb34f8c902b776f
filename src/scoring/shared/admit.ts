// Where state is shared, the stages from replay to fold: a transaction is claimed for the fleet and folded there, then
// goes on as any other; what another server has decided is answered with that decision, which is logged here in full.
import { parseDecisionId, FEATURE_FLAGS } from '../../contract/decision.js'
import { decisionIdOf } from '../../contract/decision-answer.js'
import type { Label } from '../../contract/label.js'
import type { Mode, Transaction } from '../../contract/transaction.js'
import type { DecisionLog } from '../../decision-log/port.js'
import type { ErrorCode } from '../../errors.js'
import type { CompiledCatalogue } from '../../features/compile.js'
import type { VectorPlace } from '../../features/shared-windows.js'
import type { Clock } from '../../runtime/clock.js'
import type { Metrics } from '../../telemetry/metrics.js'
import { RETRY_ADVICE } from '../answers.js'
import type { DecidedOffsets } from '../decided.js'
import type { Exchange } from '../exchange.js'
import type { Identity } from '../identity.js'
import type { Context, InFlight } from '../in-flight.js'
import type { Order } from '../order.js'
import type { Repetition } from '../repeat.js'
import { clearDecision, noteUnfolded } from '../row.js'
import type { Begun, Stage } from './stage.js'

/** Its vector is written: the pipeline goes on with it. */
export interface Folded {
  readonly flags: number
  /** False where nothing is left behind of it. */
  readonly folds: boolean
  readonly startMs: number
}

export interface SharedDoorDeps {
  readonly stage: Stage
  readonly clock: Clock
  readonly identity: Identity
  readonly order: Order
  readonly log: DecisionLog
  readonly inFlight: InFlight
  readonly metrics: Metrics
  readonly decided: DecidedOffsets
  readonly catalogue: Pick<CompiledCatalogue, 'size'>
  readonly enter: (exchange: Exchange, mode: Mode) => Context | null
  readonly begin: (context: Context, transaction: Transaction, exchange: Exchange) => void
  readonly repeat: (hashes: Uint32Array, exchange: Exchange, mode: Mode) => Repetition
  readonly resume: (context: Context, folded: Folded) => void
  readonly record: (context: Context) => void
  readonly refuse: (exchange: Exchange, code: ErrorCode, detail: string) => void
  readonly wake: () => void
  /** Words of labels have waited for it. */
  readonly waited: (words: readonly Label[]) => void
}

/** When it began, and where its vector goes. */
interface Beginning {
  readonly startMs: number
  readonly to: VectorPlace
}

/** `elsewhere`: the answer of another server that a stream has told of; null where none is known. */
export interface How {
  readonly mode: Mode
  readonly elsewhere: string | null
}

export interface SharedDoor {
  admit(transaction: Transaction, exchange: Exchange, how: How): void
  /** A decision made here is superseded: the answer is that of another server. */
  lose(context: Context, body: string): void
}

export function createSharedDoor(deps: SharedDoorDeps): SharedDoor {
  const { stage, clock, order, log, inFlight } = deps

  /** The context is not used any more; whatever it had reserved is free again. */
  function letGo(context: Context): void {
    if (context.logged) log.release()
    inFlight.give(context)
  }

  function refuse(context: Context, code: ErrorCode, detail: string): void {
    const { exchange } = context
    letGo(context)
    if (exchange !== null) deps.refuse(exchange, code, detail)
  }

  /** It was decided before: by this log's server, whose record stands, or by another. */
  function answer(context: Context, body: string, isObserved: boolean): void {
    const { facts, exchange } = context
    if (isObserved || isOwn(body)) {
      letGo(context)
      exchange?.answer(isObserved ? 202 : 200, body, true, 0)
      return
    }
    noteUnfolded(facts, log.epoch, order.nextUnfolded(), order.nowMs())
    facts.mode = 'observe'
    facts.features = FEATURE_FLAGS.shared
    clearDecision(facts)
    facts.decidedElsewhere = body
    facts.decidedAtMs = order.nowMs()
    inFlight.vectors.fill(NaN, context.vectorAt, context.vectorAt + deps.catalogue.size)
    context.replayed = exchange?.source === null
    deps.record(context)
  }

  function isOwn(body: string): boolean {
    const id = decisionIdOf(body)
    return id !== null && parseDecisionId(id)?.logId.equals(log.logId) === true
  }

  /** Nobody else can be asked: what this server has decided before is its answer, all else it decides. */
  function decideAlone(context: Context, { startMs, to }: Beginning): void {
    const { exchange, personal, facts } = context
    if (exchange === null) return letGo(context)
    deps.identity.of(personal.transaction)
    const known = deps.repeat(deps.identity.hashes, exchange, facts.mode)
    if (known === 'answered') return letGo(context)
    context.withoutState = true
    deps.metrics.state.decidedLocally()
    const flags = stage.foldAlone(personal.transaction, to, known === 'folded')
    deps.resume(context, { flags: flags | FEATURE_FLAGS.shared | FEATURE_FLAGS.local, folds: true, startMs })
  }

  function hear(context: Context, begun: Begun, beginning: Beginning): void {
    switch (begun.kind) {
      case 'alone':
        return decideAlone(context, beginning)
      case 'folded':
        context.claim = begun.claim
        deps.resume(context, { flags: begun.flags | FEATURE_FLAGS.shared, folds: true, startMs: beginning.startMs })
        if (begun.words.length > 0) deps.waited(begun.words)
        return
      case 'answered':
        return answer(context, begun.body, begun.isObserved)
      case 'reused':
        return refuse(context, 'ASSAY_TRANSACTION_REUSED', 'a transaction_id names one transaction with one content')
      case 'claimed':
        refuse(context, 'ASSAY_DUPLICATES_WAITING', `another server is deciding it; ${RETRY_ADVICE}`)
    }
  }

  /** Its place in a stream is done. The log here may hold a decision that another has superseded. */
  function answerAgain(transaction: Transaction, exchange: Exchange): void {
    deps.wake()
    stage.look(transaction, (standing) => {
      if (standing !== null) exchange.answer(standing.isObserved ? 202 : 200, standing.body, true, 0)
      else deps.refuse(exchange, 'ASSAY_DECISION_UNKNOWN', 'its place in the stream was decided before')
    })
  }

  return {
    admit(transaction, exchange, { mode, elsewhere }) {
      if (exchange.source !== null && deps.decided.has(exchange.source)) {
        if (elsewhere === null) answerAgain(transaction, exchange)
        else exchange.answer(200, elsewhere, true, 0)
        return
      }
      const context = deps.enter(exchange, mode)
      if (context === null) return
      deps.begin(context, transaction, exchange)
      context.facts.decidedElsewhere = null
      deps.wake()
      if (elsewhere !== null) return answer(context, elsewhere, false)
      const startMs = clock.monoMs()
      const peeks = mode === 'evaluate' || !context.logged
      const to = { out: inFlight.vectors, at: context.vectorAt, clockMs: order.nowMs(), peeks }
      if (peeks) {
        stage.peek(transaction, to, (flags, isAlone) => {
          const alone = isAlone ? FEATURE_FLAGS.local : 0
          deps.resume(context, { flags: flags | FEATURE_FLAGS.shared | alone, folds: false, startMs })
        })
      } else {
        const becomes = mode === 'observe' ? 'O' : 'D'
        stage.begin(transaction, becomes, to, (begun) => hear(context, begun, { startMs, to }))
      }
    },
    lose(context, body) {
      context.claim = null
      context.entry = -1
      context.logged = log.reserve()
      if (context.logged) answer(context, body, decisionIdOf(body) === null)
      else refuse(context, 'ASSAY_DECISION_UNCONFIRMED', `another server has decided it; ${RETRY_ADVICE}`)
    },
  }
}
