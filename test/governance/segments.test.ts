// Segments of the policy through a real log: whoever reads it in pieces, through changes of what is declared, derives
// what one reading derives.
import { join } from 'node:path'
import t from 'tap'
import type { Policy, Segment } from '../../src/contract/policy.js'
import { createDriftMonitor } from '../../src/governance/monitors/drift.js'
import { openStore } from '../../src/governance/store/open.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { compareStores } from './compare.js'
import { profileText } from './drift-rig.js'
import { folder } from './filled-store.js'
import { readAll, storeOptions } from './read-all.js'
import { openWriter, referencePolicy, START_MS } from './written-log.js'

t.setTimeout(240_000)

const PART = 400
const STEP_MS = 20_000

const monitors = () => [createDriftMonitor({ loadProfile: ({ name }) => profileText(name) }, { limits: TINY })]

const euros = (name: string, ...others: string[]): Segment => ({
  name,
  field: 'currency',
  values: ['EUR', ...others],
})

function declaring(...segments: Segment[]): Policy {
  return { ...referencePolicy(), governance: { segments } }
}

/** Each start of the server with the next of these policies. */
async function write(logDir: string, policies: readonly Policy[]): Promise<void> {
  for (const [start, policy] of policies.entries()) {
    const startMs = START_MS + start * PART * STEP_MS
    const writer = await openWriter(logDir, {
      policy,
      startMs,
      stepMs: STEP_MS,
      ordinal: 1 + start * PART,
      seed: start,
    })
    await writer.decisions(PART)
    await writer.close()
  }
}

void t.test('a log whose policy changes is read in pieces or at once to the same rows', async (t) => {
  const at = folder(t)
  const [logDir, pieces, whole] = ['decision-log', 'pieces', 'whole'].map((name) => join(at, name))
  await write(logDir, [
    referencePolicy(),
    declaring(euros('first'), euros('kept')),
    declaring(euros('kept'), euros('first', 'USD')),
    declaring(euros('first', 'USD')),
    referencePolicy(),
  ])
  await readAll({ logDir, directory: whole, monitors: monitors() })
  const limits = { ...LIMITS, tailBatchRecordsMax: 70 }
  let parts = 0
  for (let read = 1; read > 0; parts++) {
    const { batches } = await readAll({ logDir, directory: pieces, monitors: monitors(), limits, batchesMax: 3 })
    read = batches.length
  }
  t.ok(parts > 5, `${parts} starts of the sidecar`)
  const { rows, differences } = await compareStores(pieces, whole)
  t.same(differences, [])
  t.ok(rows.drift > 0)

  const store = await openStore(storeOptions(whole, monitors()))
  t.teardown(() => store.close())
  const shown = await store.database.select(
    `SELECT segment, window_kind AS kind, sum(n) AS n, min(from_ms) AS since, max(until_ms) AS until FROM drift
     WHERE series = 'action' AND reference = 'training' AND model = 'fraud-lgbm@1' AND window_kind <> 'day'
     GROUP BY ALL ORDER BY ALL`,
  )
  const part = (ms: unknown): number => (Number(ms) - START_MS) / (PART * STEP_MS)
  const counted = Object.fromEntries(
    shown.map(({ segment, kind, n, since, until }) => [
      `${String(segment)}/${String(kind)}`,
      { n: Number(n), since, until },
    ]),
  )
  t.same(Object.keys(counted), ['/count', '/hour', 'first/count', 'first/hour', 'kept/count', 'kept/hour'])
  t.ok(part(counted['kept/count'].since) >= 1 && part(counted['kept/count'].until) <= 3, 'only while it was declared')
  t.ok(part(counted['first/count'].since) >= 1 && part(counted['first/count'].until) <= 4)
  const { n: kept } = counted['kept/hour']
  const { n: first } = counted['first/hour']
  // What is open when a segment goes, or begins anew, is at most an hour: 180 decisions.
  t.ok(kept <= 2 * PART && kept > 2 * PART - 200, `${kept} in kept`)
  t.ok(first <= 3 * PART && first > 3 * PART - 400, `${first} in first, that began anew once`)
})
