// Routes over restarts (semantics 8): the file seeds an empty log, afterwards the log wins and the difference is told;
// only the operator's explicit wish takes the file's routes, as the next revision.
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config.js'
import { routeDifferences, routesAtStart } from '../../src/scoring/control-state.js'
import { type Rig, startRig, until } from './server-rig.js'

// Four starts of a whole server.
t.setTimeout(200_000)

const { policy } = loadConfig({ env: {} })
const makeKey = (): Buffer => Buffer.alloc(32, 7)
const start = (last: Parameters<typeof routesAtStart>[1], to: Partial<typeof policy.routes>, fromFile = false) =>
  routesAtStart({ ...policy, routes: { ...policy.routes, ...to } }, last, { fromFile, makeKey })

void t.test('the routes of the file seed an empty log as revision 0, whatever was asked', (t) => {
  for (const fromFile of [false, true]) {
    const { routes, event } = start(null, { share: 100 }, fromFile)
    t.match(routes, { revision: 0, share: 100, experiment_key: '07'.repeat(32) })
    t.equal(event, null)
  }
  t.end()
})

void t.test('a log that holds routes keeps them, and what differs is told with both values', (t) => {
  const last = { ...policy.routes, revision: 4, experiment_key: 'ab' }
  t.same(start(last, {}), { routes: last, event: null })
  const { routes, event } = start(last, { share: 500, experiment: 'autumn' })
  t.same(routes, last)
  t.match(event, { name: 'RoutesDiffered', fields: { revision: 4 } })
  t.same(event?.fields.differ, [
    'share: 0 in the log, 500 in the file',
    'experiment: default in the log, autumn in the file',
  ])
  t.same(routeDifferences(last, policy.routes), [])
  t.end()
})

void t.test(
  'asked to, a start takes the routes of the file as the next revision; a new experiment has a new key',
  (t) => {
    const last = { ...policy.routes, revision: 4, experiment_key: 'ab' }
    t.match(start(last, { share: 500 }, true), {
      routes: { revision: 5, share: 500, experiment_key: 'ab' },
      event: { name: 'RoutesChanged', fields: { revision: 5 } },
    })
    t.match(start(last, { experiment: 'autumn' }, true).routes, { revision: 5, experiment_key: '07'.repeat(32) })
    t.same(start(last, {}, true), { routes: last, event: null }, 'equal routes make no revision')
    t.end()
  },
)

async function answering(t: Test, options: { dataDir?: string; share: number; fromFile?: boolean }) {
  const rig = await startRig({
    ...(options.dataDir !== undefined && { dataDir: options.dataDir }),
    routesFromFile: options.fromFile ?? false,
    edit({ policy }) {
      policy.routes.share = options.share
      // Which model the routes choose is asked, not how fast it is on a busy machine.
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
    },
  })
  const transaction = {
    transaction_id: `of-${randomUUID()}`,
    occurred_at: new Date().toISOString(),
    amount_minor: 1200,
    currency: 'EUR',
    customer_id: 'c1',
  }
  let answer = await rig.score(transaction)
  // A busy machine may be refused for its lag; a retry is the same transaction.
  await until(async () => answer.status !== 503 || (answer = await rig.score(transaction)).status !== 503, 'an answer')
  t.equal(answer.status, 200, answer.text)
  const { body } = answer
  const { routes } = (await rig.operations('/v1/status')).body
  const differ = (await rig.metric('assay_routes_differ_from_config')).get('')
  const told = rig.events.filter(({ name }) => name.startsWith('Routes')).map(({ name }) => name)
  await rig.stop()
  t.equal(routes.differ_from_config, differ === 1, 'status and metric say the same')
  t.equal(body.routes_revision, routes.revision, 'answers carry the revision that status shows')
  return { rig, role: prescribed(body), revision: routes.revision, differences: routes.differences, told }
}

/** The role that the routes chose, whether or not it had to be replaced. */
function prescribed(body: { fallback?: { role: string }[]; model: { role: string } }): string {
  return body.fallback?.[0]?.role ?? body.model.role
}

void t.test('a restart with another file keeps who answers, says so, and changes it only when asked to', async (t) => {
  const first = await answering(t, { share: 0 })
  const rig: Rig = first.rig
  t.teardown(() => rig.remove())
  const { dataDir } = rig
  t.match(first, { role: 'champion', revision: 0, differences: [], told: [] })
  const kept = await answering(t, { dataDir, share: 10_000 })
  t.match(kept, { role: 'champion', revision: 0, told: ['RoutesDiffered'] })
  t.same(kept.differences, [{ field: 'share', live: 0, file: 10_000 }])
  const taken = await answering(t, { dataDir, share: 10_000, fromFile: true })
  t.match(taken, { role: 'challenger', revision: 1, differences: [], told: ['RoutesChanged'] })
  const after = await answering(t, { dataDir, share: 0 })
  t.match(after, { role: 'challenger', revision: 1, told: ['RoutesDiffered'] })
})
