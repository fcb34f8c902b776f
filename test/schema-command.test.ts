// `assay schema try`: rows that the policy would refuse, counted by code and path, and never a value among what is
// printed; and, where ASSAY_HANDBOOK names the handbook's data, a whole stream under its own column names.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { LIMITS } from '../src/limits.js'
import { schemaCommand, type TryReport } from '../src/schema-command.js'
import { runCommand } from './run-command.js'

const CLI = join(import.meta.dirname, '../src/cli.js')
const CARD = '4111111111111111'
t.setTimeout(120_000)
const dir = mkdtempSync(join(tmpdir(), 'assay-schema-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true }))
const file = (name: string, text: string | Buffer): string => {
  const path = join(dir, name)
  writeFileSync(path, text)
  return path
}
const attempt = (...args: string[]) => runCommand(schemaCommand, ['try', ...args])
const reportOf = ({ out }: { out: string }): TryReport => JSON.parse(out) as TryReport
/** `CODE path rows first` of every reason. */
const reasonsOf = (report: TryReport): string[] =>
  report.codes.flatMap(({ code, reasons }) =>
    reasons.map(({ path, rows, first }) => `${code} ${path} ${rows} ${first.join(',')}`),
  )

const GOOD = {
  transaction_id: 't-1',
  occurred_at: '2026-01-01T00:00:00Z',
  amount_minor: 100,
  currency: 'EUR',
  customer_id: 'c1',
}
const lines = (...rows: readonly (object | string)[]): string =>
  rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n')

void t.test('raw transactions get the verdict of the server, by code and path with the first rows', async (t) => {
  const text = lines(
    GOOD,
    { ...GOOD, amount_minor: 1.5 },
    { ...GOOD, amount_minor: -1, secret_note: 'private words' },
    '',
    { ...GOOD, customer_id: CARD },
    { ...GOOD, terminal_id: `call ${CARD}` },
    { ...GOOD, currency: 'XXX' },
    { ...GOOD, occurred_at: '2990-01-01T00:00:00Z' },
    '{"transaction_id":',
    `{"a":"${'x'.repeat(LIMITS.bodyBytesMax)}"}`,
    GOOD,
  )
  for (const input of [file('raw.jsonl', text), file('raw.jsonl.gz', gzipSync(text))]) {
    const ended = await attempt('--in', input, '--json')
    t.equal(ended.code, 1, ended.err)
    const report = reportOf(ended)
    t.equal(report.rows, 10)
    // A declared identifier that matches its pattern is no card number, as the policy says.
    t.equal(report.refused, 7)
    // The card number is no identifier either: two reasons at one path.
    t.same(reasonsOf(report).sort(), [
      'ASSAY_BODY_MALFORMED  1 8',
      'ASSAY_BODY_TOO_LARGE  1 9',
      'ASSAY_CARD_DATA_REFUSED /terminal_id 1 5',
      'ASSAY_CARD_DATA_REFUSED /terminal_id 1 5',
      'ASSAY_CURRENCY_UNLISTED /currency 1 6',
      'ASSAY_SCHEMA_INVALID /amount_minor 2 2,3',
      'ASSAY_SCHEMA_INVALID /secret_note 1 3',
      'ASSAY_TIME_IN_FUTURE /occurred_at 1 7',
    ])
  }
  const { out } = await attempt('--in', file('raw.jsonl', text))
  t.match(out, /raw\.jsonl: 10 rows, 7 would be refused \(70\.0 %\)\n/)
  t.match(out, /\n {2}\/amount_minor: an integer of minor units from 0 to 1000000000000000: 2 rows, the first: 2, 3\n/)
  t.notMatch(out, /4111|private words|1\.5|XXX|2990/, 'no value is printed')
})

void t.test('foreign columns are mapped, and what is passed over is named', async (t) => {
  const csv = [
    'KEY,AT,SUM,WHO,MAIL',
    'a,2026-01-01T00:00:00Z,10.10,c1,a@b',
    'b,2026-01-01T00:00:00Z,10.101,c1,a@b',
    'c,yesterday,1,c1,a@b',
    'd,2026-01-01T00:00:00Z,,c1,a@b',
  ].join('\n')
  const columns = 'transaction_id=KEY,occurred_at=AT,amount=SUM,customer_id=WHO,currency=:EUR'
  const ended = await attempt('--in', file('foreign.csv', csv), '--columns', columns, '--json')
  t.equal(ended.code, 1, ended.err)
  const report = reportOf(ended)
  t.same(reasonsOf(report).sort(), [
    'ASSAY_SCHEMA_INVALID /amount 1 2',
    'ASSAY_SCHEMA_INVALID /amount_minor 1 4',
    'ASSAY_SCHEMA_INVALID /occurred_at 1 3',
  ])
  t.same(report.columns_unknown, ['MAIL'])
  const [header, good] = csv.split('\n')
  for (const [name, text] of [
    ['good.csv', `${header}\n${good}\n`],
    ['good.csv.gz', gzipSync(`${header}\n${good}\n`)],
    ['good.jsonl', '{"KEY":"a","AT":1767225600000,"SUM":10.1,"WHO":"c1","MAIL":"a@b"}'],
  ] as const) {
    const all = await attempt('--in', file(name, text), '--columns', columns)
    t.match(all, { code: 0, out: /: 1 rows, none would be refused\ncolumns passed over: MAIL\n$/ }, name)
  }
})

void t.test('the policy that is tried is that of the configuration', async (t) => {
  const config = file('config.yaml', 'policy: {schema: {unknown_fields: drop}}\n')
  const input = file('more.jsonl', lines({ ...GOOD, extra: 1 }, { ...GOOD, extra: 2 }, GOOD))
  t.equal((await attempt('--in', input)).code, 1)
  const ended = await attempt('--in', input, '--config', config, '--json')
  t.equal(ended.code, 0)
  t.same(reportOf(ended).dropped, [{ name: 'extra', rows: 2 }])
  t.match(await attempt('--in', input, '--config', join(dir, 'none.yaml')), { code: 1, err: /^ASSAY_CONFIG_INVALID/ })
})

void t.test('reasons that nobody declared are counted together beyond a bound', async (t) => {
  const rows = Array.from({ length: 500 }, (_, i) => ({ ...GOOD, [`field_${i}`]: 1 }))
  const report = reportOf(await attempt('--in', file('many.jsonl', lines(...rows)), '--json'))
  t.equal(report.refused, 500)
  const [{ reasons }] = report.codes
  t.equal(reasons.length, LIMITS.fieldsMax + LIMITS.unknownNamesMax + 1)
  t.match(reasons[0], { path: '*', rows: 500 - LIMITS.fieldsMax - LIMITS.unknownNamesMax })
})

void t.test('a bad command line is code 2, a file that cannot be tried an error with its place', async (t) => {
  t.match(await attempt(), { code: 2, err: /expected `schema try --in FILE`/ })
  t.equal((await runCommand(schemaCommand, ['show', '--in', 'x.csv'])).code, 2)
  t.equal((await attempt('--in', 'x.csv', '--nonsense')).code, 2)
  t.match(await attempt('--in', 'x.txt'), { code: 2, err: /must end in \.csv, \.csv\.gz, \.jsonl or \.jsonl\.gz/ })
  const unknown = await attempt('--in', 'x.csv', '--columns', 'customer=WHO')
  t.match(unknown, {
    code: 2,
    err: /--columns: customer is no field of the schema; one of transaction_id, .*terminal_id/,
  })
  t.match(await attempt('--in', join(dir, 'none.jsonl')), { code: 1, err: /none\.jsonl, after row 0: ENOENT/ })
  t.match(await attempt('--in', file('empty.jsonl', '\n')), { code: 1, err: /has no row/ })
  const headless = await attempt('--in', file('headless.csv', `Jane Doe,${CARD}\nJohn Doe,${CARD}\n`))
  t.match(headless, { code: 1, err: /no column is one of transaction_id/ })
  t.notMatch(headless.err, /Doe|4111/)
  t.match(await runCommand(schemaCommand, ['--help']), { code: 0, out: /assay schema try/ })
})

const handbook = process.env['ASSAY_HANDBOOK']
const skip = handbook === undefined ? 'ASSAY_HANDBOOK does not name the data of the handbook' : false

void t.test('no transaction of the handbook would be refused under its own column names', { skip }, async (t) => {
  const input = join(handbook ?? '', 'transactions.csv.gz')
  const columns =
    'transaction_id=TRANSACTION_ID,occurred_at=TX_DATETIME,amount=TX_AMOUNT,customer_id=CUSTOMER_ID,' +
    'terminal_id=TERMINAL_ID,fraud=TX_FRAUD,currency=:EUR'
  const args = ['schema', 'try', '--in', input, '--columns', columns, '--json']
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...args])
  t.match(JSON.parse(stdout), { rows: 718_601, refused: 0, codes: [], columns_unknown: ['TX_FRAUD_SCENARIO'] })
})
