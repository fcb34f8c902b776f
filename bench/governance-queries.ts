// What the console's questions cost over ten million decisions. A log of 20,000 is read by the release's sidecar; its
// rows are then repeated in the store, each block later in time and with ids of its own, over about a day, whose
// minutes and hours each have a window of shadow scores; the sidecar is started over it (without the log, which such a
// store would be ahead of) and its API is asked, as the console asks.
//   node dist/bench/governance-queries.js [--decisions 10000000] [--rounds 7] [--folder DIR]
//                                                                           → bench/results/governance-queries.txt
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { decisionId } from '../src/contract/decision.js'
import { openDatabase } from '../src/governance/store/database.js'
import { STORE_FILE } from '../src/governance/store/open.js'
import { openWriter } from '../test/governance/written-log.js'
import { targetLine, writeReport } from './report.js'
import { CLI, ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    decisions: { type: 'string', default: '10000000' },
    rounds: { type: 'string', default: '7' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const BLOCK = 20_000
const SPAN_MS = 86_400_000
const MS_MAX = 1_000
const START_MS_MAX = 120_000
const blocks = Math.ceil(Number(values.decisions) / BLOCK)
const stepMs = Math.max(1, Math.floor(SPAN_MS / (blocks * BLOCK)))
const decisions = blocks * BLOCK
const rounds = Number(values.rounds)

async function writeBlock(): Promise<Buffer> {
  const writer = await openWriter(join(folder, 'decision-log'), { startMs: beganMs, stepMs })
  await writer.decisions(BLOCK)
  await writer.close()
  return writer.log.logId
}

/** What makes a row of a block one of a later block. */
const SHIFTED: Readonly<Record<string, string>> = {
  ...{ sequence: `sequence + k * ${BLOCK}`, ordinal: `ordinal + k * ${BLOCK}` },
  ...{ decision_id: "concat(decision_id, '-', k)", transaction_id: "concat(transaction_id, '-', k)" },
  ...Object.fromEntries(
    ['received_at_ms', 'folded_at_ms', 'decided_at_ms', 'occurred_at_ms', 'from_ms', 'until_ms'].map((name) => [
      name,
      `CAST(${name} + k * ${BLOCK * stepMs} AS BIGINT)`,
    ]),
  ),
}

async function repeatBlock(): Promise<void> {
  const directory = join(folder, 'governance')
  const database = await openDatabase({
    ...{ directory, file: join(directory, STORE_FILE), memoryBytesMax: 2 ** 31, threads: 2, queryMsMax: 600_000 },
  })
  for (const table of ['decisions', 'shadow_pairs', 'drift']) {
    const found = await database.ask('SELECT column_name FROM duckdb_columns() WHERE table_name = ?', [table])
    const columns = found.map(({ column_name: name }) => {
      const by = SHIFTED[String(name)]
      return by === undefined ? String(name) : `${by} AS ${String(name)}`
    })
    const select = `SELECT ${columns.join(', ')} FROM block, range(CAST(? AS BIGINT), CAST(? AS BIGINT)) AS blocks(k)`
    await database.run(`CREATE TEMPORARY TABLE block AS SELECT * FROM ${table}`)
    // In parts: one statement keeps what it writes in memory until it is committed.
    for (let from = 1; from < blocks; from += 50) {
      await database.run(`INSERT INTO ${table} BY NAME ${select}`, [from, Math.min(blocks, from + 50)])
    }
    await database.run('DROP TABLE block')
  }
  await database.run('CREATE TEMPORARY TABLE minute AS SELECT * FROM shadow_windows LIMIT 1')
  for (const windowMs of [60_000, 3_600_000]) {
    const from = `CAST(from_ms + k * ${windowMs} AS BIGINT)`
    const until = `CAST(from_ms + (k + 1) * ${windowMs} AS BIGINT)`
    const moved = `${from} AS from_ms, ${until} AS until_ms, CAST(${windowMs} AS BIGINT) AS window_ms`
    const select = `SELECT minute.* REPLACE (${moved}) FROM minute, range(CAST(? AS BIGINT)) AS windows(k)`
    await database.run(`INSERT INTO shadow_windows ${select}`, [Math.floor(SPAN_MS / windowMs)])
  }
  await database.run('CHECKPOINT')
  await database.close()
}

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'queries-'))
const environment = { ...process.env, ASSAY_DATA_DIR: folder, ASSAY_PROCESS__LOGGER__LEVEL: 'error' }
const beganMs = Date.now() - SPAN_MS
const logId = await writeBlock()
execFileSync(process.execPath, [CLI, 'govern', 'rebuild'], { env: environment, stdio: ['ignore', 'ignore', 'inherit'] })
rmSync(join(folder, 'decision-log'), { recursive: true })
await repeatBlock()
const storeMiB = statSync(join(folder, 'governance', STORE_FILE)).size / 2 ** 20
console.error(`${decisions} decisions in the store`)

const middle = Math.floor(blocks / 2)
const idInMiddle = decisionId(logId, 1, middle * BLOCK + 7, false)
const at = (share: number): string => new Date(beganMs + share * SPAN_MS).toISOString()
const QUESTIONS: Readonly<Record<string, string>> = {
  'the view of now': 'summary',
  'newest decisions': 'decisions?limit=50',
  'a page in the middle': `decisions?limit=50&after=${middle * BLOCK}`,
  'an hour of yesterday': `decisions?limit=50&since=${at(0.3)}&until=${at(0.34)}`,
  'declines of one model': 'decisions?limit=50&action=decline&model=fraud-lgbm@1',
  'scores from 0.99': 'decisions?limit=50&score_min=0.99',
  degraded: 'decisions?limit=50&degraded=true',
  'one customer': 'decisions?limit=50&entity=17',
  'nothing fits': `decisions?limit=50&score_min=0.5&score_max=0.5&action=review`,
  'a decision by id': `decisions/${idInMiddle}`,
  'a decision by transaction': `decisions/${encodeURIComponent(await transactionInMiddle())}`,
  'drift, all features': 'drift',
  'drift of one feature': 'drift/amount',
  'shadows, all': 'shadow',
  'a shadow with its flips': 'shadow/fraud-xgb@1',
  alerts: 'alerts',
  audit: 'audit',
  health: 'health',
}

/** Its transaction id; and the row gets back the id that its place in the log gives it. */
async function transactionInMiddle(): Promise<string> {
  const directory = join(folder, 'governance')
  const database = await openDatabase({
    ...{ directory, file: join(directory, STORE_FILE), memoryBytesMax: 2 ** 30, threads: 2, queryMsMax: 60_000 },
  })
  const sequence = middle * BLOCK + 7
  const [row] = await database.ask('SELECT transaction_id, epoch, ordinal FROM decisions WHERE sequence = ?', [
    sequence,
  ])
  const id = decisionId(logId, Number(row?.epoch), Number(row?.ordinal), false)
  await database.run('UPDATE decisions SET decision_id = ? WHERE sequence = ?', [id, sequence])
  await database.close()
  return String(row?.transaction_id)
}

const sidecar = spawn(process.execPath, [CLI, 'govern'], {
  env: { ...environment, ASSAY_PROCESS__GOVERNANCE__PORT: '0', ASSAY_PROCESS__LOGGER__LEVEL: 'info' },
  stdio: ['ignore', 'pipe', 'pipe'],
})
let output = ''
for (const stream of [sidecar.stdout, sidecar.stderr])
  stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
try {
  const url = await address()
  const rows: string[] = []
  const medians: number[] = []
  const figures: Record<string, number[]> = {}
  for (const [name, path] of Object.entries(QUESTIONS)) {
    const took: number[] = []
    for (let round = 0; round < rounds; round++) took.push(await ask(`${url}/api/v1/${path}`))
    const [first = NaN] = took
    const sorted = [...took].sort((a, b) => a - b)
    const median = sorted[sorted.length >> 1] ?? NaN
    medians.push(median)
    figures[name] = took
    rows.push(
      `  ${name.padEnd(28)}${first.toFixed(0).padStart(8)}${median.toFixed(0).padStart(8)}${(sorted.at(-1) ?? NaN).toFixed(0).padStart(8)}`,
    )
    console.error(rows.at(-1))
  }
  writeReport(
    'governance-queries',
    [
      `${decisions} decisions over a day, the store is ${storeMiB.toFixed(0)} MiB; ${rounds} times each over HTTP, nothing else asked`,
      '',
      `  milliseconds                   first  median    most`,
      ...rows,
      '',
      targetLine('slowest median, ms', Math.max(...medians), { max: MS_MAX }),
    ],
    { decisions, storeMiB, figures },
  )
} finally {
  sidecar.kill('SIGTERM')
  await once(sidecar, 'exit')
  rmSync(folder, { recursive: true, force: true })
}

async function address(): Promise<string> {
  const endMs = performance.now() + START_MS_MAX
  for (;;) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0]
    if (url !== undefined && (await fetch(`${url}/api/v1/summary`).catch(() => null))?.ok === true) return url
    if (sidecar.exitCode !== null || performance.now() > endMs)
      throw new Error(`the sidecar did not come up:\n${output}`)
    await delay(100)
  }
}

/** Milliseconds to the whole answer. Throws where it is none. */
async function ask(url: string): Promise<number> {
  const fromMs = performance.now()
  const answer = await fetch(url)
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${text.slice(0, 300)}`)
  return performance.now() - fromMs
}
