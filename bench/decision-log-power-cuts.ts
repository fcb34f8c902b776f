// The full form of the power-cut check: 10,000 seeds for the writer as it is, then for each way of breaking it. Fails
// where a sound writer shows a fault or a broken one shows none. `npm run proof:power-cuts` keeps what it prints.
//   node dist/bench/decision-log-power-cuts.js [seeds]
import { type Outcome, type Plan, runPowerCuts } from '../test/decision-log/power-cuts.js'

interface Trial {
  readonly name: string
  readonly plan: Plan
  readonly seeds: number
  /** Whether no seed may show a fault; else at least one must. */
  readonly sound: boolean
}

const seeds = Number(process.argv[2] ?? 10_000)
// A broken writer is found out within a few seeds: enough that the share can be stated.
const few = Math.ceil(seeds / 20)
const killsOnly: Plan = { durability: 'buffered', killsOnly: true }

const TRIALS: readonly Trial[] = [
  { name: 'synced, as it is', plan: {}, seeds, sound: true },
  { name: 'buffered, as it is, kills only', plan: killsOnly, seeds: few, sound: true },
  { name: 'broken: no sync', plan: { mutation: { ignoreSync: true } }, seeds: few, sound: false },
  { name: 'broken: no directory sync', plan: { mutation: { ignoreDirectorySync: true } }, seeds: few, sound: false },
  { name: 'broken: reply before the sync', plan: { replyEarly: true }, seeds: few, sound: false },
  { name: 'broken: failed sync repeated', plan: { mutation: { repeatFailedSync: true } }, seeds: few, sound: false },
]

type Counted = Exclude<keyof Outcome, 'faults'>
const COUNTED: readonly (readonly [Counted, string])[] = [
  ['acknowledged', 'records acknowledged'],
  ['cuts', 'power cuts'],
  ['kills', 'kills'],
  ['cleanEnds', 'clean ends'],
  ['failedSyncs', 'failed syncs'],
  ['abandoned', 'segments abandoned'],
  ['cutInRecovery', 'cuts while recovering'],
  ['failedStarts', 'starts that failed'],
]

/** Runs a trial, prints it, and says whether it came out as it must. */
function run({ name, plan, seeds: count, sound }: Trial): boolean {
  const sums = new Map(COUNTED.map(([key]) => [key, 0]))
  let failed = 0
  let lost = 0
  let first = ''
  for (let seed = 1; seed <= count; seed++) {
    const outcome = runPowerCuts(seed, plan)
    for (const [key, sum] of sums) sums.set(key, sum + outcome[key])
    lost += outcome.faults.filter((fault) => /acknowledged record \d+ is lost/.test(fault)).length
    if (outcome.faults.length === 0) continue
    failed++
    if (first === '') first = `; first with seed ${seed}: ${outcome.faults[0] ?? ''}`
  }
  const isRight = sound === (failed === 0)
  console.log(`${name}: ${count} seeds, ${failed} with a fault, ${lost} acknowledged records lost${first}`)
  console.log(`  ${COUNTED.map(([key, what]) => `${sums.get(key)} ${what}`).join(', ')}`)
  if (!isRight) console.log(`  NOT as it must be: ${sound ? 'a sound writer lost something' : 'it was not found out'}`)
  return isRight
}

const right = TRIALS.map(run)
const held = right.every(Boolean)
console.log(held ? '\nheld: nothing that was acknowledged is lost, and every broken writer is found out' : '\nNOT held')
process.exitCode = held ? 0 : 1
