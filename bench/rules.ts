// What rules and segments cost a decision: CPU nanoseconds of `decide` with 50 rules of three tests and 20 segments,
// against none; 2 µs are allowed. Beside rules as they are written (most fail at their first test) stand such as are
// all looked at to their last test, and often match; and the reference policy, as it is and with a value on its hashed
// list. Run: node dist/bench/rules.js > bench/results/rules.txt
import { loadConfig } from '../src/config.js'
import { rulesFaults } from '../src/contract/rules-check.js'
import type { Policy } from '../src/contract/policy.js'
import type { Condition, Rule, Test } from '../src/contract/rules.js'
import { createSubject, hashedValue, type Subject } from '../src/decision/condition.js'
import { createDecider, type Decided, thresholdsOf } from '../src/decision/decide.js'
import { compileCatalogue } from '../src/features/compile.js'
import { machine } from './report.js'

const [RULES, SEGMENTS, SUBJECTS, CALLS, ROUNDS] = [50, 20, 512, 20_000, 25]
const WANTED_NS = 2_000

const { policy } = loadConfig({ env: {} })
const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
const lists = { terminals: { values: Array.from({ length: 1_000 }, (_, at) => ({ value: `${at * 97}` })) } }

/** Three tests of different kinds, in turn; `first` is put before them. */
function conditionOf(at: number, first: Test): Condition {
  const others: Test[] = [
    { feature: catalogue.names[(at * 5) % catalogue.size], op: 'gt', value: 2 + (at % 40) },
    { field: 'amount', op: 'gt', value: 10 + at },
    { answer: 'score', op: 'ge', value: 0.01 + at / 200 },
    { field: 'terminal_id', op: 'in_list', value: 'terminals' },
    { field: 'currency', op: 'ne', value: 'USD' },
  ]
  return { all: [first, others[at % others.length], others[(at + 2) % others.length]] }
}

function rulesOf(first: (at: number) => Test): Rule[] {
  return Array.from({ length: RULES }, (_, at) => ({
    ...{ id: `rule-${at}`, when: conditionOf(at, first(at)), action: 'review', reason: `why_${at}` },
    state: at % 5 === 0 ? 'shadow' : 'enforce',
  }))
}

/** Fails for nearly everybody. */
const rare = (at: number): Test => ({ feature: catalogue.names[(at * 3) % catalogue.size], op: 'gt', value: 1e5 + at })
/** Holds for everybody. */
const common = (at: number): Test => ({ field: 'amount_minor', op: 'gt', value: at })

const subjects: Subject[] = Array.from({ length: SUBJECTS }, (_, index) => {
  const vectors = Float64Array.from(catalogue.names, (_, at) => (index * 31 + at * 17) % 97)
  const subject = createSubject(vectors)
  const amountMinor = 5_000 + ((index * 16_364) % 99_991)
  const fields = [`${(index * 31) % 5_000}`, `${(index * 17) % 10_000}`]
  const transaction = { ...subject.transaction, amountMinor, amountBaseMinor: amountMinor, currency: 'EUR', fields }
  return { ...subject, transaction, score: (index % 100) / 500, role: 'champion', model: 'fraud-xgb@1' }
})

const segments = Array.from({ length: SEGMENTS }, (_, at) => {
  const when: Condition = {
    all: [
      { field: 'currency', op: 'eq', value: 'EUR' },
      { field: 'amount', op: 'gt', value: 2e6 + at },
    ],
  }
  return { name: `segment-${at}`, when }
})
const bySegment = Object.fromEntries(segments.map(({ name }) => [name, { decline_at: 0.5 }]))

function decideUnder(over: Partial<Policy>): (index: number) => number {
  const own = { ...policy, rules: [], segments: [], thresholds: {}, lists, ...over }
  const faults = rulesFaults(own)
  if (faults.length > 0) throw new Error(JSON.stringify(faults))
  const decider = createDecider(own, catalogue)
  const cuts = thresholdsOf(own, { name: 'fraud-xgb', version: '1', thresholds: { review_at: 0.1, decline_at: 0.6 } })
  if (cuts === null) throw new Error('no cuts')
  const decided: Decided = {
    ...{ action: null, scoreAction: null, thresholds: null, segment: null },
    ...{ rules: [], rulesShadow: [], reasons: [] },
  }
  return (index) => {
    decider.decide(subjects[index], cuts, [], decided)
    return decided.rules.length
  }
}

/** Nanoseconds of CPU a call: the median of rounds, the first fifth left out; and rules that matched a call. */
function measure(call: (index: number) => number): { ns: number; matched: number } {
  const rounds: number[] = []
  let matched = 0
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage()
    for (let index = 0; index < CALLS; index++) matched += call(index & (SUBJECTS - 1))
    const { user, system } = process.cpuUsage(start)
    rounds.push(((user + system) * 1000) / CALLS)
  }
  const settled = rounds.slice(ROUNDS / 5).sort((left, right) => left - right)
  return { ns: settled[settled.length >> 1], matched: matched / (CALLS * ROUNDS) }
}

const { cpu, cores, node } = machine()
console.log(`rules: ${cpu}, ${cores} cores, Node ${node}; CPU a decision, median of ${ROUNDS} rounds\n`)
const thresholds = { 'fraud-xgb@1': { by_segment: bySegment } }
const trusted: Policy['lists'] = { trusted_customers: { hashed: 'sha256', values: [{ value: hashedValue('1') }] } }
const cases: [string, Partial<Policy>, number?][] = [
  ['no rules, no segments', {}],
  ['the reference policy', policy],
  ['the same, a value on its hashed list', { ...policy, lists: { ...policy.lists, ...trusted } }],
  [`${RULES} rules, ${SEGMENTS} segments`, { rules: rulesOf(rare), segments, thresholds }, WANTED_NS],
  ['the same, every rule looked at to its last test', { rules: rulesOf(common), segments, thresholds }],
]
for (const [name, over, wanted] of cases) {
  const { ns, matched } = measure(decideUnder(over))
  const verdict = wanted === undefined ? '' : `wanted ≤ ${wanted} ns: ${ns <= wanted ? 'reached' : 'MISSED'}`
  console.log(
    `  ${name.padEnd(50)}${ns.toFixed(0).padStart(6)} ns   ${matched.toFixed(2).padStart(6)} matched   ${verdict}`,
  )
}
