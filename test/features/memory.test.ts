// `assay features size`: its figures against what states say that they hold once they were filled with such a load.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Catalogue } from '../../src/contract/catalogue.js'
import type { TransactionSchema } from '../../src/contract/transaction.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { estimateMemory, type Load, type MemoryReport } from '../../src/features/memory.js'
import { sizeCommand } from '../../src/features/size-command.js'
import { createFeatureState, type FeatureStateSize } from '../../src/features/state.js'
import { type Limits, LIMITS } from '../../src/limits.js'
import { createRandom } from '../../src/simulate/random.js'
import { runCommand } from '../run-command.js'

const dir = mkdtempSync(join(tmpdir(), 'assay-memory-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true }))
t.setTimeout(120_000)

const SCHEMA: TransactionSchema = {
  unknown_fields: 'refuse',
  fields: [
    { name: 'device', type: 'string', entity: true },
    { name: 'card', type: 'string', entity: true },
    { name: 'shop', type: 'string', entity: true },
  ],
}
const CURRENCIES = { base: 'EUR', unlisted: 'refuse' as const, list: { EUR: { exponent: 2, rate: 1 } } }
const of = (entity: string, rest: object) => ({ kind: 'aggregate', entity, missing: 'nan', ...rest })
/** Three fields with other columns each: times alone; sums and raw values over many edges; ids and counts. */
const CATALOGUE = {
  format: 1,
  features: [
    { name: 'device_count', ...of('device', { function: 'count', window: '20s' }) },
    ...Array.from({ length: 9 }, (_, i) => ({
      name: `card_mean_${i}`,
      ...of('card', { function: 'mean', of: 'amount', window: `${i + 10}s` }),
    })),
    { name: 'card_shops', ...of('card', { function: 'distinct', of: 'shop', window: '19s' }) },
    { name: 'shop_risk', ...of('shop', { function: 'label_rate', window: '15s', delay: '4s' }) },
  ],
} as Catalogue
const compiled = compileCatalogue(CATALOGUE, SCHEMA, CURRENCIES)

/** A load at random, drawn for so long that every window has been full twice over. */
function fill(load: Load, limits: Limits, catalogue = compiled): FeatureStateSize {
  const state = createFeatureState(catalogue, { limits })
  const random = createRandom(7)
  const out = new Float64Array(catalogue.size)
  const names = SCHEMA.fields.map(({ name }) => name)
  const lasts = 3 * (catalogue.plan.spanMs + limits.lateMsMax)
  let ms = 0
  for (let i = 0; ms < lasts; i++) {
    ms += (random.exponential() * 1000) / load.rate
    const occurredAtMs = Math.floor(ms)
    const fields = names.map((name) => `${name}${random.integer(load.entities.get(name) ?? 1)}`)
    const transactionId = `t${i}`
    const tx = { transactionId, occurredAtMs, offsetMinutes: 0, amountMinor: 5, currency: 'EUR', fields }
    state.fold({ ...tx, amountBaseMinor: 5 }, i, occurredAtMs, out, 0)
    if (random.uniform() >= load.labelShare) continue
    const word = { kind: 'fraud', value: true, source: 's', knownAtMs: occurredAtMs } as const
    state.label({ ...word, transactionId, occurredAtMs, entities: fields }, i, occurredAtMs)
  }
  return state.size()
}

/** Estimated over measured, less one. */
const off = (estimated: number, measured: number): number => estimated / measured - 1

interface Compared {
  readonly report: MemoryReport
  readonly size: FeatureStateSize
  readonly text: string
}

function compare(load: Load, limits: Limits, catalogue = compiled): Compared {
  const report = estimateMemory(catalogue, load, limits)
  const size = fill(load, limits, catalogue)
  const text = `${(report.bytes / 2 ** 20).toFixed(1)} MiB, ${(size.bytes / 2 ** 20).toFixed(1)} measured`
  return { report, size, text }
}

const load = (rate: number, device: number, card: number, shop: number): Load => ({
  rate,
  entities: new Map(Object.entries({ device, card, shop })),
  labelShare: 0.05,
})
const ROOMY: Limits = { ...LIMITS, lateMsMax: 1000, entitiesMax: 400_000, eventsPerEntityMax: 1000 }

for (const each of [load(5_000, 300_000, 12_000, 700), load(5_000, 60_000, 6_000, 1_500)]) {
  const named = [...each.entities].map(([name, entities]) => `${entities} ${name}`).join(', ')
  void t.test(`a state filled at ${each.rate}/s over ${named} takes what is said`, (t) => {
    const { report, size, text } = compare(each, ROOMY)
    for (const field of report.fields) {
      t.ok(Math.abs(off(field.entities, size.entities[field.field])) < 0.02, `entities of ${field.field}`)
      t.same(field.bounds, [])
    }
    const events = report.fields.reduce((sum, field) => sum + field.events, 0)
    t.ok(Math.abs(off(events, size.events)) < 0.02, `events ${events}, ${size.events} measured`)
    t.ok(Math.abs(off(report.bytes, size.bytes)) < 0.1, text)
    t.ok(size.bytes < report.bytes_max)
    t.equal(size.evictions, 0)
    t.end()
  })
}

void t.test(
  'where a bound holds less than the load asks for, it is named and the figure is the one at the bound',
  (t) => {
    const busy = load(5_000, 200_000, 12_000, 20)
    const limits = { ...ROOMY, entitiesMax: 25_000, featureEventsMax: 1 << 17 }
    const { report, size, text } = compare(busy, limits)
    t.same(
      report.fields.map(({ bounds }) => bounds),
      [['entitiesMax'], ['featureEventsMax'], ['eventsPerEntityMax']],
    )
    t.ok(size.evictions > 0)
    t.equal(size.entities.device, 25_000)
    t.ok(Math.abs(off(report.bytes, size.bytes)) < 0.2, text)
    const events = report.fields.reduce((sum, field) => sum + field.events, 0)
    t.ok(Math.abs(off(events, size.events)) < 0.2, `events ${events}, ${size.events} measured`)
    t.ok(size.bytes < report.bytes_max)
    t.end()
  },
)

void t.test('buckets take what is said, up to the bound that the catalogue sets', (t) => {
  const buckets = (bounds: object) =>
    compileCatalogue(
      {
        format: 1,
        ...bounds,
        features: [
          { name: 'card_sum', ...of('card', { function: 'sum', of: 'amount', window: '20s', bucketed: '2s' }) },
          { name: 'shop_risk', ...of('shop', { function: 'label_rate', window: '15s', delay: '5s', bucketed: '5s' }) },
        ],
      } as Catalogue,
      SCHEMA,
      CURRENCIES,
    )
  const limits = { ...ROOMY, clockAheadMsMax: 1000 }
  const busy = load(5_000, 1, 30_000, 700)
  const { report, size, text } = compare(busy, limits, buckets({}))
  t.match(report.buckets, [
    { field: 'card', bounds: [], buckets_each: 12 },
    { field: 'shop', bounds: [] },
  ])
  for (const { field, entities } of report.buckets) {
    t.ok(Math.abs(off(entities, size.entities[field])) < 0.02, `entities of ${field}`)
  }
  t.ok(Math.abs(off(report.bytes, size.bytes)) < 0.1, text)
  t.ok(size.bytes < report.bytes_max)
  t.equal(size.events, 0)
  const bound = compare(busy, limits, buckets({ bounds: { entities_max: 5_000 } }))
  t.same(
    bound.report.buckets.map(({ bounds }) => bounds),
    [['entitiesMax'], []],
  )
  t.equal(bound.size.entities.card, 5_000)
  t.ok(Math.abs(off(bound.report.bytes, bound.size.bytes)) < 0.1, bound.text)
  t.end()
})

void t.test('the command prints the figures as text and as JSON', async (t) => {
  const run = (...args: string[]) => runCommand(sizeCommand, args)
  const text = await run('--rate', '10', '--entities', '1000')
  t.match(text, { code: 0, out: /customer_id: [\d.]+ MiB.*\n.*\n.*\n.*eventsPerEntityMax is reached, 4096 events/ })
  t.match(text.out, /in all [\d.]+ MiB; never more than [\d.]+ MiB, whatever the load\n$/)
  const { out } = await run('--rate', '0.1', '--entities', 'customer_id=5000,terminal_id=10000', '--json')
  const report = JSON.parse(out) as MemoryReport
  t.match(report.fields, [
    { field: 'customer_id', bounds: [] },
    { field: 'terminal_id', bounds: [] },
  ])
  const parts = report.fields.reduce((sum, { bytes }) => sum + bytes.events + bytes.entities + bytes.ids, 0)
  const buckets = report.buckets.reduce((sum, { bytes }) => sum + bytes, 0)
  t.equal(Math.round(report.bytes), Math.round(parts + buckets + report.labels.bytes))
  const spec = join(dir, 'catalogue.json')
  const count = { name: 'n', ...of('card', { function: 'count', window: '1h' }) }
  writeFileSync(spec, JSON.stringify({ format: 1, features: [count] }))
  const alone = await run('--spec', spec, '--rate', '1', '--entities', '5', '--json')
  t.match(JSON.parse(alone.out), { fields: [{ field: 'card', held_ms: 7_200_000 }], labels: { held: 0 } })
  const about = { name: 'n', ...of('card', { function: 'count', window: '1h', bucketed: '5m' }) }
  writeFileSync(spec, JSON.stringify({ format: 1, features: [about] }))
  const inBuckets = await run('--spec', spec, '--rate', '1', '--entities', 'card=2000000')
  t.match(inBuckets, { code: 0, out: /card, in 26 buckets of 5m: [\d.]+ MiB\n.*\d+ bytes each\n/ })
  for (const wrong of [
    [],
    ['--rate', '1'],
    ['--rate', '0', '--entities', '1'],
    ['--rate', 'x', '--entities', '1'],
    ['--rate', '1', '--entities', '1.5'],
    ['--rate', '1', '--entities', 'customer_id=1'],
    ['--rate', '1', '--entities', 'customer_id=1,merchant_id=2'],
    ['--rate', '1', '--entities', '1', '--nonsense'],
  ]) {
    t.match(await run(...wrong), { code: 2, err: /^ASSAY_USAGE: / }, wrong.join(' '))
  }
  t.match(await run('--help'), { code: 0, out: /assay features size/ })
})
