// Entries of the stream of routes: what was written is read, and nothing else.
import t from 'tap'
import { readEntry, type RoutesEntry } from '../../src/contract/routes-entry.js'

const ROUTES = {
  ...{ name: 'main', champion: 'a@1', challenger: 'b@1', share: 500, baseline: 'c@1', sticky_by: 'customer_id' },
  ...{ experiment: 'e', revision: 4, experiment_key: 'ab'.repeat(32) },
}
const ENTRY: RoutesEntry = {
  ...{ format: 1, id: 'x', runner: null, change: { kind: 'set' }, actor: 'ada', reason: 'why', server: 's', at_ms: 1 },
  routing: {
    ...{ routes: ROUTES, previous: { ...ROUTES, revision: 3 }, forced: { baseline: false, open: ['a@1'] } },
    ...{ ramp: { steps: [500, 700], step: 0, every_ms: 1_000, paused: false } },
    approvals: [{ model: 'a@1', digest: 'sha256:00', actor: 'zoe' }],
  },
}

void t.test('an entry is read as it was written', (t) => {
  t.same(readEntry(JSON.stringify(ENTRY), 4), ENTRY)
  const bare = { ...ENTRY, routing: { ...ENTRY.routing, previous: null, ramp: null, approvals: [] } }
  t.same(readEntry(JSON.stringify(bare), 4), bare)
  t.end()
})

void t.test('what is of another format, revision or application is not', (t) => {
  const { routing } = ENTRY
  const others: unknown[] = [
    ...[
      { ...ENTRY, format: 2 },
      { ...ENTRY, id: 7 },
      { ...ENTRY, change: 'set' },
      { ...ENTRY, routing: null },
    ],
    { ...ENTRY, routing: { ...routing, routes: { ...ROUTES, revision: 5 } } },
    { ...ENTRY, routing: { ...routing, routes: { ...ROUTES, share: 10_001 } } },
    { ...ENTRY, routing: { ...routing, routes: { ...ROUTES, experiment_key: 'short' } } },
    { ...ENTRY, routing: { ...routing, forced: { baseline: 'no', open: [] } } },
    { ...ENTRY, routing: { ...routing, ramp: { steps: ['all'] } } },
    ...[null, 4, [], {}],
  ]
  for (const other of others) t.equal(readEntry(JSON.stringify(other), 4), null, JSON.stringify(other).slice(0, 80))
  for (const text of ['', '{', 'of another application']) t.equal(readEntry(text, 4), null, text)
  t.end()
})
