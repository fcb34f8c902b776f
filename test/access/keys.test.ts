// Keys as a listener holds them: what opens it, until when, and how the file behind them changes while it runs.
import { createHash } from 'node:crypto'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createGuard } from '../../src/access/guard.js'
import { holdKeys, type ReadOutcome as Outcome } from '../../src/access/held-keys.js'
import { createKeyTable } from '../../src/access/key-table.js'
import { createLedger } from '../../src/access/ledger.js'
import { loadKeys } from '../../src/config.js'
import type { Key } from '../../src/contract/keys.js'
import { AssayError } from '../../src/errors.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { systemClock } from '../../src/runtime/clock.js'
import { createMetrics } from '../../src/telemetry/metrics.js'
import { until } from '../flow/server-rig.js'

const key = (secret: string, rest: Partial<Key> = {}): Key => {
  return { name: secret, sha256: createHash('sha256').update(secret).digest('hex'), ...rest }
}

void t.test('a key is found by its hash, until it expires', (t) => {
  const endMs = Date.parse('2026-11-22T10:00:00Z')
  const table = createKeyTable([
    key('a', { role: 'operator' }),
    key('b', { expires_at: '2026-11-22T11:00:00+01:00' }),
    // A key that was listed again with a later end: the later one counts.
    key('c', { expires_at: '2026-01-01T00:00:00Z' }),
    key('c', { name: 'again' }),
  ])
  t.match(table.find('a', endMs), { key: { name: 'a', role: 'operator' }, isExpired: false })
  t.match(table.find('b', endMs - 1), { key: { name: 'b' }, isExpired: false })
  t.match(table.find('b', endMs), { key: { name: 'b' }, isExpired: true }, 'in another zone, to the millisecond')
  t.match(table.find('c', endMs), { key: { name: 'again' }, isExpired: false })
  for (const none of ['', 'z', 'A', 'x'.repeat(513), key('a').sha256]) t.equal(table.find(none, endMs), null)
  t.ok(table.holds(key('a', { role: 'operator' }), endMs))
  t.notOk(table.holds(key('a', { role: 'viewer' }), endMs), 'the role has changed')
  t.notOk(table.holds(key('b'), endMs), 'its time is over')
  t.notOk(table.holds(key('z'), endMs), 'it is gone')
  t.end()
})

void t.test('an end that is no time with an offset is refused with its path', (t) => {
  const file = join(t.testdir({}), 'keys.json')
  const faultsOf = (keys: object[]): string[] => {
    writeFileSync(file, JSON.stringify({ keys }))
    try {
      loadKeys(file)
    } catch (error) {
      if (error instanceof AssayError) return error.errors.map(({ path }) => path)
    }
    return []
  }
  t.same(faultsOf([key('a', { expires_at: '2026-11-22T10:00:00+01:00' })]), [])
  for (const bad of ['2026-11-22', '2026-11-22T10:00:00', 'tomorrow', '2026-02-30T10:00:00Z', '']) {
    t.same(faultsOf([key('a'), key('b', { expires_at: bad })]), ['/keys/1/expires_at'], bad)
  }
  t.same(faultsOf([{ ...key('a'), expires_at: 1_795_341_600_000 }]), ['/keys/0/expires_at'])
  t.end()
})

void t.test('a file that changes replaces the keys; one that is gone or not valid does not', async (t) => {
  const file = join(t.testdir({}), 'keys.yaml')
  // At once, as one change: a look in the middle of a write would find another file.
  const put = (text: string): void => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  const write = (...keys: Key[]): void => put(JSON.stringify({ keys }))
  write(key('one'))
  const outcomes: Outcome[] = []
  const held = holdKeys(file, { clock: systemClock, limits: TINY, onRead: (outcome) => outcomes.push(outcome) })
  t.teardown(() => held.close())
  const guard = createGuard(held, { clock: systemClock, limits: LIMITS })
  const from = { remoteAddress: () => '127.0.0.1' }
  const codeOf = (secret: string): string | null => {
    const verdict = guard.admit(secret, from)
    return 'code' in verdict ? verdict.code : null
  }
  const told = (count: number): Promise<void> => until(() => outcomes.length === count, `${count} outcomes`)
  t.equal(codeOf('one'), null)
  t.equal(codeOf('two'), 'ASSAY_UNAUTHENTICATED')

  write(key('one', { expires_at: '2026-01-01T00:00:00Z' }), key('two'))
  await told(1)
  t.same(outcomes.at(-1), { keys: 2 })
  t.equal(codeOf('one'), 'ASSAY_KEY_EXPIRED')
  t.equal(codeOf('two'), null)

  for (const [at, broken] of [
    [2, '{"keys":'],
    [3, JSON.stringify({ keys: [] })],
    [4, JSON.stringify({ keys: [{ ...key('three'), role: 'root' }] })],
  ] as const) {
    put(broken)
    await told(at)
    t.match(outcomes.at(-1), { refused: /./ }, broken)
    t.notMatch(JSON.stringify(outcomes.at(-1)), key('three').sha256, 'no value of the file is shown')
    t.equal(codeOf('two'), null, 'the keys before it stand')
    t.equal(codeOf('three'), 'ASSAY_UNAUTHENTICATED')
  }
  rmSync(file)
  await told(5)
  t.match(outcomes.at(-1), { refused: /cannot be read/ })
  t.equal(codeOf('two'), null)
  // The same bytes in a new file are a change as well, and the file is there again.
  write(key('four'))
  await told(6)
  t.equal(codeOf('four'), null)
  t.equal(codeOf('two'), 'ASSAY_UNAUTHENTICATED')
})

void t.test('a link that is pointed elsewhere is a change, as Kubernetes makes them', async (t) => {
  const folder = t.testdir({})
  const version = (name: string, secret: string): void => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'keys.json'), JSON.stringify({ keys: [key(secret)] }))
    symlinkSync(name, join(folder, 'next'))
    renameSync(join(folder, 'next'), join(folder, 'data'))
  }
  version('v1', 'a')
  symlinkSync('data/keys.json', join(folder, 'keys.json'))
  const outcomes: Outcome[] = []
  const onRead = (outcome: Outcome): void => void outcomes.push(outcome)
  const held = holdKeys(join(folder, 'keys.json'), { clock: systemClock, limits: TINY, onRead })
  t.teardown(() => held.close())
  version('v2', 'b')
  await until(() => outcomes.length === 1, 'the other file is read')
  t.equal(held.find('a'), null)
  t.match(held.find('b'), { key: { name: 'b' } })
})

void t.test('readings are events and metrics', async (t) => {
  const events: [string, object | undefined][] = []
  const logger = { event: (...event: [string, object?]) => events.push([event[0], event[1]]), flush: () => undefined }
  const ledger = createLedger({ logger, clock: systemClock, limits: TINY })
  const metrics = createMetrics(LIMITS, { nodeMetrics: false })
  t.teardown(() => metrics.close())
  for (const metric of ledger.counters) metrics.counter(metric)
  for (const metric of ledger.gauges) metrics.gauge(metric)
  ledger.keysRead('score', 'keys.json', { keys: 2 })
  ledger.keysRead('operations', 'tokens.json', { refused: '/keys: expected an array' })
  const { body } = await metrics.scrape('')
  t.match(body, /assay_keys_reads_total\{listener="score",result="taken"\} 1/)
  t.match(body, /assay_keys_reads_total\{listener="operations",result="refused"\} 1/)
  t.match(body, /assay_keys_stale\{listener="score"\} 0/)
  t.match(body, /assay_keys_stale\{listener="operations"\} 1/)
  t.match(events, [
    ['KeysReplaced', { listener: 'score', file: 'keys.json', keys: 2 }],
    ['KeysRefused', { listener: 'operations', detail: /expected an array/ }],
  ])
  ledger.keysRead('operations', 'tokens.json', { keys: 1 })
  t.match((await metrics.scrape('')).body, /assay_keys_stale\{listener="operations"\} 0/)
})
