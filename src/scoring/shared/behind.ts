// What was decided while the shared state did not answer is written back from the decision log: claimed, folded and
// committed as if it came now, in the order of the log, a few records at a time. Where another server has decided the
// same transaction meanwhile, its decision stands and ours is superseded. A small file says from where on, so that a
// restart goes on with it. Invariant: each record is written back at least once, and counts once.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logged } from '../../contract/decision.js'
import { decisionIdOf } from '../../contract/decision-answer.js'
import type { RecordDecoder } from '../../contract/record.js'
import type { DecodedRecord } from '../../contract/record-types.js'
import type { TransactionSchema } from '../../contract/transaction.js'
import type { DecisionLog } from '../../decision-log/port.js'
import type { Position } from '../../decision-log/reader.js'
import { AssayError, errorOf } from '../../errors.js'
import { createRenderer } from '../answers.js'
import { openRecords } from '../restore.js'
import type { Supersede } from '../supersede.js'
import type { Stage } from './stage.js'
import type { Words } from './words.js'

export interface BehindDeps {
  readonly dataDir: string
  /** Of the decision log. */
  readonly directory: string
  readonly log: Pick<DecisionLog, 'logId' | 'epoch' | 'durableSequence'>
  readonly logged: Logged
  /** In whose order a transaction has its fields. */
  readonly schema: TransactionSchema
  readonly stage: Stage
  readonly words: Words
  readonly supersede: Supersede
  readonly isUp: () => boolean
  readonly onSuperseded: () => void
  readonly onFault: (error: AssayError) => void
  /** Ten times a second: records that wait. */
  readonly onLook: (records: number) => void
  readonly onDone: (records: number) => void
}

export interface Behind {
  leftBehind(sequence: number): void
  close(): void
}

interface From {
  readonly epoch: number
  readonly sequence: number
}

const FILE = 'state-behind.json'
const EVERY_MS = 100
/** Records looked at in one go, and of them written back at once. */
const RECORDS = 512
const AT_ONCE = 32

export function createBehind(deps: BehindDeps): Behind {
  const { log, stage } = deps
  const path = join(deps.dataDir, FILE)
  const render = createRenderer(log.logId)
  let from = readFrom(path)
  /** The last that is known to wait; it may not be durable yet. */
  let newest = from === null ? -1 : log.durableSequence()
  const decoders = new Map<string, RecordDecoder>()
  let isRunning = false
  let written = 0

  function keep(next: From | null): void {
    from = next
    if (next === null) rmSync(path, { force: true })
    else writeFileSync(path, `${JSON.stringify(next)}\n`)
  }

  /** False: it is to be tried again later. */
  async function writeBack(record: DecodedRecord): Promise<boolean> {
    if (record.type === 'label') {
      await deps.words.deliver(record.label.label)
      return true
    }
    if (record.type !== 'decision' && record.type !== 'observed') return true
    const { facts, personal } = record
    if (facts.unfolded || facts.decidedElsewhere !== null) return true
    const { transaction } = personal
    const body = render(facts, transaction.transactionId, deps.logged)
    const becomes = facts.mode === 'observe' ? 'O' : 'D'
    const committed = await stage.writeBack(transaction, becomes, body, facts.foldedAtMs)
    if (committed === 'claimed') return false
    written++
    if (committed.kind !== 'lost') return true
    const own = decisionIdOf(body)
    if (own === null || (committed.body !== null && decisionIdOf(committed.body) === own)) return true
    deps.onSuperseded()
    return deps.supersede(own, 'another server has decided it')
  }

  /** Some records; false where there is none yet, or one has to be tried again. */
  async function some(begin: From): Promise<boolean> {
    const position = { logId: log.logId, epoch: begin.epoch, sequence: begin.sequence - 1 }
    const records = openRecords(deps.directory, { live: true, from: position, schema: deps.schema, decoders })
    const read: DecodedRecord[] = []
    let until: Position | null = null
    try {
      records.read({ onRecord: (record) => void read.push(record) }, RECORDS)
      until = records.position()
    } finally {
      records.close()
    }
    if (read.length === 0 || until === null) return false
    for (let at = 0; at < read.length; at += AT_ONCE) {
      const done = await Promise.all(read.slice(at, at + AT_ONCE).map(writeBack))
      if (done.includes(false)) return false
    }
    const isDone = until.sequence >= newest
    // What was left behind meanwhile may lie before.
    if (from === begin) keep(isDone ? null : { epoch: until.epoch, sequence: until.sequence + 1 })
    return true
  }

  async function run(): Promise<void> {
    try {
      while (from !== null && deps.isUp() && from.sequence <= log.durableSequence()) {
        if (!(await some(from))) return
      }
      if (from === null && written > 0) {
        deps.onDone(written)
        written = 0
      }
    } catch (error) {
      deps.onFault(error instanceof AssayError ? error : new AssayError('ASSAY_INTERNAL', errorOf(error).message))
    }
  }

  const records = (): number => (from === null ? 0 : Math.max(0, log.durableSequence() + 1 - from.sequence))
  const timer = setInterval(() => {
    deps.onLook(records())
    if (isRunning || from === null || !deps.isUp()) return
    isRunning = true
    void run().finally(() => (isRunning = false))
  }, EVERY_MS)
  timer.unref()

  return {
    leftBehind(sequence) {
      newest = Math.max(newest, sequence)
      if (from === null || sequence < from.sequence) keep({ epoch: log.epoch, sequence })
    },
    close: () => clearInterval(timer),
  }
}

function readFrom(path: string): From | null {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return null
  }
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null || !('epoch' in value) || !('sequence' in value)) return null
  return { epoch: Number(value.epoch), sequence: Number(value.sequence) }
}
