// Two servers under the same load in turn, pair by pair (A B, B A, …): is B different from A, and by how much.
//   node dist/bench/compare.js --b-env ASSAY_POLICY__DURABILITY=buffered --figure p50 [--pairs 10] [--seconds 10]
//   --a-env and --b-env may stand several times; --a-command and --b-command take a whole command line instead
//   --figure p50 | p99 | p999 (open loop, cleaned) or rate | cpu (closed loop)
// Prints the median of B / A with an interval of at least 95 %; one wider than --width (0.1) is `undecided`, no pass.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { medianInterval } from './interval.js'
import { measure, type Measurement } from './measure.js'
import { createRequestPool, POPULATION } from './requests.js'
import { ROOT, startServer, type RunningServer } from './server.js'

const FIGURES: Record<string, (m: Measurement) => number> = {
  p50: (m) => m.cleaned.p50Ms,
  p99: (m) => m.cleaned.p99Ms,
  p999: (m) => m.cleaned.p999Ms,
  rate: (m) => m.perSecond,
  cpu: (m) => m.serverCpuUs,
}

const { values } = parseArgs({
  options: {
    'a-env': { type: 'string', multiple: true, default: [] },
    'b-env': { type: 'string', multiple: true, default: [] },
    'a-command': { type: 'string' },
    'b-command': { type: 'string' },
    figure: { type: 'string', default: 'p50' },
    pairs: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '10' },
    rate: { type: 'string', default: '2000' },
    connections: { type: 'string', default: '64' },
    width: { type: 'string', default: '0.1' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})

const figure = FIGURES[values.figure]
if (figure === undefined) throw new Error(`--figure must be one of ${Object.keys(FIGURES).join(', ')}`)
const kind = values.figure === 'rate' || values.figure === 'cpu' ? 'closed' : 'open'

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'compare-'))

function start(side: string, pairs: readonly string[], command: string | undefined): Promise<RunningServer> {
  const env = Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
  )
  const dataDir = join(folder, side)
  return startServer(command === undefined ? { dataDir, env } : { dataDir, env, command: command.split(/\s+/) })
}

let pools = 0
async function load(server: RunningServer, seconds: number, isWarmUp = false): Promise<Measurement> {
  pools += 1
  const measured = await measure({
    kind,
    seconds,
    port: server.scorePort,
    pid: server.pid,
    folder,
    connections: Number(values.connections),
    ratePerSecond: Number(values.rate),
    pool: createRequestPool({ seed: pools, size: 20_000, prefix: `p${pools}-`, ...POPULATION }),
  })
  const wrong = Object.values(measured.errors).reduce((sum, count) => sum + count, measured.unanswered)
  if (wrong > 0 && !isWarmUp) throw new Error(`${wrong} wrong or missing answers`)
  return measured
}

const a = await start('a', values['a-env'], values['a-command'])
const b = await start('b', values['b-env'], values['b-command'])
try {
  for (const server of [a, b]) await load(server, 5, true)
  const ratios: number[] = []
  let voids = 0
  for (let pair = 0; pair < Number(values.pairs); pair++) {
    const order = pair % 2 === 0 ? [a, b] : [b, a]
    const measured = new Map<RunningServer, Measurement>()
    for (const server of order) measured.set(server, await load(server, Number(values.seconds)))
    const [left, right] = [measured.get(a), measured.get(b)]
    if (left === undefined || right === undefined) throw new Error('half a pair')
    // A void half voids the pair where the figure is a cleaned one.
    if (kind === 'open' && (left.isVoid || right.isVoid)) voids += 1
    else ratios.push(figure(right) / figure(left))
    const state = left.isVoid || right.isVoid ? ' (void)' : ''
    console.log(`pair ${pair + 1}: A ${figure(left).toFixed(3)}  B ${figure(right).toFixed(3)}${state}`)
  }
  const interval = medianInterval(ratios)
  if (interval === null || interval.high - interval.low > Number(values.width)) {
    const shown = interval === null ? 'too few pairs' : `[${interval.low.toFixed(3)}, ${interval.high.toFixed(3)}]`
    console.log(`undecided: B / A of ${values.figure} ${shown}, ${ratios.length} pairs, ${voids} void`)
  } else {
    const { low, median, high, coverage } = interval
    console.log(
      `B / A of ${values.figure}: ${median.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}] ` +
        `at ${(100 * coverage).toFixed(1)} %, ${ratios.length} pairs, ${voids} void`,
    )
  }
} finally {
  await Promise.all([a.stop(), b.stop()])
  rmSync(folder, { recursive: true, force: true })
}
