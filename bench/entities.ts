// Ten million entities: does a fold ever wait for room? Every transaction brings a new customer until there are so
// many, then known ones come again, then new ones push old ones out at the bound. The same is done three times over,
// and of each fold the shortest time counts: tables that grow and chunks that are made come at the same fold every
// time, what else the machine does does not. Prints one table; exits with 1 where a fold takes longer than allowed.
//
//   node dist/bench/entities.js [--entities 10000000]
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Catalogue } from '../src/contract/catalogue.js'
import { type CompiledCatalogue, compileCatalogue } from '../src/features/compile.js'
import { estimateMemory } from '../src/features/memory.js'
import { createFeatureState, type FeatureState } from '../src/features/state.js'
import { LIMITS } from '../src/limits.js'

/** What a request notices: a tenth of the deadline of the reference policy, µs. */
const PAUSE_US_MAX = 800
const RATE = 2_000
const FIRST_MS = Date.UTC(2026, 0, 1)

const { values } = parseArgs({ options: { entities: { type: 'string', default: '10000000' } } })
const entities = Number(values.entities)

const of = (name: string, rest: object) => ({ name, kind: 'aggregate', entity: 'customer_id', missing: 'nan', ...rest })
const FEATURES = {
  buckets: [
    of('count_1h', { function: 'count', window: '1h', bucketed: '10m' }),
    of('count_7d', { function: 'count', window: '7d', bucketed: '1d' }),
    of('mean_7d', { function: 'mean', of: 'amount', window: '7d', bucketed: '1d' }),
  ],
  exact: [
    of('count_7d', { function: 'count', window: '7d' }),
    of('mean_7d', { function: 'mean', of: 'amount', window: '7d' }),
  ],
}
const schema = { unknown_fields: 'refuse', fields: [{ name: 'customer_id', type: 'string', entity: true }] } as const
const currencies = { base: 'EUR', unlisted: 'refuse', list: { EUR: { exponent: 2, rate: 1 } } } as const

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const REPEATS = 3
const PHASES: readonly {
  readonly name: string
  readonly folds: number
  readonly customer: (turn: number) => number
}[] = [
  { name: 'growing', folds: entities, customer: (turn) => turn },
  { name: 'known', folds: entities / 2, customer: (turn) => (turn * 7_919) % entities },
  { name: 'at the bound', folds: entities / 2, customer: (turn) => entities + turn },
]

interface Run {
  readonly state: FeatureState
  readonly out: Float64Array
  /** The shortest time of each fold so far, µs. */
  readonly shortest: Float32Array
  readonly idPrefix: string
}

/** Keeps the time of a fold where it is the shortest. */
function foldOne({ state, out, shortest, idPrefix }: Run, ordinal: number, customer: number): void {
  const occurredAtMs = FIRST_MS + Math.floor((ordinal * 1_000) / RATE)
  const tx = {
    transactionId: `${idPrefix}${ordinal}`,
    fields: [`c${customer}`],
    amountMinor: 500,
    amountBaseMinor: 500,
    currency: 'EUR',
    occurredAtMs,
    offsetMinutes: 0,
  }
  const from = performance.now()
  state.fold(tx, ordinal, occurredAtMs, out, 0)
  const us = (performance.now() - from) * 1_000
  if (us < shortest[ordinal]) shortest[ordinal] = us
}

/** Folds all phases into a new state; puts the shorter time of each fold, µs, into `shortest`. */
function foldAll(compiled: CompiledCatalogue, repeat: number, shortest: Float32Array): FeatureState {
  const state = createFeatureState(compiled, { limits: LIMITS })
  // The collection that follows the making of its large arrays is none of a fold's.
  collectGarbage()
  // Ids of another length: else the collections of garbage would come at the same folds every time, too.
  const run = { state, out: new Float64Array(compiled.size), shortest, idPrefix: 't'.repeat(1 + 5 * repeat) }
  let ordinal = 0
  for (const { folds, customer } of PHASES) {
    for (let turn = 0; turn < folds; turn++) foldOne(run, ordinal++, customer(turn))
  }
  return state
}

/** False where a fold took longer than what is allowed. */
function measure(name: keyof typeof FEATURES): boolean {
  const bounds = { entities_max: entities, events_max: 1 << 27 }
  const catalogue = { format: 1, bounds, features: FEATURES[name] } as Catalogue
  const compiled = compileCatalogue(catalogue, { ...schema, fields: [...schema.fields] }, currencies)
  const shortest = new Float32Array(PHASES.reduce((sum, { folds }) => sum + folds, 0)).fill(Infinity)
  let state = foldAll(compiled, 0, shortest)
  for (let repeat = 1; repeat < REPEATS; repeat++) state = foldAll(compiled, repeat, shortest)
  let [from, isReached] = [0, true]
  for (const phase of PHASES) {
    const us = shortest.slice(from, (from += phase.folds)).sort()
    const at = (share: number): number => us[Math.floor((us.length - 1) * share)]
    const cells = [at(0.5), at(0.99), at(0.9999), at(1)].map((each) => each.toFixed(1).padStart(8))
    isReached &&= at(1) <= PAUSE_US_MAX
    console.log(
      `${name.padEnd(8)} ${phase.name.padEnd(12)} ${cells.join(' ')}   ${at(1) <= PAUSE_US_MAX ? 'reached' : 'MISSED'}`,
    )
  }
  const size = state.size()
  const load = { rate: RATE, entities: new Map([['customer_id', entities]]), labelShare: 0 }
  const estimate = estimateMemory(compiled, load, LIMITS)
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`
  console.log(
    `${name.padEnd(8)} ${size.entities.customer_id} entities, ${size.events} events: ${mebibytes(size.bytes)}; ` +
      `with full windows at ${RATE}/s ${mebibytes(estimate.bytes)}`,
  )
  return isReached
}

console.log(`${entities} entities; µs a fold, the shortest of ${REPEATS}; allowed ${PAUSE_US_MAX}`)
console.log(`${''.padEnd(21)}      p50      p99   p99.99      max`)
const reached = [measure('buckets'), measure('exact')]
process.exitCode = reached.every(Boolean) ? 0 : 1
