// Several servers on one Redis: what shared state costs a payment, the Redis and its memory, how many decisions a
// second come out, what a server pays that has just joined, and what a large fleet would need by these figures.
//   node dist/bench/fleet/run.js [--turns 10] [--seconds 4] [--rate 2000] [--entities 1000000] [--folder DIR]
//     [--parts latency,rate,entities,cold] [--quick]                         → bench/results/fleet.txt, .json
// --quick tries the whole way in a minute, with servers that are run in for a moment, and writes nothing.
// Goals are reported with what was reached. Exit code 1 where one was missed, or the runs for it were void.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { QUICK_SERVE } from '../../test/flow/quick.js'
import { writeReport } from '../report.js'
import { ROOT } from '../server.js'
import { measureCold } from './cold.js'
import { measureEntities } from './entities.js'
import { measureLatency } from './latency.js'
import { projectionLines } from './projection.js'
import { measureRate } from './rate.js'
import type { Bench } from './rig.js'

const { values } = parseArgs({
  options: {
    turns: { type: 'string' },
    seconds: { type: 'string' },
    rate: { type: 'string', default: '2000' },
    entities: { type: 'string' },
    parts: { type: 'string', default: 'latency,rate,entities,cold' },
    folder: { type: 'string', default: join(ROOT, 'data') },
    quick: { type: 'boolean', default: false },
  },
})
const { quick } = values
const PARTS = ['latency', 'rate', 'entities', 'cold'] as const
const parts = values.parts.split(',')
const unknown = parts.filter((part) => !PARTS.some((known) => known === part))
if (unknown.length > 0) throw new Error(`--parts are of ${PARTS.join(', ')}, not ${unknown.join(', ')}`)

const sizes = quick
  ? { turns: 1, seconds: 1, warmUpSeconds: 1, entities: 4_000 }
  : { turns: 10, seconds: 4, warmUpSeconds: 5, entities: 1_000_000 }
for (const key of ['turns', 'seconds', 'entities'] as const) {
  const given = values[key]
  if (given !== undefined) sizes[key] = Number(given)
}
const { entities, ...load } = sizes
const LONG = [
  { entities: 2_000, events: [8, 16, 32, 64, 128, 256] },
  { entities: 20, events: [1_000, 4_000] },
]
const counts = quick ? [1, 2] : [1, 2, 3]
const entitySizes = quick
  ? { long: [{ entities: 200, events: [8, 16] }], indexed: 2_000, timed: 200 }
  : { long: LONG, indexed: 200_000, timed: 5_000 }
const coldSizes = quick ? { lengths: [10, 100], customers: 3 } : { lengths: [10, 100, 1_000, 4_000], customers: 20 }

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'assay-fleet-'))
const bench: Bench = {
  ...{ folder, ...load, ratePerSecond: Number(values.rate) },
  ...(quick && { command: QUICK_SERVE }),
  say: (line) => console.error(line),
}
const wants = (part: (typeof PARTS)[number]): boolean => parts.includes(part)
try {
  const latency = wants('latency') ? await measureLatency(bench) : null
  const rate = wants('rate') ? await measureRate(bench, counts) : null
  const held = wants('entities') ? await measureEntities(bench, { entities, ...entitySizes }) : null
  const cold = wants('cold') ? await measureCold(bench, coldSizes) : null
  const lines = [latency, rate, held, cold].flatMap((part) => part?.lines ?? [])
  if (latency !== null && held !== null) lines.push(...projectionLines({ ...latency.data, ...held.data }))
  const data = { latency: latency?.data, rate: rate?.data, entities: held?.data, cold: cold?.data }
  if (quick) console.log(lines.join('\n'))
  else writeReport('fleet', lines, { ...sizes, ...data })
  if (!quick && lines.some((line) => /(MISSED|void)$/.test(line))) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
