// `assay features check`: a trainer's features against ours, equal and not; and, where ASSAY_HANDBOOK names the
// handbook's data, the published features under their own column names.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { buildFeatures } from '../../src/features/replay.js'
import { checkCommand } from '../../src/features/check-command.js'
import { checkFeatures, type CheckReport } from '../../src/features/compare-features.js'
import { parseColumns } from '../../src/features/read-rows.js'
import { replayOptions } from '../../src/features/replay-options.js'
import { createStepCounter } from '../../src/features/steps.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { POLICY_FILE, referencePolicy } from '../reference-policy.js'
import { runCommand } from '../run-command.js'
import { HANDBOOK_COLUMNS, published, readStream, writeStream } from './handbook.js'

const CLI = join(import.meta.dirname, '../../src/cli.js')
// The proof replays 718,601 transactions, and beside it those of the last weeks.
t.setTimeout(300_000)
const dir = mkdtempSync(join(tmpdir(), 'assay-check-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true }))
const file = (name: string, text: string | Buffer): string => {
  const path = join(dir, name)
  writeFileSync(path, text)
  return path
}

const spec = file(
  'catalogue.json',
  JSON.stringify({
    format: 1,
    features: [
      { name: 'amount', kind: 'field', field: 'amount', missing: 'nan', dtype: 'float64' },
      { name: 'hour', kind: 'calendar', part: 'hour', zone: 'utc', dtype: 'int64' },
      { name: 'n', kind: 'aggregate', entity: 'card', function: 'count', window: '1h', missing: 'nan' },
      { name: 'mean', kind: 'aggregate', entity: 'card', function: 'mean', of: 'amount', window: '1h', missing: 'nan' },
    ],
  }),
)
const CSV = [
  'ID,AT,AMOUNT,CARD',
  'a,2026-01-01T00:00:00Z,10.10,k1',
  'b,2026-01-01T00:05:00Z,0.2,k1',
  'c,2026-01-01T00:10:00Z,3,',
  'd,2026-01-01T00:15:00Z,10,k1',
].join('\n')
const COLUMNS = 'transaction_id=ID,occurred_at=AT,amount=AMOUNT,card=CARD,currency=:EUR'
const input = file('in.csv', CSV)
const GIVEN = ['--spec', spec, '--in', input, '--columns', COLUMNS]
/** As somebody else would write them, in another order and with names of their own. */
const ROWS = [
  ['d', '10', '0', '3', '6.766666666666667'],
  ['a', '10.1', '0', '1', '10.1'],
  ['c', '3', '0', '', 'NaN'],
  ['b', '0.2', '0', '2', '5.15'],
]
const HEADER = ['KEY', 'SUM', 'HOUR_OF_DAY', 'NB', 'AVG', 'NOTE']
const FEATURE_COLUMNS = 'transaction_id=KEY,amount=SUM,hour=HOUR_OF_DAY,n=NB,mean=AVG'
const csvOf = (rows: readonly (readonly string[])[]): string =>
  [HEADER, ...rows.map((row) => [...row, 'x'])].map((row) => row.join(',')).join('\n')
/** The rows with one cell changed. */
const changed = (id: string, column: number, cell: string): string[][] =>
  ROWS.map((row) => (row[0] === id ? row.with(column, cell) : row))

let files = 0
const check = (text: string | Buffer, ...more: string[]) => {
  const name = more[0]?.startsWith('.') ? more.shift() : '.csv'
  const expect = file(`expect-${files++}${name}`, text)
  return runCommand(checkCommand, [...GIVEN, '--expect', expect, '--feature-columns', FEATURE_COLUMNS, ...more])
}
const reported = async (...args: Parameters<typeof check>): Promise<CheckReport> => {
  const { out, err } = await check(...args, '--json')
  if (err !== '') throw new Error(err)
  return JSON.parse(out) as CheckReport
}
const differing = ({ features }: CheckReport) => features.map((each) => each.differing)

void t.test('equal features are equal in every format, whatever their order and names', async (t) => {
  const json = ROWS.map(([KEY, SUM, , NB, AVG]) =>
    JSON.stringify({
      KEY,
      SUM,
      HOUR_OF_DAY: false,
      NB: NB === '' ? null : Number(NB),
      AVG: AVG === 'NaN' ? null : AVG,
    }),
  ).join('\n\n')
  const csv = csvOf(ROWS)
  for (const [text, name] of [
    [csv, '.csv'],
    [gzipSync(csv), '.csv.gz'],
    [csv.replaceAll('\n', '\r\n'), '.csv'],
    [json, '.jsonl'],
    [gzipSync(json), '.jsonl.gz'],
  ] as const) {
    const { code, out, err } = await check(text, name)
    t.equal(code, 0, `${name} ${err}`)
    t.match(out, /4 rows compared\n/)
    t.match(out, /\nequal\n$/)
  }
  const report = await reported(csv)
  t.same(differing(report), [0, 0, 0, 0])
  t.same(report.columns_unknown, ['NOTE'])
  t.equal(report.replay.rows, 4)
})

void t.test('what `features build` writes is equal to what is built', async (t) => {
  const options = replayOptions(input, spec, { columns: COLUMNS, 'label-columns': '' })
  for (const name of ['built.csv.gz', 'built.jsonl']) {
    const out = join(dir, name)
    await buildFeatures({ ...options, out }, LIMITS)
    const ended = await runCommand(checkCommand, [...GIVEN, '--expect', out, '--steps', '0'])
    t.match(ended, { code: 0, out: /columns that are no feature of ours: none/ })
  }
})

void t.test('a wrong feature is named with its largest difference, its share and where it is wrong', async (t) => {
  const { code, out } = await check(csvOf(changed('b', 3, '3')))
  t.equal(code, 1)
  t.match(out, /\nn +NB +1 +25 % +1\.00 +4194304 +0\nmean +AVG +0 +0 % +0 +0 +0\n/)
  t.match(out, /n: row 4, transaction b: ours 2, theirs 3\n/)
  t.match(out, /\nnot equal\n$/)
  const report = await reported(csvOf(changed('b', 3, '3')))
  t.same(differing(report), [0, 0, 1, 0])
  t.match(report.features[2], {
    column: 'NB',
    share: 0.25,
    largest_difference: 1,
    largest_steps: 2 ** 22,
    one_sided: 0,
  })
  t.same(report.features[2].first, [{ row: 4, transaction_id: 'b', ours: 2, theirs: 3 }])
  const nothing = await reported(csvOf(changed('c', 3, '0')))
  t.match(nothing.features[2], { differing: 1, one_sided: 1, largest_difference: 0, largest_steps: 0 })
  t.same(nothing.features[2].first, [{ row: 3, transaction_id: 'c', ours: null, theirs: 0 }])
  const infinite = await reported(csvOf(changed('d', 4, '-inf')))
  t.match(infinite.features[3].first, [{ ours: 20.3 / 3, theirs: '-Infinity' }])
})

void t.test('a difference is judged in steps of the type fed, or by a tolerance', async (t) => {
  const steps = createStepCounter('float32')
  t.equal(steps(1, 1 + 2 ** -23), 1)
  t.equal(steps(1, 1 + 2 ** -25), 0, 'equal as fed')
  t.equal(steps(-1, 1), 2 * 0x3f800000)
  t.equal(steps(0, -0), 0)
  t.equal(steps(NaN, NaN), 0)
  t.equal(steps(NaN, 0), Infinity)
  t.equal(createStepCounter('float64')(-(2 ** -1074), 2 ** -1074), 2)
  t.equal(createStepCounter('float64')(1, 1 + 2 ** -52), 1)
  t.equal(createStepCounter('int64')(7, 8), Infinity)
  const mean = 20.3 / 3
  const off = (ulps: number): string => csvOf(changed('d', 4, String(mean + ulps * 2 ** -21)))
  t.equal((await check(off(1))).code, 0, 'one step of float32')
  t.equal((await check(off(1), '--steps', '0')).code, 1)
  t.equal((await check(off(3))).code, 1, 'three steps')
  t.equal((await check(off(3), '--steps', '3')).code, 0)
  t.equal((await check(off(3), '--absolute', '0.00001')).code, 0)
  t.equal((await check(off(3), '--absolute', '0.000001')).code, 1)
  t.equal((await check(off(3), '--relative', '0.000001')).code, 0)
  t.equal((await check(csvOf(changed('d', 1, '10.0000000001')))).code, 1, 'a column fed as float64 keeps its steps')
  t.equal((await check(csvOf(changed('d', 2, '1')))).code, 1, 'a column fed as int64 must be equal')
})

void t.test('rows and columns of one side only are counted and named', async (t) => {
  const extra = csvOf([...ROWS.slice(1), ['z', '1', '0', '1', '1']])
  const { code, out } = await check(extra)
  t.equal(code, 1, 'a row that no transaction stands for')
  t.match(out, /only in \S+expect\S+: 1: z \(row 4\)\n/)
  t.match(out, /only in \S+in\.csv: 1: d\n/)
  const fewer = await reported(csvOf(ROWS.slice(1)))
  t.ok(fewer.equal, 'a file of fewer rows is no difference')
  const part = 'transaction_id,n,hour_of_day\na,1,0\n'
  const report = await runCommand(checkCommand, [...GIVEN, '--expect', file('part.csv', part), '--json'])
  t.equal(report.code, 0)
  t.match(JSON.parse(report.out), {
    rows: 1,
    features_lacking: ['amount', 'hour', 'mean'],
    columns_unknown: ['hour_of_day'],
    only_in_transactions: { rows: 3, first: ['b', 'c', 'd'] },
  })
  const ranged = await reported(csvOf(changed('a', 1, '7')), '--from', '2026-01-01T00:05:00Z')
  t.match(ranged, { equal: true, rows: 3, rows_outside: 1, only_in_features: { rows: 0 } })
})

void t.test('bad input is refused with its row and what is allowed, never with the value', async (t) => {
  const bad = async (text: string, ...more: string[]) => {
    const { code, err } = await check(text, ...more)
    return `${code} ${err}`
  }
  t.match(await bad(csvOf(changed('a', 3, 'secret'))), /^1 ASSAY_INPUT_INVALID: .*row 2: \/n: a number, or nothing$/)
  const card = '4111111111111111'
  for (const column of [0, 1]) {
    const said = await bad(csvOf(changed('a', column, card)))
    t.match(said, /^1 ASSAY_INPUT_INVALID: .*row 2: \/(transaction_id|amount): no card data$/)
    t.notMatch(said, card)
  }
  t.match(await bad(csvOf([...ROWS, ROWS[0]])), /row 5: \/transaction_id: it stands there twice/)
  t.match(await bad(csvOf(changed('a', 0, ''))), /row 2: \/transaction_id: a text/)
  t.match(await bad(csvOf(ROWS).replace('KEY', 'NUMBER')), /has no column KEY \(for transaction_id\)/)
  t.match(await bad('x,"y'), /after row 0/)
  t.match(await bad('{', '.jsonl'), /row 1/)
  t.match(await bad(`{"a":"${'x'.repeat(1 << 20)}"}`, '.jsonl'), /row 1: a line of at most 1048576 bytes/)
  t.match(await bad(`A,B\n1,"${'x'.repeat(1 << 20)}"`), /CSV_MAX_RECORD_SIZE|has no column/)
  t.match(await bad('', '.parquet'), /^2 ASSAY_USAGE: .*must end in \.csv, \.csv\.gz, \.jsonl or \.jsonl\.gz/)
  const plain = (text: string, ...more: string[]) =>
    runCommand(checkCommand, [...GIVEN, '--expect', file('plain.csv', text), ...more])
  t.match(await plain('n\n1\n'), { code: 1, err: /transaction_id: a text/ })
  t.match(await plain('n\n'), { code: 1, err: /has no column transaction_id; --feature-columns/ })
  t.match(await plain('transaction_id,x\na,1\n'), { code: 1, err: /no column is a feature of the spec \(amount, hour/ })
  t.match(await plain('transaction_id,n\nz,1\n'), { code: 1, err: /no row has the transaction_id of a transaction/ })
  const unknown = await plain('transaction_id,n\na,1\n', '--feature-columns', 'm=N')
  t.match(unknown, { code: 2, err: /ASSAY_USAGE: --feature-columns: m is no feature of the spec; one of .*mean/ })
  t.equal((await plain('transaction_id,n\na,1\n', '--feature-columns', 'n=:1')).code, 2)
  t.equal((await plain('transaction_id,n\na,1\n', '--steps', '-1')).code, 2)
  t.equal((await plain('transaction_id,n\na,1\n', '--nonsense')).code, 2)
  t.equal((await runCommand(checkCommand, ['--in', input])).code, 2)
  t.match(await runCommand(checkCommand, ['--help']), { code: 0, out: /--feature-columns/ })
})

void t.test('what is held in memory has a bound', async (t) => {
  const rows = Array.from({ length: 20 }, (_, i) => [`id${i}`, '1', '0', '1', '1'])
  const options = {
    ...replayOptions(input, spec, { columns: COLUMNS, 'label-columns': '' }),
    expect: file('long.csv', csvOf(rows)),
    featureColumns: parseColumns(FEATURE_COLUMNS),
    tolerance: { steps: 1, absolute: 0, relative: 0 },
  }
  const found = /row 16: more than 2048 bytes of features/
  await t.rejects(checkFeatures(options, TINY), { code: 'ASSAY_INPUT_INVALID', message: found })
})

const handbook = process.env['ASSAY_HANDBOOK']
const skip = handbook === undefined ? 'ASSAY_HANDBOOK does not name the data of the handbook' : false

/** The published week as csv, and the map from the features of the policy to its columns. */
function publishedWeek(path: string): { readonly csv: string; readonly columns: string } {
  const csv = gunzipSync(readFileSync(path)).toString()
  const header = csv.slice(0, csv.indexOf('\n')).split(',')
  const policy = referencePolicy()
  const names = policy.catalogue.features.slice(0, 15).map(({ name }) => name)
  const columns = names.map((name, i) => `${name}=${header[i + 1]}`)
  return { csv, columns: ['transaction_id=TRANSACTION_ID', ...columns].join(',') }
}

/** In a process of its own, as a user runs it; tap's hooks would also double the cost of each row here. */
function checkApart(args: readonly string[]): Promise<{ code: number; report: CheckReport }> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [CLI, 'features', 'check', ...args, '--json'], (error, stdout, stderr) => {
      if (stdout === '') reject(new Error(stderr))
      else resolve({ code: Number(error?.code ?? 0), report: JSON.parse(stdout) as CheckReport })
    })
  })
}

void t.test('the published features of the handbook are ours to one float32 step', { skip }, async (t) => {
  const week = join(handbook ?? '', 'features-test-week.csv.gz')
  // Time alone does not order payments of one second: see handbook.ts.
  const wanted = published(week)
  const stream = readStream(join(handbook ?? '', 'transactions.csv.gz'), wanted)
  const [transactions, recent] = ['published-order.csv', 'recent.csv'].map((name) => join(dir, name))
  writeStream(stream, transactions)
  // The longest window and the delay of the labels are 37 days: what lies before them is in no feature of the week.
  const beganMs = Date.parse(stream.payments.find(({ transactionId }) => wanted.has(transactionId))?.at ?? '')
  const since = new Date(beganMs - 38 * 86_400_000).toISOString().slice(0, 10)
  writeStream({ ...stream, payments: stream.payments.filter(({ at }) => at >= since) }, recent)
  const { csv, columns } = publishedWeek(week)
  const places = csv.slice(0, csv.indexOf('\n')).split(',')
  const at = places.indexOf('CUSTOMER_ID_NB_TX_7DAY_WINDOW')
  // A window without the current transaction, as trainers often make it.
  const wrong = file(
    'wrong.csv',
    csv
      .trim()
      .split('\n')
      .map((line, i) => {
        const cells = line.split(',')
        return i === 0 ? line : cells.with(at, String(Number(cells[at]) - 1)).join(',')
      })
      .join('\n'),
  )
  const foreign = [...HANDBOOK_COLUMNS].map(([name, target]) => {
    return `${name}=${'column' in target ? target.column : `:${target.constant}`}`
  })
  const args = ['--spec', POLICY_FILE, '--columns', foreign.join(','), '--feature-columns', columns]
  const [right, off] = await Promise.all([
    checkApart([...args, '--in', transactions, '--expect', week]),
    checkApart([...args, '--in', recent, '--expect', wrong]),
  ])
  t.equal(right.code, 0)
  t.match(right.report, { equal: true, rows: 67_080, only_in_features: { rows: 0 }, columns_unknown: ['TX_FRAUD'] })
  t.equal(right.report.only_in_transactions.rows, 718_601 - 67_080)
  t.same(differing(right.report), Array(15).fill(0))
  for (const { feature, largest_steps: steps } of right.report.features)
    t.ok(Number(steps) <= 1, `${feature}: ${steps}`)
  t.equal(off.code, 1)
  t.same(
    off.report.features.filter((each) => each.differing > 0).map(({ feature }) => feature),
    ['customer_count_7d'],
  )
  t.match(
    off.report.features.find(({ feature }) => feature === 'customer_count_7d'),
    { column: 'CUSTOMER_ID_NB_TX_7DAY_WINDOW', differing: 67_080, share: 1, largest_difference: 1 },
  )
})
