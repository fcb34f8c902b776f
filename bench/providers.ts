// Execution providers side by side: what a run of so many rows takes on the CPU, one core as a lane has it, and on each
// other provider that this machine has, for a tree model and for a deep one; from how many rows on the other pays; and
// where the parts of a model really ran. Without a device it says so and measures the CPU.
// Run: npm run bench:providers [-- PROVIDER...] [-- --save]   (--save keeps it as bench/results/providers.txt)
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { LaneProviders, ProviderName } from '../src/contract/providers.js'
import { LIMITS } from '../src/limits.js'
import { type Bundle, readBundle } from '../src/models/bundle.js'
import { createRunner } from '../src/models/golden-rows.js'
import { absenceOf, machineFacts } from '../src/models/providers.js'
import { openSession } from '../src/models/session.js'
import { createCost } from '../src/scoring/lane/cost.js'
import { median } from './interval.js'

const SIZES = [1, 8, 32, 64, 128, 256, 512]
/** Milliseconds of one size, and runs of it at least. */
const SIZE_MS = 1_000
const RUNS_MIN = 5
const OTHERS: readonly ProviderName[] = ['cuda', 'tensorrt', 'dml', 'coreml', 'webgpu', 'qnn']

const root = fileURLToPath(new URL('../../', import.meta.url))
const MODELS = [
  ['trees: fraud-lgbm@1', `${root}models/fraud-lgbm/1`],
  ['deep: four layers of 1,024 units', `${root}test/fixtures/models/deep/1`],
] as const

/** Median microseconds of a run, by rows. */
type Timings = ReadonlyMap<number, number>

function providersOf(name: ProviderName): LaneProviders {
  return { list: name === 'cpu' ? [{ name }] : [{ name }, { name: 'cpu' }], onMissing: 'refuse' }
}

async function measure(bundle: Bundle, name: ProviderName): Promise<Timings> {
  const rowsMax = SIZES.at(-1) ?? 1
  const session = await openSession(bundle, { rowsMax, providers: providersOf(name) })
  const runner = await createRunner(bundle, session, rowsMax)
  const timings = new Map<number, number>()
  for (const rows of SIZES) {
    const micros: number[] = []
    for (let at = 0, ms = 0; micros.length < RUNS_MIN || ms < SIZE_MS; at += rows) {
      runner.stage(bundle.golden.values, at % bundle.golden.count, rows)
      const before = performance.now()
      await runner.run(rows)
      const took = performance.now() - before
      // The first ones compile and warm.
      if (at > 2 * rows) micros.push(took * 1_000)
      ms += took
    }
    timings.set(rows, median(micros))
  }
  await session.close()
  return timings
}

/** Nodes of the model by the provider that ran them, by ONNX Runtime's own profile of a run. */
async function placementOf(bundle: Bundle, name: ProviderName): Promise<Map<string, number>> {
  const folder = mkdtempSync(join(os.tmpdir(), 'assay-placement-'))
  try {
    const { input, output, features } = bundle.manifest
    if (input === undefined || output === undefined) throw new Error('an ONNX model')
    const session = await InferenceSession.create(bundle.modelPath, {
      executionProviders: [...providersOf(name).list],
      ...{ intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 4 },
      ...{ enableProfiling: true, profileFilePrefix: join(folder, 'run') },
    })
    const row = Float32Array.from(bundle.golden.values.subarray(0, features.length))
    await session.run({ [input.name]: new Tensor('float32', row, [1, features.length]) }, [output.name])
    session.endProfiling()
    await session.release()
    const [file = ''] = readdirSync(folder)
    const events: unknown = JSON.parse(readFileSync(join(folder, file), 'utf8'))
    const nodes = new Map<string, number>()
    for (const provider of Array.isArray(events) ? events.map(ranOn) : []) {
      if (provider !== null) nodes.set(provider, (nodes.get(provider) ?? 0) + 1)
    }
    return nodes
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function ranOn(event: unknown): string | null {
  if (typeof event !== 'object' || event === null || !('args' in event)) return null
  const { args } = event
  return typeof args === 'object' && args !== null && 'provider' in args ? String(args.provider) : null
}

const lines: string[] = []
function say(line = ''): void {
  lines.push(line)
  process.stdout.write(`${line}\n`)
}

/** The line per run that the lanes would learn, and how many rows they would then join. */
function learned(timings: Timings, isDevice: boolean): string {
  const { laneBatchMicrosMax, laneBatchRowsMax, laneDeviceRowsMax } = LIMITS
  const device = isDevice ? laneDeviceRowsMax : laneBatchRowsMax
  const seen = [...timings].filter(([rows]) => rows <= device)
  const cost = createCost()
  for (let round = 0; round < 20; round++) for (const [rows, us] of seen) cost.add(rows, us)
  const rows = cost.rowsWithin(laneBatchMicrosMax, laneBatchRowsMax, device)
  const joined = rows === 1 ? 'runs rows one by one' : `joins up to ${rows} rows`
  return `${cost.perRunUs().toFixed(0)} µs a run and ${cost.perRowUs().toFixed(1)} µs a row: a lane ${joined}`
}

function verdict(name: ProviderName, cpu: Timings, other: Timings): string {
  const paying = SIZES.filter((rows) => (other.get(rows) ?? Infinity) < (cpu.get(rows) ?? 0))
  if (paying.length === 0) return `${name} does not pay up to ${SIZES.at(-1)} rows a run`
  const from = paying[0]
  const gain = (cpu.get(from) ?? 0) / (other.get(from) ?? 1)
  const most = Math.max(...paying.map((rows) => (cpu.get(rows) ?? 0) / (other.get(rows) ?? 1)))
  return `${name} pays from ${from} rows a run on (${gain.toFixed(1)} times as fast), at most ${most.toFixed(1)} times`
}

const args = process.argv.slice(2).filter((one) => one !== '--' && one !== '--save')
const facts = machineFacts()
const asked =
  args.length === 0 ? OTHERS.filter((name) => facts.built.includes(name)) : OTHERS.filter((name) => args.includes(name))
const absences = asked.map((name) => [name, absenceOf(name, facts)] as const)
// Bundled, but without an adapter it fails only at a load: measured where it is asked for by name.
const present = absences.filter(([name, absence]) => absence === null && (name !== 'webgpu' || args.includes(name)))
say(
  `providers: ${os.cpus()[0].model}, ${os.cpus().length} cores, Node ${process.version}, onnxruntime-node for ${facts.platform}`,
)
for (const [name, absence] of absences) if (absence !== null) say(`no ${name}: ${absence.replace(root, '')}`)
if (present.length === 0) say('There is no device here: the CPU alone, one core, is measured.')

for (const [title, directory] of MODELS) {
  const bundle = await readBundle(directory)
  const cpu = await measure(bundle, 'cpu')
  say(`\n${title}\n`)
  const names: ProviderName[] = ['cpu', ...present.map(([name]) => name)]
  const measured = new Map<ProviderName, Timings>([['cpu', cpu]])
  for (const [name] of present) measured.set(name, await measure(bundle, name))
  say(`rows a run   ${names.map((name) => `${name}: µs a run, µs a row`.padStart(26)).join('')}`)
  for (const rows of SIZES) {
    const cells = names.map((name) => {
      const us = measured.get(name)?.get(rows) ?? NaN
      return `${us.toFixed(0)}${(us / rows).toFixed(1).padStart(10)}`.padStart(26)
    })
    say(`${String(rows).padStart(10)}   ${cells.join('')}`)
  }
  for (const name of names) {
    const timings = measured.get(name) ?? cpu
    const nodes = [...(await placementOf(bundle, name))].map(([provider, count]) => `${count} by ${provider}`)
    say(`${name}: ${learned(timings, name !== 'cpu')}; nodes run: ${nodes.join(', ')}`)
    if (name !== 'cpu') say(verdict(name, cpu, timings))
  }
}
if (process.argv.includes('--save')) writeFileSync(`${root}bench/results/providers.txt`, `${lines.join('\n')}\n`)
