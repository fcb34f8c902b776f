// Which rows are published next, from a real store: only what is durable, whole pages in order, on from a place; what
// stands in place of records taken back; alerts of a store made anew; and where a place is kept.
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { decisionRow } from '../../src/governance/api/answers/decision-row.js'
import { createHeld } from '../../src/governance/api/answers/held.js'
import { createMasks, readMaskKey } from '../../src/governance/api/answers/masks.js'
import {
  createAlertFeed,
  createLogFeed,
  type Feed,
  type FeedDeps,
  reachOf,
} from '../../src/governance/publish/event-feeds.js'
import { NO_PLACES, readPlaces, writePlaces } from '../../src/governance/publish/event-places.js'
import { createHealth } from '../../src/governance/health.js'
import { LIMITS } from '../../src/limits.js'
import { systemClock } from '../../src/runtime/clock.js'
import { type Filled, filled, folder } from './filled-store.js'

type Durable = NonNullable<ReturnType<FeedDeps['durable']>>

function depsOf({ queries, directory }: Filled, durable: Durable | null): FeedDeps {
  const masks = createMasks(1, readMaskKey(directory))
  const facts = () => createHealth(systemClock).facts(null, [])
  const held = createHeld({ clock: systemClock, masks, queries: () => queries, facts })
  return { held, masks, limits: { ...LIMITS, kafkaBatchRowsMax: 4, tailBatchRecordsMax: 6 }, durable: () => durable }
}

/** Sequences of all pages up to what may be published; those of a page that was not sent come again. */
async function drained(t: Test, feed: Feed, deps: FeedDeps): Promise<number[]> {
  const sequences: number[] = []
  for (;;) {
    const reach = await reachOf(deps)
    if (reach === null) return sequences
    const unsent = await feed.page(reach)
    const page = await feed.page(reach)
    t.same(page.events, unsent.events)
    sequences.push(...page.events.map(({ headers }) => Number(headers.ce_assaysequence)))
    page.done()
    if (!page.more) return sequences
  }
}

const upTo = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

void t.test('only what is durable in the log is published, page by page, and from there on later', async (t) => {
  const store = await filled(t, 20)
  const seven = depsOf(store, { epoch: 1, sequence: 7 })
  const feed = createLogFeed('predictions', undefined, seven)
  t.same(await drained(t, feed, seven), upTo(1, 7))
  t.equal(feed.lag(20), 13)
  const all = depsOf(store, { epoch: 1, sequence: 25 })
  const place = feed.noteIn(NO_PLACES).predictions
  t.same(await drained(t, createLogFeed('predictions', place, all), all), upTo(8, 20))
  t.same(
    await drained(t, createLogFeed('predictions', undefined, all), depsOf(store, null)),
    [],
    'the log cannot be read',
  )
  // The log has a later epoch, which may say that this one ended earlier.
  const later = depsOf(store, { epoch: 2, sequence: 25 })
  t.same(await drained(t, createLogFeed('predictions', undefined, later), later), [])
  const other = { log: 'ff'.repeat(8), epoch: 3, sequence: 900 }
  t.same(await drained(t, createLogFeed('predictions', other, all), all), upTo(1, 20), 'a place in another log')
})

void t.test('where a later epoch stands at places that were published, it goes on with that', async (t) => {
  const store = await filled(t, 20)
  await store.store.database.run('UPDATE decisions SET epoch = 2 WHERE sequence > 12')
  await store.store.database.run('UPDATE position SET epoch = 2')
  const deps = depsOf(store, { epoch: 2, sequence: 20 })
  const log = store.logId.toString('hex')
  t.same(await drained(t, createLogFeed('predictions', { log, epoch: 1, sequence: 17 }, deps), deps), upTo(13, 20))
  t.same(await drained(t, createLogFeed('predictions', { log, epoch: 2, sequence: 17 }, deps), deps), upTo(18, 20))
})

void t.test('changes of alerts go on behind the last one, and begin anew where that is another', async (t) => {
  const store = await filled(t, 5)
  const run = (sql: string) => store.store.database.run(sql)
  await run(`CREATE TABLE alerts AS SELECT 'a_' || n AS alert_id, 'opened' AS transition, n AS at_ms, n AS sequence,
    'lag' AS kind, 'lag' AS alert_group, '{}' AS labels, 'warning' AS level, 'clock' AS origin, n AS opened_at_ms,
    NULL::BIGINT AS resolved_at_ms, 0.5 AS value, 's' AS summary, NULL::VARCHAR AS silenced_by
    FROM range(1, 8) AS r(n)`)
  const deps = depsOf(store, { epoch: 1, sequence: 5 })
  const told = async (feed: Feed): Promise<string[]> => {
    const ids: string[] = []
    for (;;) {
      const page = await feed.page({ log: 'l', epoch: 1, sequence: 5 })
      ids.push(...page.events.map(({ headers }) => headers.ce_id ?? ''))
      page.done()
      if (!page.more) return ids
    }
  }
  const ids = upTo(1, 7).map((n) => `a_${n}-opened-${n}`)
  const feed = createAlertFeed(undefined, deps)
  t.same(await told(feed), ids)
  t.same(await told(feed), [], 'once')
  const { alerts: place } = feed.noteIn(NO_PLACES)
  t.same(place, { rows: 7, last: ids[6] })
  t.same(await told(createAlertFeed(place, deps)), [])
  t.same(await told(createAlertFeed({ rows: 3, last: ids[2] ?? '' }, deps)), ids.slice(3))
  t.same(await told(createAlertFeed({ rows: 3, last: 'a_0-opened-0' }, deps)), ids, 'another row in its place')
  t.same(await told(createAlertFeed({ rows: 9, last: 'a_0-opened-0' }, deps)), ids, 'fewer rows than were told')
})

void t.test('a place is read as it was written; what is no place is refused, and never taken for none', async (t) => {
  const file = join(folder(t), 'deep', 'events.json')
  t.same(await readPlaces(file), NO_PLACES)
  const places = { format: 1 as const, drift: { log: 'ab', epoch: 2, sequence: 7 }, alerts: { rows: 3, last: 'a' } }
  await writePlaces(file, places)
  t.same(await readPlaces(file), places)
  t.same(readdirSync(join(file, '..')), ['events.json'])
  for (const text of ['', '{"format":2}', '{"format":1,"drift":{"sequence":"7"}}']) {
    writeFileSync(file, text)
    await t.rejects(readPlaces(file), { code: 'ASSAY_STORE_IO', message: /how far events were published/ })
  }
  mkdirSync(`${file}.partial`)
  await t.rejects(writePlaces(file, places), { code: 'ASSAY_STORE_IO', message: /cannot be written/ })
})

void t.test('masks are the same under the key that the directory holds, which nobody else may read', (t) => {
  const directory = folder(t)
  const [one, again] = [createMasks(1, readMaskKey(directory)), createMasks(1, readMaskKey(directory))]
  t.equal(one.mask('c17'), again.mask('c17'))
  t.not(one.mask('c17'), createMasks(1, readMaskKey(folder(t))).mask('c17'))
  t.equal(statSync(join(directory, 'mask-key')).mode & 0o777, 0o600)
  writeFileSync(join(directory, 'mask-key'), 'cut')
  t.match(createMasks(1, readMaskKey(directory)).mask('c17'), /^m_[0-9a-f]{12}$/)
  writeFileSync(join(directory, 'file'), '')
  t.throws(() => readMaskKey(join(directory, 'file')), { code: 'ASSAY_STORE_IO' })
  t.end()
})

void t.test('what the newest policy does not declare any more leaves masked, as what is sensitive does', async (t) => {
  const { held, masks } = depsOf(await filled(t, 1), null)
  const row = { decision_id: 'd', entity_customer_id: 'c1', entity_terminal_id: 't1', entity_former: 'x1' }
  const { entities } = decisionRow(row, await held.control(), { masks })
  t.same(entities, { customer_id: masks.mask('c1'), terminal_id: 't1', former: masks.mask('x1') })
})
