// `assay features build` on real files; and, where ASSAY_HANDBOOK names the handbook's data, the published features.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync, gzipSync } from 'node:zlib'
import { parquetReadObjects } from 'hyparquet'
import t from 'tap'
import { buildCommand } from '../../src/features/build.js'
import { minorUnits } from '../../src/features/build-rows.js'
import { parseColumns } from '../../src/features/read-rows.js'
import type { ReplayReport } from '../../src/features/replay.js'
import { POLICY_FILE } from '../reference-policy.js'
import { compare, published, readStream, writeStream } from './handbook.js'

// The compiled test lies two levels below the build's folder, which lies below the root.
const CLI = join(import.meta.dirname, '../../src/cli.js')
// The proof replays 718,601 transactions: some ten seconds on an idle core.
t.setTimeout(300_000)
const dir = mkdtempSync(join(tmpdir(), 'assay-build-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true }))

const CATALOGUE = {
  format: 1,
  features: [
    { name: 'amount', kind: 'field', field: 'amount', missing: 'nan' },
    { name: 'n', kind: 'aggregate', entity: 'card', function: 'count', window: '1h', missing: 'nan' },
    { name: 'mean', kind: 'aggregate', entity: 'card', function: 'mean', of: 'amount', window: '1h', missing: 'nan' },
    { name: 'risk', kind: 'aggregate', entity: 'card', function: 'label_rate', window: '1h', delay: '10m', missing: 0 },
  ],
}
const file = (name: string, text: string | Buffer): string => {
  const path = join(dir, name)
  writeFileSync(path, text)
  return path
}
const spec = file('catalogue.json', JSON.stringify(CATALOGUE))

const ROWS: readonly (readonly [string, string, string, string, string])[] = [
  ['a', '2026-01-01T00:00:00Z', '10.10', 'k1', '1'],
  ['b', '2026-01-01T00:05:00Z', '0.2', 'k1', '0'],
  ['c', '2026-01-01T00:10:00Z', '3', '', '0'],
  ['d', '2026-01-01T00:15:00Z', '1e1', 'k1', '0'],
]
const CSV = ['ID,AT,AMOUNT,CARD,FRAUD,other', ...ROWS.map((row) => `${row.join(',')},x`)].join('\n')
const WANTED = [
  ['a', 10.1, 1, 10.1, 0],
  ['b', 0.2, 2, 5.15, 0],
  ['c', 3, NaN, NaN, 0],
  ['d', 10, 3, 20.3 / 3, 0.5],
] as const
const COLUMNS = 'transaction_id=ID,occurred_at=AT,amount=AMOUNT,card=CARD,fraud=FRAUD,currency=:EUR'

async function run(...args: string[]): Promise<{ code: number; err: string; out: string }> {
  const [out, err] = [process.stdout.write.bind(process.stdout), process.stderr.write.bind(process.stderr)]
  const said = { out: '', err: '' }
  process.stdout.write = (text) => Boolean((said.out += String(text)))
  process.stderr.write = (text) => Boolean((said.err += String(text)))
  try {
    return { code: await buildCommand(args), ...said }
  } finally {
    process.stdout.write = out
    process.stderr.write = err
  }
}

function rowsOfCsv(text: string): unknown[][] {
  return text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(',').map((cell, i) => (i === 0 ? cell : cell === '' ? NaN : Number(cell))))
}

void t.test('csv, gzip, jsonl and Parquet say the same, and numbers come back as they were', async (t) => {
  const wanted = WANTED.map((row, i) => [...row, Number(ROWS[i][4])])
  const json = ROWS.map(([id, at, amount, card, fraud]) =>
    JSON.stringify({
      transaction_id: id,
      occurred_at: Date.parse(at),
      amount: Number(amount),
      currency: 'EUR',
      card: card || null,
      fraud,
    }),
  ).join('\n')
  const inputs = [file('in.csv', CSV), file('in.csv.gz', gzipSync(CSV)), file('in.jsonl', json)]
  for (const input of inputs) {
    for (const name of ['out.csv', 'out.csv.gz', 'out.jsonl', 'out.parquet']) {
      const out = join(dir, name)
      const columns = input.endsWith('.jsonl') ? [] : ['--columns', COLUMNS]
      const { code, err } = await run('--spec', spec, '--in', input, '--out', out, ...columns)
      t.equal(code, 0, err)
      const bytes = readFileSync(out)
      const names = ['transaction_id', 'amount', 'n', 'mean', 'risk', 'fraud']
      const asRow = (row: Record<string, unknown>) =>
        names.map((key, i) => (i === 0 ? row[key] : row[key] === null ? NaN : Number(row[key])))
      const rows =
        name === 'out.parquet'
          ? (await parquetReadObjects({ file: new Uint8Array(bytes).buffer })).map(asRow)
          : name === 'out.jsonl'
            ? bytes
                .toString()
                .trim()
                .split('\n')
                .map((line) => asRow(JSON.parse(line) as Record<string, unknown>))
            : rowsOfCsv((name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString())
      t.strictSame(rows, wanted, `${input} to ${name}`)
      t.notOk(existsSync(`${out}.partial`))
    }
  }
})

void t.test('a label column acts after the delay of the spec, a file of labels from known_at', async (t) => {
  const input = file('l.csv', CSV)
  const labels = file(
    'labels.csv',
    'transaction_id,fraud,known_at\nb,1,2026-01-01T00:15:00Z\na,true,2026-01-01T00:15:00.001Z\n',
  )
  const out = join(dir, 'l.out.csv')
  const risk = () => rowsOfCsv(readFileSync(out, 'utf8')).map((row) => row[4])
  const column = await run('--spec', spec, '--in', input, '--columns', COLUMNS, '--out', out)
  t.same(risk(), [0, 0, 0, 0.5])
  t.match(column.err, /label column became known 0\.0069.* days after the event; 1 labels folded/)
  const fromFile = await run('--spec', spec, '--in', input, '--columns', COLUMNS, '--labels', labels, '--out', out)
  t.match(fromFile.err, /acted from known_at; 1 folded/)
  t.same(risk(), [0, 0, 0, 0.5], 'b is known in time for d, a is not, and the column plays no part')
  const late = await run('--spec', spec, '--in', input, '--columns', COLUMNS, '--label-delay', '1d', '--out', out)
  t.equal(late.code, 0)
  t.same(risk(), [0, 0, 0, 0])
})

void t.test('a range leaves rows out of the file but not out of the windows', async (t) => {
  const out = join(dir, 'range.csv')
  const range = ['--from', '2026-01-01T00:05:00Z', '--until', '2026-01-01T00:15:00Z']
  const { err } = await run('--spec', spec, '--in', file('r.csv', CSV), '--columns', COLUMNS, '--out', out, ...range)
  t.same(
    rowsOfCsv(readFileSync(out, 'utf8')).map((row) => row.slice(0, 3)),
    [
      ['b', 0.2, 2],
      ['c', 3, NaN],
    ],
  )
  t.match(err, /every window is full from 2026-01-01T01:10:00\.000Z/)
  t.match(err, /cold 2, missing 1/)
})

void t.test('bad input is refused with its row, and leaves no file', async (t) => {
  const out = join(dir, 'bad.csv')
  const bad = async (text: string, ...more: string[]) => {
    const got = await run('--spec', spec, '--in', file('bad.in.csv', text), '--columns', COLUMNS, '--out', out, ...more)
    t.notOk(existsSync(out) || existsSync(`${out}.partial`), 'no file is left')
    return got
  }
  const swapped = [CSV.split('\n')[0], CSV.split('\n')[2], CSV.split('\n')[1]].join('\n')
  const order = await bad(swapped)
  t.equal(order.code, 1)
  t.match(order.err, /ASSAY_INPUT_INVALID: .*row 2: occurred_at is earlier than in the row before/)
  t.match((await bad(CSV.replace('0.2', '0.234'))).err, /row 2: \/amount: a number with at most 2 decimals/)
  t.match((await bad(CSV.replace('2026-01-01T00:05:00Z', '2026-01-01'))).err, /row 2: .*\/occurred_at/)
  t.match((await bad(CSV.replace(',k1,0', ',4111111111111111,0'))).err, /row 2: .*ard data|card/)
  t.notMatch((await bad(CSV.replace(',k1,0', ',4111111111111111,0'))).err, /4111/, 'the value is not shown')
  t.match((await bad(CSV.replace('AMOUNT', 'SUM'))).err, /has no column AMOUNT/)
  t.match((await bad(`${CSV}\nx,"y`)).err, /after row 4/)
  t.equal((await bad(CSV, '--label-delay', 'soon')).code, 2)
  t.equal((await bad(CSV, '--nonsense')).code, 2)
  t.equal((await run('--in', 'x')).code, 2)
  const help = await run('--help')
  t.equal(help.code, 0)
  t.match(help.out, /--label-delay/)
  const undelayed = { ...CATALOGUE, features: [{ ...CATALOGUE.features[3], delay: undefined }] }
  const leak = file('leak.json', JSON.stringify(undelayed))
  const leaking = await run('--spec', leak, '--in', file('leak.csv', CSV), '--columns', COLUMNS, '--out', out)
  t.equal(leaking.code, 2, 'a label known at once would be the answer itself')
  t.match(leaking.err, /names no delay/)
  const broken = file('broken.yaml', 'format: 1\nfeatures:\n  - {name: n, kind: count}\n')
  t.match((await run('--spec', broken, '--in', 'x.csv', '--out', out)).err, /ASSAY_INPUT_INVALID: .*features/)
})

void t.test('amounts in major units become minor units exactly or not at all', (t) => {
  for (let minor = 0; minor < 200_000; minor += 7) {
    if (minorUnits((minor / 100).toFixed(2), 2) !== minor) t.fail(`${minor}`)
  }
  t.equal(minorUnits('1234', 0), 1234)
  for (const wrong of ['0.001', '', 'x', null, '1e400']) t.equal(minorUnits(wrong, 2), null)
  t.throws(() => parseColumns('a='), { code: 'ASSAY_USAGE' })
  t.end()
})

const handbook = process.env['ASSAY_HANDBOOK']
const skip = handbook === undefined ? 'ASSAY_HANDBOOK does not name the data of the handbook' : false

const WEEKS = [
  { name: 'features-test-week.csv.gz', rows: 67_080 },
  { name: 'features-train-week.csv.gz', rows: 67_240 },
]

void t.test(
  'the published features of the handbook come out to 1e-9 in all of 67,080 × 15 values',
  { skip },
  async (t) => {
    const folder = handbook ?? ''
    const input = join(dir, 'published-order.csv')
    const weeks = WEEKS.map(({ name, rows }) => ({ name, rows, wanted: published(join(folder, name)) }))
    const all = new Map(weeks.flatMap(({ wanted }) => [...wanted]))
    const stream = readStream(join(folder, 'transactions.csv.gz'), all)
    t.ok(stream.moved.length < 10, `${stream.moved.length} payments tied within a second were published the other way`)
    writeStream(stream, input)
    const out = join(dir, 'handbook.csv')
    const columns = 'transaction_id=TRANSACTION_ID,occurred_at=TX_DATETIME,amount=TX_AMOUNT,customer_id=CUSTOMER_ID'
    const more = ',terminal_id=TERMINAL_ID,fraud=TX_FRAUD,currency=:EUR'
    const args = ['features', 'build', '--spec', POLICY_FILE, '--in', input, '--out', out, '--columns', columns + more]
    // A process of its own, as a user runs it; tap's hooks would also double the cost of each row here.
    const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...args, '--from', '2018-07-25', '--json'])
    const report = JSON.parse(stdout) as ReplayReport
    t.equal(report.rows, 718_601)
    t.equal(report.flagged['cold'], 0)
    for (const { name, rows, wanted } of weeks) {
      const result = compare(out, wanted, 1e-9)
      t.equal(wanted.size, rows)
      t.equal(result.rows, rows)
      t.same(result.off, [], `${name}: largest difference ${result.largest}`)
      t.ok(result.largest <= 1e-9)
      const [id, values] = [...wanted][rows >> 1]
      const shifted = new Map(wanted).set(id, values.with(9, values[9] + 2e-9))
      t.same(compare(out, shifted, 1e-9).off, [id], 'a value that differs is found')
    }
  },
)
