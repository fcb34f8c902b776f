// Who presents too many keys that are nobody's waits, and no longer than a window; who was turned away is kept, counted
// and told of within bounds.
import { createHash } from 'node:crypto'
import t from 'tap'
import { createFailures } from '../../src/access/failures.js'
import { createGuard } from '../../src/access/guard.js'
import { createKeyTable } from '../../src/access/key-table.js'
import { createLedger, type Refusal } from '../../src/access/ledger.js'
import { plainAddress } from '../../src/contract/address.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { createMetrics } from '../../src/telemetry/metrics.js'

const from = (address: string) => ({ remoteAddress: () => address })

function clockAt(ms: number): { ms: number; monoMs(): number; nowMs(): number } {
  const clock = { ms, monoMs: () => clock.ms, nowMs: () => 1_795_341_600_000 + clock.ms }
  return clock
}

void t.test('an address is in one form, however a socket spells it', (t) => {
  for (const [given, plain] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:10.0.0.7', '10.0.0.7'],
    ['0000:0000:0000:0000:0000:ffff:0a00:0007', '10.0.0.7'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['::1', '::1'],
    ['', 'unknown'],
    ['no address', 'unknown'],
  ] as const)
    t.equal(plainAddress(given), plain, given)
  t.end()
})

void t.test('too many failures make an address wait, until its window ends and no longer', (t) => {
  const clock = clockAt(0)
  const limits = { ...TINY, authFailuresMax: 3, authWindowMs: 2_500 }
  const failures = createFailures({ clock, limits })
  const [bad, good] = [from('10.0.0.1'), from('10.0.0.2')]
  for (let count = 1; count <= 2; count++) failures.failed(bad)
  t.equal(failures.waitS(bad), 0, 'below the bound')
  failures.failed(bad)
  t.equal(failures.waitS(bad), 3, 'whole seconds, rounded up')
  t.equal(failures.waitS(good), 0, 'another address does not wait')
  clock.ms = 2_000
  t.equal(failures.waitS(bad), 1)
  failures.failed(bad)
  clock.ms = 2_499
  t.equal(failures.waitS(bad), 1, 'at least a second is said')
  clock.ms = 2_500
  t.equal(failures.waitS(bad), 0, 'a failure meanwhile has not made the window longer')
  failures.failed(bad)
  t.equal(failures.waitS(bad), 0, 'a new window begins with one')
  t.end()
})

void t.test('a network of IPv6 is one address, and no more networks are held than allowed', (t) => {
  const failures = createFailures({ clock: clockAt(0), limits: { ...TINY, authFailuresMax: 2, authAddressesMax: 2 } })
  failures.failed(from('2001:db8:1:2::1'))
  failures.failed(from('2001:db8:1:2:ffff::9'))
  t.ok(failures.waitS(from('2001:db8:1:2:3:4:5:6')) > 0)
  t.equal(failures.waitS(from('2001:db8:1:3::1')), 0)
  t.equal(failures.waitS(from('::1')), 0)
  for (const address of ['10.0.0.1', '10.0.0.2']) failures.failed(from(address))
  t.equal(failures.waitS(from('2001:db8:1:2::1')), 0, 'the one that failed longest ago has left')
  t.end()
})

void t.test('only keys that are nobody’s count, and who waits is not looked up', (t) => {
  const clock = clockAt(0)
  const sha256 = createHash('sha256').update('good').digest('hex')
  const old = createHash('sha256').update('old').digest('hex')
  const table = createKeyTable([
    { name: 'ada', sha256 },
    { name: 'bob', sha256: old, expires_at: '2026-01-01T00:00:00Z' },
  ])
  let looked = 0
  const keys = {
    find(presented: string) {
      looked++
      return table.find(presented, clock.nowMs())
    },
    holds: () => true,
    close: () => undefined,
  }
  const guard = createGuard(keys, { clock, limits: { ...TINY, authFailuresMax: 2, authWindowMs: 1_000 } })
  const asker = from('10.0.0.1')
  for (let count = 0; count < 5; count++) {
    t.match(guard.admit('', asker), { code: 'ASSAY_UNAUTHENTICATED', waitS: 0 })
    t.match(guard.admit('old', asker), { code: 'ASSAY_KEY_EXPIRED', actor: 'bob', waitS: 0 })
  }
  for (let count = 0; count < 2; count++) t.match(guard.admit('guess', asker), { code: 'ASSAY_UNAUTHENTICATED' })
  const before = looked
  t.match(guard.admit('guess', asker), { code: 'ASSAY_TOO_MANY_FAILURES', actor: null, waitS: 1 })
  t.match(guard.admit('good', asker), { code: 'ASSAY_TOO_MANY_FAILURES' })
  t.equal(looked, before)
  t.match(guard.admit('good', from('10.0.0.2')), { name: 'ada' })
  clock.ms = 1_000
  t.match(guard.admit('good', asker), { name: 'ada' }, 'a valid key waits for a window at most')
  t.end()
})

const refusal = (over: Partial<Refusal> = {}): Refusal => {
  return { code: 'ASSAY_UNAUTHENTICATED', actor: null, act: 'PUT /v1/routes', remoteAddress: '10.0.0.1', ...over }
}

void t.test('refusals are held within bounds, and unknown callers push out none of known ones', async (t) => {
  const clock = clockAt(0)
  const events: Record<string, unknown>[] = []
  const logger = { event: (_: string, fields = {}) => void events.push(fields), flush: () => undefined }
  const limits = { refusalsHeldMax: 3, refusalEventsMax: 2 }
  const ledger = createLedger({ logger, clock, limits })
  const metrics = createMetrics(LIMITS, { nodeMetrics: false })
  t.teardown(() => metrics.close())
  for (const metric of ledger.counters) metrics.counter(metric)
  t.same(ledger.shown(10), { refusals: [], refusals_total: 0 })
  ledger.refused('operations', refusal({ actor: 'eve', code: 'ASSAY_ROLE_REFUSED' }))
  for (let count = 0; count < 1_000; count++) {
    clock.ms += 0.5
    ledger.refused('operations', refusal())
  }
  const { refusals, refusals_total: total } = ledger.shown(10)
  t.equal(total, 1_001)
  t.match(refusals, [
    ...Array.from({ length: 3 }, () => ({ actor: 'unknown', code: 'ASSAY_UNAUTHENTICATED' })),
    {
      at: '2026-11-22T10:00:00.000Z',
      ...{ listener: 'operations', actor: 'eve', code: 'ASSAY_ROLE_REFUSED', act: 'PUT /v1/routes' },
      remote_address: '10.0.0.1',
    },
  ])
  t.equal(refusals.length, 4)
  t.equal(ledger.shown(1).refusals.length, 1)
  t.equal(events.length, 3, 'some events a second')
  ledger.refused('operations', refusal({ actor: 'ada', code: 'ASSAY_REVISION_STALE' }))
  t.match(events.at(-1), { actor: 'ada', untold_before: 0 }, 'guesses leave room for what known callers did')
  clock.ms = 2_000
  ledger.refused('score', refusal())
  t.match(events.at(-1), { listener: 'score', actor: 'unknown', untold_before: 998 })
  const { body } = await metrics.scrape('')
  t.match(body, /assay_access_refusals_total\{listener="operations",code="ASSAY_UNAUTHENTICATED"\} 1000/)
  t.match(body, /assay_access_refusals_total\{listener="operations",code="ASSAY_ROLE_REFUSED"\} 1/)
  t.match(body, /assay_access_refusals_total\{listener="score",code="ASSAY_UNAUTHENTICATED"\} 1/)
})
