// Kafka end to end: what the server adds between produce and consume, what exactly_once costs, how many a second go
// through, what the stream does to requests over HTTP, and how long a rolling restart goes without a decision.
//   node dist/bench/kafka/run.js [--pairs 9] [--seconds 3] [--rates 200,2000] [--rounds 3] [--preload 40000]
//     [--http-rate 2000] [--rolling-rate 500] [--parts latency,clients,promises,rate,http,rolling] [--folder DIR]
//     [--quick]                                                              → bench/results/kafka.txt, .json
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startBroker } from '../../test/kafka/broker.js'
import { writeReport } from '../report.js'
import { ROOT } from '../server.js'
import { measureHttpBeside } from './http-beside.js'
import { measureClients, measureLatency } from './latency.js'
import { seePromises } from './promises.js'
import { measureRate } from './rate.js'
import type { Bench, Part } from './rig.js'
import { measureRolling } from './rolling.js'

const { values } = parseArgs({
  options: {
    pairs: { type: 'string' },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    preload: { type: 'string' },
    rates: { type: 'string', default: '200,2000' },
    'http-rate': { type: 'string', default: '2000' },
    'rolling-rate': { type: 'string', default: '500' },
    parts: { type: 'string', default: 'latency,clients,promises,rate,http,rolling' },
    folder: { type: 'string', default: join(ROOT, 'data') },
    quick: { type: 'boolean', default: false },
  },
})
const { quick } = values
const sizes = quick
  ? { pairs: 1, seconds: 1, rounds: 1, preload: 4_000, warmUpSeconds: 1 }
  : { pairs: 9, seconds: 3, rounds: 3, preload: 40_000, warmUpSeconds: 5 }
for (const key of ['pairs', 'seconds', 'rounds', 'preload'] as const) {
  const given = values[key]
  if (given !== undefined) sizes[key] = Number(given)
}
const rates = values.rates.split(',').map(Number)
const PARTS: Readonly<Record<string, (bench: Bench) => Promise<Part>>> = {
  latency: (bench) => measureLatency(bench, rates),
  clients: (bench) => measureClients(bench, Math.max(...rates)),
  promises: seePromises,
  rate: (bench) => measureRate(bench, sizes.rounds, sizes.preload),
  http: (bench) => measureHttpBeside(bench, { httpRate: Number(values['http-rate']), streamRate: Math.max(...rates) }),
  rolling: (bench) => measureRolling(bench, Number(values['rolling-rate'])),
}
const parts = values.parts.split(',')
const unknown = parts.filter((part) => !(part in PARTS))
if (unknown.length > 0) throw new Error(`--parts are of ${Object.keys(PARTS).join(', ')}, not ${unknown.join(', ')}`)

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'assay-bench-kafka-'))
// As it runs for long, not as tests start it.
const broker = await startBroker(join(folder, 'broker'), { javaOptions: ['-Xmx256m'] })
try {
  const bench: Bench = { broker, folder, ...sizes, say: (line) => console.error(line) }
  const lines = [
    `kafkajs; broker, traffic and server on the same cores; paired, in turn, runs of ${sizes.seconds} s`,
    'p50 and p99 are medians of runs, p99.9 is that of all their messages',
    '',
  ]
  const data: Record<string, unknown> = {}
  for (const part of parts) {
    const measured = await PARTS[part](bench)
    lines.push(...measured.lines)
    data[part] = measured.data
  }
  if (quick) console.log(lines.join('\n'))
  else writeReport('kafka', lines, { ...sizes, ...data })
} finally {
  await broker.stop()
  rmSync(folder, { recursive: true, force: true })
}
