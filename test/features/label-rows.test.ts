// Labels out of files into features: reports of fraud and issuers' answers, from a file of labels and from columns
// beside the transactions, in exact windows and in buckets; and what a file of labels is refused for.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { compileLabels } from '../../src/contract/label.js'
import { labelOnWire, readLabels } from '../../src/features/label-rows.js'
import { replayOptions } from '../../src/features/replay-options.js'
import { buildFeatures, type ReplayReport } from '../../src/features/replay.js'
import { LIMITS } from '../../src/limits.js'

const dir = mkdtempSync(join(tmpdir(), 'assay-labels-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true }))
const file = (name: string, lines: readonly string[]): string => {
  const path = join(dir, name)
  writeFileSync(path, lines.join('\n'))
  return path
}

const SCHEMA = {
  unknown_fields: 'refuse' as const,
  fields: [
    { name: 'card', type: 'string' as const, entity: true },
    { name: 'items', type: 'integer' as const },
    { name: 'shop', type: 'string' as const, entity: true },
  ],
}
const of = (name: string, rest: object) => ({
  name,
  kind: 'aggregate',
  entity: 'card',
  window: '1h',
  missing: 0,
  ...rest,
})
const DECLINED = { function: 'count', where: [{ label: 'authorisation', is: 'declined' }] }
const RISK = { function: 'label_rate', entity: 'shop', delay: '10m' }
const POLICY = {
  schema: SCHEMA,
  currencies: { base: 'EUR', unlisted: 'refuse', list: { EUR: { exponent: 2, rate: 1 } } },
  catalogue: {
    format: 1,
    features: [
      of('declined', DECLINED),
      of('declined_about', { ...DECLINED, bucketed: '10m' }),
      of('risk', RISK),
      of('risk_about', { ...RISK, bucketed: '10m' }),
    ],
  },
}
const spec = file('policy.json', [JSON.stringify(POLICY)])
const minutes = (count: number): string => new Date(Date.UTC(2026, 0, 1, 0, count)).toISOString()
const ROWS = [
  ['a', minutes(0), 'k', 's', '1', '0'],
  ['b', minutes(15), 'k', 's', '0', ''],
  ['c', minutes(30), 'k', 's', '0', '1'],
  ['d', minutes(45), 'k', 's', '0', '0'],
]
const HEAD = 'transaction_id,occurred_at,card,shop,fraud,approved,amount_minor,currency'
const input = file('in.csv', [HEAD, ...ROWS.map((row) => `${row.join(',')},5,EUR`)])

async function build(values: {
  columns?: string
  labels?: string
}): Promise<{ rows: number[][]; report: ReplayReport }> {
  const out = join(dir, 'out.csv')
  const options = replayOptions(input, spec, { columns: '', 'label-columns': '', ...values })
  const report = await buildFeatures({ ...options, out }, LIMITS)
  const lines = readFileSync(out, 'utf8').trim().split('\n').slice(1)
  return { rows: lines.map((line) => line.split(',').slice(1, 5).map(Number)), report }
}

void t.test('columns: an answer is known to the next transaction, fraud after the delay', async (t) => {
  const { rows, report } = await build({})
  t.same(rows, [
    [0, 0, 0, 0],
    [1, 1, 1, 1],
    [1, 1, 0.5, 0.5],
    [1, 1, 1 / 3, 1 / 3],
  ])
  t.match(report, { labels: 'column', labelsFolded: 1, answersFolded: 3 })
})

void t.test('a file: each label from known_at, in buckets where it names time and entity', async (t) => {
  const labels = file('labels.csv', [
    'transaction_id,fraud,approved,known_at,occurred_at,card,shop',
    `a,,false,${minutes(20)},${minutes(0)},k,`,
    `c,,0,${minutes(40)},,,`,
    `b,1,,${minutes(16)},${minutes(15)},,s`,
    `c,true,,${minutes(31)},,,`,
  ])
  const { rows, report } = await build({ labels })
  t.same(rows, [
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [1, 1, 0.5, 0.5],
    [2, 1, 2 / 3, 1 / 3],
  ])
  t.match(report, { labels: 'file', labelsFolded: 4, answersFolded: 0 })
})

void t.test('a label goes onto the wire as a server takes it', async (t) => {
  const path = file('wire.jsonl', [
    JSON.stringify({ transaction_id: 'a', approved: true, known_at: minutes(2), source: 'bank', card: 'k' }),
    JSON.stringify({ transaction_id: 'a', fraud: false, known_at: minutes(1), occurred_at: minutes(0), shop: 's' }),
  ])
  const labels = await readLabels({ path, columns: new Map(), schema: SCHEMA, labelsMax: 2 })
  t.match(labels, [
    { kind: 'fraud', value: false, source: 'file', occurredAtMs: Date.UTC(2026, 0, 1), entities: [null, 's'] },
    { kind: 'authorisation', value: true, source: 'bank', occurredAtMs: null, entities: ['k', null] },
  ])
  const validator = compileLabels(SCHEMA, LIMITS)
  for (const label of labels) t.same(validator.check(labelOnWire(label, SCHEMA), label.knownAtMs), [label])
})

void t.test('a label that says nothing, two things, or too much is refused with its row', async (t) => {
  const head = 'transaction_id,kind,fraud,approved,known_at,occurred_at'
  const cases: [row: string, message: RegExp][] = [
    [`a,,1,1,${minutes(0)},`, /row 1: \/approved: not beside fraud/],
    [`a,,,,${minutes(0)},`, /row 1: \/fraud: 0, 1, true or false/],
    [`a,authorisation,,,${minutes(0)},`, /row 1: \/approved: 0, 1/],
    [`a,refund,1,,${minutes(0)},`, /row 1: \/kind: fraud or authorisation/],
    [`a,,1,,yesterday,`, /row 1: \/known_at/],
    [`a,,1,,${minutes(0)},yesterday`, /row 1: \/occurred_at/],
    [`a,,1,,${minutes(0)},\nb,,1,,${minutes(0)},`, /more than 1 labels/],
  ]
  for (const [row, message] of cases) {
    const path = file('bad.csv', [head, row])
    const read = readLabels({ path, columns: new Map(), schema: SCHEMA, labelsMax: 1 })
    await t.rejects(read, { code: 'ASSAY_INPUT_INVALID', message }, row)
  }
})
