// The full form of the power-cut check: 10,000 seeds for the writer as it is, then for each way of breaking it.
// Prints what is committed as bench/results/decision-log-power-cuts.txt. Usage: node dist/bench/decision-log-power-cuts.js [seeds]
import { runPowerCuts } from '../test/decision-log/power-cuts.js'
import type { Plan } from '../test/decision-log/power-cuts.js'

const seeds = Number(process.argv[2] ?? 10_000)
const brokenSeeds = Math.ceil(seeds / 20)

const plans: readonly { name: string; plan: Plan; seeds: number; sound: boolean }[] = [
  { name: 'synced, as it is', plan: {}, seeds, sound: true },
  {
    name: 'buffered, kills only',
    plan: { durability: 'buffered', killsOnly: true },
    seeds: brokenSeeds,
    sound: true,
  },
  { name: 'broken: no sync', plan: { mutation: { ignoreSync: true } }, seeds: brokenSeeds, sound: false },
  {
    name: 'broken: no directory sync',
    plan: { mutation: { ignoreDirectorySync: true } },
    seeds: brokenSeeds,
    sound: false,
  },
  { name: 'broken: reply before the sync', plan: { replyEarly: true }, seeds: brokenSeeds, sound: false },
  {
    name: 'broken: failed sync repeated',
    plan: { mutation: { repeatFailedSync: true } },
    seeds: brokenSeeds,
    sound: false,
  },
]

let wrong = 0
for (const { name, plan, seeds: count, sound } of plans) {
  const sums = new Map<string, number>()
  let failed = 0
  let first = ''
  for (let seed = 1; seed <= count; seed++) {
    const outcome = runPowerCuts(seed, plan)
    for (const [key, value] of Object.entries(outcome)) {
      if (typeof value === 'number') sums.set(key, (sums.get(key) ?? 0) + value)
    }
    if (outcome.faults.length === 0) continue
    failed++
    if (first === '') first = `seed ${seed}: ${outcome.faults[0] ?? ''}`
  }
  if (sound !== (failed === 0)) wrong++
  console.log(`${name}: ${count} seeds, ${failed} with a fault${first === '' ? '' : ` (first: ${first})`}`)
  console.log(`  ${[...sums].map(([key, value]) => `${key} ${value}`).join(', ')}`)
}
console.log(
  wrong === 0
    ? 'as it must be: only the broken writers are found out'
    : `${wrong} of the lines above are not as they must be`,
)
process.exitCode = wrong === 0 ? 0 : 1
