// The real binary, as a user runs it: help, a server from start to drain, its log verified and exported, decisions
// recomputed, and every way to go wrong that ends in one coded line.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import avsc from 'avsc'
// Comes with hyparquet-writer, which depends on it.
import { parquetMetadata } from 'hyparquet'
import t from 'tap'
import { loadConfig } from '../src/config.js'
import { digestText } from '../src/contract/canonical-json.js'
import { policyFingerprint } from '../src/contract/policy.js'

const ROOT = join(import.meta.dirname, '../..')
const BINARY = join(ROOT, 'src/assay.js')

// About twenty processes start here, each a second of a core.
t.setTimeout(240_000)

const data = await mkdtemp(join(tmpdir(), 'assay-cli-'))
t.teardown(() => rm(data, { recursive: true, force: true }))
const place = (name: string): string => join(data, name)
const env = {
  ...process.env,
  ASSAY_CONFIG: '',
  ASSAY_DATA_DIR: data,
  ASSAY_PROCESS__HTTP__PORT: '0',
  ASSAY_PROCESS__OPERATIONS__PORT: '0',
  // A busy machine: what is asked here is whether it works, not how fast.
  ASSAY_POLICY__BUDGETS__DEADLINE_MS: '1000',
  ASSAY_POLICY__BUDGETS__LOG_WAIT_MS: '10000',
}

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

async function assay(args: readonly string[], more: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [BINARY, ...args], { env: { ...env, ...more }, cwd: data })
  const [out, err] = [child.stdout, child.stderr].map((stream) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    return chunks
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() }
}

/** One line that begins with the code, and no stack. */
const coded = (code: string): RegExp => new RegExp(`(^|\\n)${code}: [^\\n]+\\n$`)

async function startServer(more: Record<string, string> = {}) {
  const child = spawn(process.execPath, [BINARY, 'serve'], {
    env: { ...env, ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const events: string[] = []
  createInterface({ input: child.stderr }).on('line', (line) => events.push(line))
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const ready = JSON.parse(line) as Record<'score' | 'operations' | 'http_binding' | 'try', string>
  const end = async (signal: 'SIGINT' | 'SIGTERM'): Promise<number | null> => {
    const ended = once(child, 'close')
    child.kill(signal)
    return ((await ended) as [number | null])[0]
  }
  return { ready, events, end }
}

void t.test('help, version and misuse', async (t) => {
  const { out, code } = await assay(['--help'])
  t.equal(code, 0)
  const words = [...out.matchAll(/^ {2}([a-z]+) /gm)].map(([, word]) => word)
  t.same(words, [
    'serve',
    'govern',
    'up',
    'config',
    'model',
    'features',
    'schema',
    'history',
    'log',
    'decision',
    'route',
    'policy',
    'breaker',
    'dlq',
    'backup',
    'restore',
    'shadow',
    'simulate',
    'traffic',
  ])
  await Promise.all(
    words.map(async (word) => {
      t.match(await assay([word, '--help']), { code: 0, out: new RegExp(`assay ${word}`), err: '' }, `${word} --help`)
    }),
  )
  t.match(await assay(['--version']), { code: 0, out: /^\d+\.\d+\.\d+\n$/ })
  for (const args of [[], ['nothing'], ['serve', '--no-such'], ['features'], ['schema', 'try']])
    t.match(await assay(args), { code: 2, err: coded('ASSAY_USAGE') })
})

void t.test('what cannot be read is one line with its code, and exit code 1', async (t) => {
  await writeFile(place('bad.yaml'), 'process: {http: {prt: 1}}')
  await writeFile(place('file'), '')
  const nowhere = { ASSAY_DATA_DIR: place('nowhere') }
  const cases: [string[], string, Record<string, string>?][] = [
    [['serve', '--config', 'bad.yaml'], 'ASSAY_CONFIG_INVALID'],
    [['serve'], 'ASSAY_LOG_IO', { ASSAY_DATA_DIR: place('file') }],
    [['model', 'check', 'nowhere'], 'ASSAY_BUNDLE_REFUSED'],
    [['model', 'add', 'nowhere.onnx', '--name', 'a', '--version', '1'], 'ASSAY_INPUT_INVALID'],
    [['log', 'verify'], 'ASSAY_INPUT_INVALID', nowhere],
    [['decision', 'verify', '--since', '2020-01-01', '--until', '2030-01-01'], 'ASSAY_INPUT_INVALID', nowhere],
    [['features', 'build', '--spec', 'no', '--in', 'no', '--out', 'x.csv'], 'ASSAY_INPUT_INVALID'],
    [['features', 'check', '--in', 'no.csv', '--expect', 'no.csv'], 'ASSAY_INPUT_INVALID'],
    [['features', 'size', '--rate', '1', '--entities', '1', '--spec', 'no'], 'ASSAY_INPUT_INVALID'],
    [['schema', 'try', '--in', 'no.csv'], 'ASSAY_INPUT_INVALID'],
    [['traffic', '--url', 'http://127.0.0.1:1'], 'ASSAY_SERVER_UNREACHABLE'],
  ]
  const ended = await Promise.all(cases.map(([args, , more]) => assay(args, more)))
  ended.forEach((each, at) => t.match(each, { code: 1, out: '', err: coded(cases[at][1]) }, cases[at][0].join(' ')))
})

void t.test('configuration and bundles are shown as text and as JSON', async (t) => {
  t.match(await assay(['config', 'print']), { code: 0, out: /^process:\n/ })
  t.match(JSON.parse((await assay(['config', 'print', '--json'])).out), { process: { data_dir: data } })
  const listed = JSON.parse((await assay(['model', 'list', '--json'])).out) as { name: string; state: string }[]
  t.same(
    listed.map(({ name, state }) => `${name} ${state}`),
    ['baseline whole', 'fraud-lgbm whole', 'fraud-xgb whole'],
  )
  t.match(await assay(['model', 'check', join(ROOT, 'models/baseline/1')]), { code: 0, out: /^baseline@1 is admitted/ })
})

let decisions = 0

void t.test('a server says where it is, scores the request that it prints, and drains', async (t) => {
  const { ready, events, end } = await startServer()
  const phases = events.flatMap((line) => /"phase":"(\w+)"/.exec(line)?.[1] ?? [])
  t.same(phases, ['models', 'replay', 'warm_up'], 'how far the start was')
  t.match(ready.http_binding, /uws/i)
  t.equal((await fetch(`${ready.operations}/readyz`)).status, 200)
  t.match(await decided(ready.try), { action: 'approve', logged: 'synced' })
  await readmeExample(t, ready.score)
  t.match(await assay(['serve']), { code: 1, err: coded('ASSAY_LOG_LOCKED') }, 'a second server on the directory')
  const taken = { ASSAY_DATA_DIR: place('other'), ASSAY_PROCESS__HTTP__PORT: new URL(ready.score).port }
  t.match(await assay(['serve'], taken), { code: 1, err: coded('ASSAY_ADDRESS_REFUSED') }, 'a port in use')
  const options = ['--rate', '28', '--for', '1s', '--skip-days', '1', '--label-delay', 'off', '--errors-max', '0.9']
  const traffic = await assay(['traffic', '--url', ready.score, ...options, '--json'])
  const { answered, reason } = JSON.parse(traffic.out) as { answered: number; reason: string }
  t.match({ code: traffic.code, reason }, { code: 0, reason: 'done' })
  // What was refused for the lag of a busy machine is not in the log.
  decisions = 2 + answered
  t.equal(await end('SIGINT'), 0)
  t.match(events.slice(-2), [/"event":"ServerDraining"/, /"event":"ServerStopped"/])
})

async function shell(command: string): Promise<string> {
  const child = spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'inherit'] })
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(child, 'close')
  return Buffer.concat(chunks).toString()
}

/** Runs a curl until it brings a decision: a busy machine may be refused for its lag, and a retry is the same. */
async function decided(curl: string): Promise<Record<string, unknown>> {
  for (;;) {
    const answer = JSON.parse(await shell(curl)) as Record<string, unknown>
    if (answer.code !== 'ASSAY_OVERLOADED') return answer
  }
}

/** The transaction of README.md, sent as it stands there, gets an answer of the shape and by the model shown there. */
async function readmeExample(
  t: { same: (a: unknown, b: unknown) => unknown; ok: (a: unknown) => unknown },
  url: string,
) {
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
  const curl = /```sh\n(curl [^]*?)\n```/.exec(readme)?.[1] ?? ''
  const shown = JSON.parse(/```json\n([^]*?)\n```/.exec(readme)?.[1] ?? '{}') as Record<string, unknown>
  const answer = await decided(curl.replaceAll('http://127.0.0.1:8080', url))
  // The server of this test has no history, so its windows are cold.
  t.same(answer.features, ['cold'])
  t.same(
    Object.keys(answer).filter((key) => key !== 'features'),
    Object.keys(shown),
  )
  const begins = (value: unknown, start: unknown): boolean => String(value).startsWith(String(start).replace('…', ''))
  // The server of this test has other budgets, so another policy.
  t.ok(begins(digestText(policyFingerprint(loadConfig({ env: {} }).policy)), shown.policy))
  t.same(answer.action, shown.action)
  const [model, like] = [answer.model, shown.model] as Record<string, unknown>[]
  t.ok(Object.keys(like).every((key) => begins(model[key], like[key])))
}

void t.test('the log is whole, and exports hold as many rows as it holds decisions', async (t) => {
  const verified = await assay(['log', 'verify', '--replay', '--json'])
  t.equal(verified.code, 0)
  t.match(JSON.parse(verified.out), { damaged: false, replay: { compared: decisions, equal: decisions } })
  const lines = (await assay(['log', 'cat', '--type', 'decision'])).out.trimEnd().split('\n')
  t.equal(lines.length, decisions)
  t.match(JSON.parse(lines[0]), { type: 'decision', transaction: { fields: { customer_id: '***' } } })
  t.equal((await assay(['log', 'cat', '--limit', '3'])).out.trimEnd().split('\n').length, 3)
  for (const format of ['jsonl', 'parquet', 'avro']) {
    const args = ['log', 'export', '--type', 'decision', '--json', '--out', place(`out.${format}`)]
    t.match(await assay(args), {
      code: 0,
      out: `${JSON.stringify({ rows: decisions, out: place(`out.${format}`) })}\n`,
    })
  }
  t.equal((await readFile(place('out.jsonl'), 'utf8')).trimEnd().split('\n').length, decisions)
  const parquet = await readFile(place('out.parquet'))
  t.equal(parquetMetadata(Uint8Array.from(parquet).buffer).num_rows, BigInt(decisions))
  const ids: string[] = []
  const decoder = avsc.createFileDecoder(place('out.avro'))
  decoder.on('data', (row: { decision_id: string }) => ids.push(row.decision_id))
  await once(decoder, 'end')
  t.same(
    ids,
    lines.map((line) => (JSON.parse(line) as { decision_id: string }).decision_id),
  )
  const unwritable = await assay(['log', 'export', '--out', place('no/such.avro')])
  t.match(unwritable, { code: 1, err: coded('ASSAY_INPUT_INVALID') })
  for (const wrong of [
    ['cat', '--limit', 'x'],
    ['export', '--out', 'x.txt'],
  ]) {
    t.match(await assay(['log', ...wrong]), { code: 2, err: coded('ASSAY_USAGE') }, wrong.join(' '))
  }
})

/** A copy of the reference models with one JSON file changed in every bundle that has it. */
async function tampered(name: string, change: (file: string, json: Record<string, unknown>) => void): Promise<string> {
  const directory = place(name)
  await cp(join(ROOT, 'models'), directory, { recursive: true })
  for (const file of ['baseline/1/manifest', 'fraud-lgbm/1/manifest', 'baseline/1/scorecard']) {
    const path = join(directory, `${file}.json`)
    const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
    change(file, json)
    await writeFile(path, JSON.stringify(json))
  }
  return directory
}

void t.test('decisions are recomputed: equal with the bundles that answered, named where not', async (t) => {
  const [first] = (await assay(['log', 'cat', '--type', 'decision', '--limit', '1'])).out.split('\n')
  const { decision_id: id, decidedAtMs } = JSON.parse(first) as { decision_id: string; decidedAtMs: number }
  t.match(await assay(['decision', 'verify', id]), { code: 0, out: `${id} equal\n` })
  const all = [
    '--since',
    new Date(decidedAtMs).toISOString(),
    '--until',
    new Date(decidedAtMs + 3_600_000).toISOString(),
  ]
  const summary = `${decisions} decisions: ${decisions} equal, 0 differ, 0 cannot be recomputed\n`
  t.match(await assay(['decision', 'verify', ...all]), { code: 0, out: '', err: summary })

  const cuts = await tampered('cuts', (file, json) => {
    if (file.endsWith('manifest')) json.thresholds = { review_at: 1e-9, decline_at: 1 }
  })
  const differs = await assay(['decision', 'verify', id, '--models', cuts])
  t.match(differs, {
    code: 1,
    out: /differs; other thresholds were applied; action by the score: "review" is recomputed, "approve" was logged/,
  })

  const other = await tampered('other', (file, json) => {
    if (file.endsWith('scorecard')) json.intercept = 1
    else json.file = { ...(json.file as object), digest: `sha256:${'0'.repeat(64)}` }
  })
  const refused = await assay(['decision', 'verify', id, '--models', other, '--json'])
  t.equal(refused.code, 1)
  t.match(JSON.parse(refused.out), { decision_id: id, result: 'unverifiable', details: [/\/file\/digest/] })

  const unknown = `${id.slice(0, -4)}zzzz`
  t.match(await assay(['decision', 'verify', unknown]), { code: 1, err: coded('ASSAY_INPUT_INVALID') })
  t.match(await assay(['decision', 'verify', 'd_abc']), { code: 2, err: coded('ASSAY_USAGE') })
})
