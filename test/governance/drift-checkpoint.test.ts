// The drift monitor across kills: its checkpoint is all that it needs, and another one is refused.
import fc from 'fast-check'
import t from 'tap'
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import type { Segment } from '../../src/contract/policy.js'
import { createDriftMonitor } from '../../src/governance/monitors/drift.js'
import type { DerivedRow, Monitor, TailRecord } from '../../src/governance/port.js'
import { TINY } from '../../src/limits.js'
import { createRig, DEPS, HOUR_MS, pick, POLICY, several, START_MS, text } from './drift-rig.js'

// Seconds of one core; the clock may say more beside other work.
t.setTimeout(240_000)

const LIMITS = { ...TINY, driftWindowRows: 1000, driftRowsMin: 500 }

function rowsOf(monitor: Monitor, records: Iterable<TailRecord>): DerivedRow[] {
  for (const record of records) monitor.take(record)
  return [...monitor.drain()]
}

const of = (name: string, ...values: string[]): Segment => ({ name, field: 'currency', values })

/** Record → segments from there on: added, kept in another place, given another meaning, taken away, come back. */
const DECLARED = new Map([
  [0, [of('dollars', 'USD')]],
  [90, [of('euros', 'EUR'), of('dollars', 'USD')]],
  [180, [of('dollars', 'USD', 'EUR'), of('euros', 'EUR')]],
  [240, []],
  [300, [of('euros', 'EUR')]],
])

/** A log that exercises everything: models, segments, hours, days, policies, cold rows, nulls. */
function mixedLog(seed: number, length: number): TailRecord[] {
  const rig = createRig(seed)
  const models = ['fraud-lgbm', 'fraud-xgb', 'baseline']
  let atMs = START_MS
  return Array.from({ length }, (_, at) => {
    const segments = DECLARED.get(at)
    if (segments !== undefined) rig.use({ ...POLICY, server_timing: at > 0, governance: { segments } })
    atMs += at % 37 === 0 ? 11 * HOUR_MS : (at * 7919) % 120_000
    const model = models[(at * at) % (at > 200 ? 3 : 2)]
    const flags = at % 5 < 3 ? FEATURE_FLAGS.cold : 0
    const of = {
      model,
      flags,
      currency: at % 3 === 0 ? 'USD' : 'EUR',
      mode: at % 11 === 0 ? 'evaluate' : 'decide',
    } as const
    return rig.decide({ ...of, atMs, features: at % 4 === 0 ? { amount: NaN } : {} })
  })
}

void t.test('killed at any record and restored, the monitor goes on to the same rows and the same checkpoint', (t) => {
  const make = (): Monitor =>
    createDriftMonitor(DEPS, { falseAlarmsPer30Days: 3, limits: { ...TINY, driftModelsMax: 3 } })
  const records = mixedLog(12, 360)
  const whole = make()
  const wanted = rowsOf(whole, records)
  const kinds = new Set(pick(wanted, {}).map((row) => text(row, 'window_kind', 'reference')))
  t.ok(kinds.has('day day_before') && kinds.has('count training') && kinds.has('hour training'), [...kinds].join(', '))
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(records.length), { minLength: 1, maxLength: 4 }), (kills) => {
      let monitor = make()
      const rows: DerivedRow[] = []
      records.forEach((record, at) => {
        if (kills.includes(at)) {
          rows.push(...monitor.drain())
          const checkpoint = monitor.checkpoint()
          monitor = make()
          monitor.restore(checkpoint)
          t.strictSame(Buffer.from(monitor.checkpoint()).equals(checkpoint), true)
        }
        monitor.take(record)
      })
      rows.push(...monitor.drain())
      t.equal(JSON.stringify(rows), JSON.stringify(wanted))
      t.ok(Buffer.from(monitor.checkpoint()).equals(whole.checkpoint()))
    }),
    { numRuns: 6 },
  )
  t.end()
})

void t.test('a checkpoint goes on without the bundle, and another one is refused', (t) => {
  const rig = createRig(13)
  const first = createDriftMonitor(DEPS, { limits: LIMITS })
  rowsOf(first, several(rig, 999))
  const checkpoint = first.checkpoint()
  const second = createDriftMonitor({ loadProfile: () => null }, { limits: LIMITS })
  second.restore(checkpoint)
  const last = rig.decide({ atMs: START_MS })
  t.strictSame(rowsOf(second, [last]), rowsOf(first, [last]))
  const torn = Buffer.from(checkpoint)
  torn[4] ^= 1
  for (const bad of [Buffer.alloc(0), Buffer.alloc(100), torn, checkpoint.subarray(0, checkpoint.length - 1)])
    t.throws(() => createDriftMonitor(DEPS).restore(bad), { code: 'ASSAY_INPUT_INVALID' })
  t.end()
})
