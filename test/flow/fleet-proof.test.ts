// The proof of the routes of a fleet: 100 changes through three servers, which are killed in between. Its judgement is
// tested too.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { skipWithoutRedis, startRedis } from '../redis/rig.js'
import { judgeFleet, readFleetLogs, runFleet } from './fleet-routes-run.js'
import type { RoutesLog } from './routes-judge.js'

t.setTimeout(300_000)

void t.test('one change has one revision on every server, over kills', { skip: skipWithoutRedis() }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'assay-fleet-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const redis = await startRedis(t)
  const run = await runFleet({ seed: 7, node: redis.node, changes: 100, kills: 2, servers: 3, folder })
  t.same(run.findings, [], 'nothing failed but by a kill')
  const logs = await readFleetLogs(run.members)
  t.same(judgeFleet(logs, run.members), [])
  const told = run.members.flatMap(({ told }) => [...told.keys()])
  t.ok(told.length >= 100 && run.members.every(({ told, decided }) => told.size > 0 && decided.size > 0))
  const { revision, revisions } = JSON.parse(run.shown[0]) as { revision: number; revisions: number[] }
  t.ok(revision >= Math.max(...told), 'the newest serves')
  t.same(revisions, [revision, revision, revision], 'as every server says of every server')
  t.ok((run.answers.get('set 412') ?? 0) > 0, 'somebody was told of a conflict')

  const spoil = (at: number, change: Partial<RoutesLog>): string =>
    judgeFleet(
      logs.map((log, place) => (place === at ? { ...log, ...change } : log)),
      run.members,
    ).join('\n')
  const [first] = logs
  const last = first.controls.at(-1)
  const routing = first.routings.get(revision)
  if (last === undefined || routing === undefined) throw new Error('an empty log')
  t.match(spoil(0, { controls: [...first.controls, { ...last, ordinal: last.ordinal + 0.5 }] }), /has revision/)
  const other = { ...routing, routes: { ...routing.routes, share: routing.routes.share + 1 } }
  t.match(spoil(0, { routings: new Map([...first.routings, [revision, other]]) }), /elsewhere/)
  const [own] = run.members[0].told.keys()
  const without = new Map([...first.routings].filter(([one]) => one !== own))
  t.match(spoil(0, { routings: without }), /was told, and is not in its log/)
})
