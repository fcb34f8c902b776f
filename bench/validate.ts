// Micro benchmarks of the contract: CPU nanoseconds per call (user + system, so that neighbours on the machine count
// less), median of rounds. Bodies rotate, so that no branch
// predictor or cache learns one transaction by heart. Run: node dist/bench/validate.js > bench/results/validate.txt
import os from 'node:os'
import { loadConfig } from '../src/config.js'
import { createCanonicalWriter } from '../src/contract/content.js'
import { holdsCardData } from '../src/contract/card-data.js'
import { decisionId } from '../src/contract/decision.js'
import { renderDecision } from '../src/contract/decision-answer.js'
import { createRecordCodecs } from '../src/contract/record.js'
import type { DecisionFacts, DecisionPersonal } from '../src/contract/record-types.js'
import { compileTransaction, isRejection } from '../src/contract/validate.js'
import { LIMITS } from '../src/limits.js'

const ROUNDS = 25
const CALLS = 20_000
const BODIES = 512
const NOW = Date.UTC(2026, 10, 22, 10, 0, 5)

const { policy } = loadConfig({ env: {} })
const validator = compileTransaction(policy, LIMITS)
const codecs = createRecordCodecs(policy.schema)
const bodies = Array.from({ length: BODIES }, (_, index) => Buffer.from(bodyOf(index)))
const transactions = bodies.map((body) => {
  const result = validator.parse(body, NOW)
  if (isRejection(result)) throw new Error(result.detail)
  return result
})

function bodyOf(index: number): string {
  return JSON.stringify({
    transaction_id: `t-${(index * 7919) % 100_003}-${index}`,
    occurred_at: new Date(NOW - index * 977).toISOString(),
    amount_minor: (index * 16_364) % 99_991,
    currency: ['EUR', 'USD', 'GBP', 'JPY'][index % 4],
    customer_id: `${(index * 31) % 5_000}`,
    terminal_id: `${(index * 17) % 10_000}`,
  })
}

const facts: DecisionFacts = {
  ordinal: 123_456,
  unfolded: false,
  epoch: 3,
  mode: 'decide',
  receivedAtMs: NOW,
  foldedAtMs: NOW,
  decidedAtMs: NOW + 1,
  action: 'approve',
  score: 0.003_112_3,
  scoreRaw: 0.003_112_3,
  model: { name: 'fraud-lgbm', version: '1', digest: Buffer.alloc(32, 7), role: 'champion', provider: 'cpu' },
  prescribedModel: 'fraud-lgbm@1',
  bucket: 4711,
  routesRevision: 0,
  experiment: 'default',
  arm: 'champion',
  propensity: 1,
  rules: [],
  rulesShadow: [],
  thresholds: { challengeAt: null, reviewAt: 0.4, declineAt: 0.9 },
  segment: null,
  scoreAction: 'approve',
  reasons: [],
  features: 0,
  degraded: false,
  fallback: [],
  decidedElsewhere: null,
  policy: Buffer.alloc(32, 9),
  stages: { receiveUs: 12, validateUs: 3, featuresUs: 4, inferUs: 210, decideUs: 2 },
}
const personal: DecisionPersonal = {
  transaction: transactions[0],
  vector: Buffer.alloc(4 * policy.catalogue.features.length, 1),
  traceparent: null,
  source: null,
}
const target = Buffer.alloc(8192)
const canonical = createCanonicalWriter(policy.schema)
const logId = Buffer.from('0123456789abcdef', 'hex')
const texts = transactions.map((transaction) => transaction.transactionId)
const snowflakes = texts.map((_, index) => String(2_124_000_000_000_000_000n + BigInt(index) * 4_194_304n))
let sink = 0

function measure(name: string, call: (index: number) => number): void {
  const rounds: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage()
    for (let index = 0; index < CALLS; index++) sink += call(index & (BODIES - 1))
    const { user, system } = process.cpuUsage(start)
    rounds.push(((user + system) * 1000) / CALLS)
  }
  const settled = rounds.slice(5).sort((left, right) => left - right)
  const [low, middle, high] = [settled[0], settled[settled.length >> 1], settled[settled.length - 1]]
  console.log(`${name.padEnd(58)} ${middle.toFixed(0).padStart(6)} ns   (${low.toFixed(0)} … ${high.toFixed(0)})`)
}

function size(result: object): number {
  return Object.keys(result).length
}

console.log(
  `${os.cpus()[0]?.model ?? 'unknown CPU'}, ${os.cpus().length} cores, Node ${process.version}; median (low … high) of rounds`,
)
console.log(`a transaction of 6 fields, ${bodies[0].length} bytes`)
measure(
  'parse: bytes → Transaction, fast path, card search',
  (index) => (validator.parse(bodies[index], NOW) as { amountMinor: number }).amountMinor,
)
measure('parseGeneral: the same by JSON.parse and compiled schema', (index) =>
  size(validator.parseGeneral(bodies[index], NOW)),
)
measure('JSON.parse of the bytes alone, nothing checked', (index) =>
  size(JSON.parse(bodies[index].toString()) as object),
)
measure('card search: a transaction_id of few digits', (index) => (holdsCardData(texts[index]) ? 1 : 0))
measure('card search: a snowflake of 19 digits', (index) => (holdsCardData(snowflakes[index]) ? 1 : 0))
measure('encodeDecision into a buffer, a float32 for each feature', (index) => {
  personal.transaction = transactions[index]
  facts.ordinal = index
  return codecs.encodeDecision(facts, personal, target, 64)
})
measure('canonical form for the content hash', (index) => canonical(transactions[index], target))
measure('decisionId', (index) => decisionId(logId, 3, index, false).length)
measure(
  'renderDecision',
  (index) =>
    renderDecision(facts, { transactionId: texts[index], decisionId: `d_${'a'.repeat(32)}`, logged: 'synced' }).length,
)
if (sink === 0) throw new Error('nothing ran')
