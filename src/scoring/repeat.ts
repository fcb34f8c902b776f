// A transaction that comes again. It gets its first answer, or waits for it; with other content it is refused. One that
// was only observed so far is decided now, and one to be evaluated is scored again: neither is folded a second time.
import type { RecordCodecs } from '../contract/record.js'
import type { Mode } from '../contract/transaction.js'
import type { ErrorCode } from '../errors.js'
import type { Limits } from '../limits.js'
import { type Answers, RETRY_ADVICE } from './answers.js'
import type { Exchange } from './exchange.js'
import type { IdIndex } from './id-index.js'

/** `answered`: it is taken care of. `folded`: it is to be scored, and stands in its windows already. */
export type Repetition = 'new' | 'folded' | 'answered'

export interface RepeatDeps {
  readonly limits: Limits
  readonly index: IdIndex
  readonly codecs: RecordCodecs
  readonly answers: Answers
  readonly refuse: (exchange: Exchange, code: ErrorCode, detail: string) => void
  readonly wake: () => void
}

/** Looks a transaction up by its hashes: id, then content. */
export function createRepeat(deps: RepeatDeps): (hashes: Uint32Array, exchange: Exchange, mode: Mode) => Repetition {
  const { limits, index, codecs, answers, refuse } = deps

  /** Observed, by its record. Until there is one nobody knows what it will say: then the caller waits as for any. */
  function isObserved(entry: number): boolean {
    const held = index.read(entry)
    if (held === null) return false
    const { mode, decidedElsewhere } = codecs.decodeFacts(held.facts)
    return mode === 'observe' && decidedElsewhere === null
  }

  return (hashes, exchange, mode) => {
    const entry = index.find(hashes[0], hashes[1])
    if (entry < 0) return 'new'
    const isSame = index.sameContent(entry, hashes[2], hashes[3])
    if (mode === 'evaluate') return isSame ? 'folded' : 'new'
    if (!isSame) {
      refuse(exchange, 'ASSAY_TRANSACTION_REUSED', 'a transaction_id names one transaction with one content')
      return 'answered'
    }
    if (mode === 'decide' && isObserved(entry)) return 'folded'
    if (answers.awaitFirst(entry, exchange)) deps.wake()
    else {
      const most = `at most ${limits.duplicatesWaitingMax} repeats wait for one decision`
      refuse(exchange, 'ASSAY_DUPLICATES_WAITING', `${most}; ${RETRY_ADVICE}`)
    }
    return 'answered'
  }
}
