// `assay simulate`: writes days of simulated transactions to a file, for training, history import and tests.
// Invariant: the same options give the same bytes. Refuses unknown options, bad numbers and other file endings.
import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { createGzip } from 'node:zlib'
import { AssayError } from '../errors.js'
import { createSimulator, type SimulatedTransaction, type Simulator } from './generator.js'
import { count, instant, switchesFrom, SWITCH_OPTIONS } from './options.js'

const DAY_MS = 86_400_000
const CHUNK_CHARS = 64 << 10
const COLUMNS = [
  'transaction_id',
  'occurred_at',
  'amount_minor',
  'currency',
  'customer_id',
  'terminal_id',
  'fraud',
  'scenario',
]

const HELP = `assay simulate --out FILE [options]   write simulated transactions (.csv, .csv.gz, .jsonl, .jsonl.gz)

  --days N           days to write (30)
  --customers N      (5000)
  --terminals N      (10000)
  --seed N           (1); the same options give the same bytes
  --start TIME       first day, RFC 3339 (2025-01-01)
  --json             print the counts as JSON
  --drift KIND       amount[:FACTOR] or merchants[:SHARE]
  --broken FIELD     amount (in major units), customer_id or terminal_id (left out)
  --spike FACTOR     factor on the rate of genuine purchases
  --attack SHARE     share of the stream that is card testing at one terminal
  --from-day N       the day on which drift, broken, spike and attack begin (0)
`

/** Runs the command; resolves to the exit code. Throws AssayError (ASSAY_USAGE) on a bad command line. */
export async function simulateCommand(args: readonly string[]): Promise<number> {
  const values = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  if (values.out === undefined) throw new AssayError('ASSAY_USAGE', '--out FILE is required')
  const [days, fromDay] = [count(values, 'days', 30), count(values, 'from-day', 0, 0)]
  const startMs = Math.floor(instant(values.start ?? '2025-01-01T00:00:00Z', 'start') / DAY_MS) * DAY_MS
  const simulator = createSimulator({
    seed: count(values, 'seed', 1, 0),
    customers: count(values, 'customers', 5000),
    terminals: count(values, 'terminals', 10_000),
    startMs,
  })
  const tally = { transactions: 0, frauds: 0, scenarios: new Map<string, number>() }
  const switches = switchesFrom(values)
  if (fromDay === 0) simulator.apply(switches)
  const transactions = untilTime(simulator, startMs + days * DAY_MS, {
    fromMs: startMs + fromDay * DAY_MS,
    begin: () => simulator.apply(switches),
  })
  await write(values.out, transactions, (each) => {
    tally.transactions++
    if (each.scenario === null) return
    tally.frauds++
    tally.scenarios.set(each.scenario, (tally.scenarios.get(each.scenario) ?? 0) + 1)
  })
  const result = { ...tally, scenarios: Object.fromEntries([...tally.scenarios].sort()), out: values.out }
  process.stdout.write(values.json === true ? `${JSON.stringify(result)}\n` : describe(result))
  return 0
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...SWITCH_OPTIONS,
        out: { type: 'string' },
        days: { type: 'string' },
        customers: { type: 'string' },
        terminals: { type: 'string' },
        seed: { type: 'string' },
        start: { type: 'string' },
        'from-day': { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : 'bad arguments', { cause })
  }
}

function* untilTime(
  simulator: Simulator,
  endMs: number,
  switching: { fromMs: number; begin: () => void },
): Generator<SimulatedTransaction> {
  let begun = false
  for (;;) {
    const each = simulator.next()
    if (each.occurredAtMs >= endMs) return
    yield each
    if (!begun && each.occurredAtMs >= switching.fromMs) {
      begun = true
      switching.begin()
    }
  }
}

async function write(
  out: string,
  transactions: Iterable<SimulatedTransaction>,
  seen: (each: SimulatedTransaction) => void,
): Promise<void> {
  const bare = out.endsWith('.gz') ? out.slice(0, -3) : out
  if (!bare.endsWith('.csv') && !bare.endsWith('.jsonl')) {
    throw new AssayError('ASSAY_USAGE', '--out must end in .csv, .csv.gz, .jsonl or .jsonl.gz')
  }
  const csv = bare.endsWith('.csv')
  const line = csv ? csvLine : jsonLine
  function* chunks(): Generator<string> {
    let text = csv ? `${COLUMNS.join(',')}\n` : ''
    for (const each of transactions) {
      seen(each)
      text += line(each)
      if (text.length < CHUNK_CHARS) continue
      yield text
      text = ''
    }
    yield text
  }
  try {
    const file = createWriteStream(out)
    // The header of gzip holds no time, so that equal options give equal files.
    if (out.endsWith('.gz')) await pipeline(Readable.from(chunks()), createGzip({ level: 6 }), file)
    else await pipeline(Readable.from(chunks()), file)
  } catch (cause) {
    throw new AssayError('ASSAY_INPUT_INVALID', `cannot write ${out}`, { cause })
  }
}

/** No value needs quoting: ids, ISO times, integers, currency codes. */
function csvLine({ wire, fraud, scenario }: SimulatedTransaction): string {
  const { transaction_id, occurred_at, amount_minor, currency, customer_id = '', terminal_id = '' } = wire
  const facts = `${transaction_id},${occurred_at},${amount_minor},${currency},${customer_id},${terminal_id}`
  return `${facts},${fraud ? 1 : 0},${scenario ?? ''}\n`
}

function jsonLine({ wire, fraud, scenario }: SimulatedTransaction): string {
  return `${JSON.stringify({ ...wire, fraud, scenario })}\n`
}

function describe(result: { transactions: number; frauds: number; scenarios: Record<string, number>; out: string }) {
  const share = ((100 * result.frauds) / Math.max(1, result.transactions)).toFixed(2)
  const kinds = Object.entries(result.scenarios).map(([name, frauds]) => `  ${name} ${frauds}\n`)
  return `${result.out}: ${result.transactions} transactions, ${result.frauds} frauds (${share} %)\n${kinds.join('')}`
}
