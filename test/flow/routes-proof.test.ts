// The short form of the proof of the live routes: random changes under load with a kill in between, judged from the log
// alone. bench/routes.ts is the full form: 1,000 changes. The judgement is tested too.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { judgeRoutes, readRoutesLog, type RoutesLog } from './routes-judge.js'
import { runRoutes } from './routes-run.js'

t.setTimeout(120_000)

void t.test('each decision is what its revision prescribes, over changes and a kill', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'assay-routes-test-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const run = await runRoutes({ seed: 5, changes: 40, kills: 1, connections: 8, folder })
  t.same(run.findings, [], 'nothing failed but by the kill')
  const log = await readRoutesLog(join(run.dataDir, 'decision-log'))
  t.same(judgeRoutes(log, run), [])
  for (const revision of run.told.keys()) t.ok(log.routings.has(revision), `revision ${revision} was kept`)
  t.ok(log.controls.length >= 40 && run.decided.size > 0)

  const spoil = (change: Partial<RoutesLog>): string => judgeRoutes({ ...log, ...change }, run).join('\n')
  const [first] = log.decisions.filter(({ facts }) => !facts.unfolded && facts.fallback.length === 0)
  const last = log.decisions.at(-1)
  if (first === undefined || last === undefined) throw new Error('an empty log')
  const rest = log.decisions.filter((one) => one !== first)
  const as = (over: object): Partial<RoutesLog> => ({
    decisions: [...rest, { ...first, facts: { ...first.facts, ...over } }],
  })
  t.match(spoil(as({ prescribedModel: 'other@1' })), /prescribed other@1, not/)
  t.match(spoil(as({ bucket: -1 })), /bucket -1, by the key/)
  t.match(spoil(as({ model: { ...first.facts.model, name: 'other' } })), /its chain is/)
  t.match(spoil(as({ routesRevision: last.facts.routesRevision })), /before its record|prescribed/)
  t.match(spoil(as({ ordinal: last.facts.ordinal + 1 })), /revision \d+ after/)
  t.match(spoil({ decisions: rest }), /is not in the log|^$/)
  t.match(spoil({ controls: log.controls.slice(1) }), /has revision 2 after 0/)
})
