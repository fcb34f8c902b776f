// The short form of the power-cut check; bench/decision-log-power-cuts.ts runs ten thousand seeds.
import t from 'tap'
import { runPowerCuts } from './power-cuts.js'
import type { Plan } from './power-cuts.js'

const SEEDS = 60

function faultsOf(plan: Plan, seeds: number): string[] {
  const faults: string[] = []
  for (let seed = 1; seed <= seeds; seed++) {
    for (const fault of runPowerCuts(seed, plan).faults) faults.push(`seed ${seed}: ${fault}`)
  }
  return faults
}

void t.test(
  'after power cuts, kills and disk faults at random every acknowledged record is there, once, in order',
  (t) => {
    t.same(faultsOf({}, SEEDS), [])
    t.end()
  },
)

void t.test('the check above really cuts, fails and abandons', (t) => {
  const outcomes = Array.from({ length: 30 }, (_, i) => runPowerCuts(i + 1))
  const sum = (pick: (outcome: (typeof outcomes)[0]) => number): number => outcomes.reduce((n, o) => n + pick(o), 0)
  t.ok(sum((o) => o.cuts) > 30)
  t.ok(sum((o) => o.cutInRecovery) > 3)
  t.ok(sum((o) => o.failedSyncs) > 10)
  t.ok(sum((o) => o.abandoned) > 10)
  t.ok(sum((o) => o.acknowledged) > 500)
  t.end()
})

void t.test('handed to the kernel survives any kill of the process', (t) => {
  t.same(faultsOf({ durability: 'buffered', killsOnly: true }, SEEDS), [])
  t.end()
})

const BROKEN: readonly (readonly [string, Plan])[] = [
  ['does not sync', { mutation: { ignoreSync: true } }],
  ['does not sync the directory', { mutation: { ignoreDirectorySync: true } }],
  ['replies before the sync', { replyEarly: true }],
  ['repeats a failed sync on the same file', { mutation: { repeatFailedSync: true } }],
]
for (const [what, plan] of BROKEN) {
  void t.test(`a writer that ${what} is found out`, (t) => {
    t.not(faultsOf(plan, 40).length, 0)
    t.end()
  })
}
