// The short form of the proof of the live policy: random changes under load with a kill in between; every decision is
// recomputed from the log and the bundles alone. bench/policy.ts is the full form: 500 changes.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { judgePolicy, POLICY_OPERATOR } from './policy-run.js'
import { runRoutes } from './routes-run.js'

t.setTimeout(120_000)

void t.test('each decision is recomputed under the policy that it names, over changes and a kill', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'assay-policy-test-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const run = await runRoutes({ seed: 3, changes: 30, kills: 1, connections: 4, folder, operator: POLICY_OPERATOR })
  t.same(run.findings, [], 'nothing failed but by the kill')
  const { findings, verified, ...seen } = await judgePolicy(run)
  t.same(findings, [])
  t.ok(verified.equal >= run.decided.size && verified.differs + verified.unverifiable === 0)
  t.ok(seen.ruled > 0 && seen.segmented > 0 && seen.overruled > 0 && seen.policies > 10)

  const [[id, policy]] = run.policies
  t.match((await judgePolicy({ ...run, policies: new Map([[id, `${policy}0`]]) })).findings, [/was answered under/])
  t.match((await judgePolicy({ ...run, told: new Map([[1e6, 'set']]) })).findings, [/revision 1000000 was lost/])
})
