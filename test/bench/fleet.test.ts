// The fleet's bench: what it reads from INFO, the arithmetic of its projection against figures that were worked out by
// hand, and its short form, with a real Redis and real servers, to its end.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ASSUMPTIONS, figureOf, projectionLines, projectOne } from '../../bench/fleet/projection.js'
import { callsBetween, scriptMicros, usageOf } from '../../bench/fleet/redis.js'
import { skipWithoutRedis } from '../redis/rig.js'

/** Those that the projection is made of. */
const PARTS = 'latency,entities'
const RUN = join(import.meta.dirname, '../../bench/fleet/run.js')

void t.test('INFO is read, and a figure that it lacks is missed', (t) => {
  const info = (calls: number, usec: number): string =>
    [
      ...['# Memory', 'used_memory:1048576', 'used_memory_human:1.00M', 'total_net_input_bytes:10'],
      ...['total_net_output_bytes:5', 'used_cpu_sys:0.250000', 'used_cpu_user:1.500000', 'used_cpu_user_children:9'],
      `cmdstat_evalsha:calls=${calls},usec=${usec},usec_per_call=1.00,rejected_calls=0,failed_calls=0`,
      'cmdstat_config|get:calls=1,usec=9,usec_per_call=9.00,rejected_calls=0,failed_calls=0',
    ].join('\r\n')
  const [from, until] = [usageOf(info(10, 100)), usageOf(info(30, 400))]
  t.match(from, { cpuSeconds: 1.75, usedBytes: 1_048_576, netBytes: 15 })
  t.same(from.commands.get('config|get'), { calls: 1, micros: 9 })
  t.same(callsBetween(from, until, 'evalsha'), { calls: 20, micros: 300 })
  t.equal(scriptMicros(from, until), 15)
  t.same(callsBetween(from, until, 'get'), { calls: 0, micros: 0 }, 'a command that was never called')
  t.throws(() => usageOf(info(1, 1).replace('used_memory:', 'other:')), /used_memory/)
  t.end()
})

void t.test('a projection follows from its figures', (t) => {
  const lists = [
    { events: 1, bytesEach: 200, foldUs: 6 },
    { events: 4, bytesEach: 500, foldUs: 6 },
    { events: 16, bytesEach: 1_700, foldUs: 18 },
  ]
  const bytesOf = (events: number): number => figureOf(lists, events, 'bytesEach')
  t.equal(bytesOf(1), 200)
  t.equal(bytesOf(2), 300, 'between two by proportion')
  t.equal(bytesOf(10), 1_100)
  t.equal(bytesOf(26), 2_700, 'beyond the last as it rose there')
  t.equal(bytesOf(0.5), 150, 'and below the first')
  t.equal(bytesOf(1e6), bytesOf(4_096), 'a list is bounded')
  t.equal(figureOf(lists, 10, 'foldUs'), 12)
  const figures = { redisUs: 40, serverUs: 150, netBytes: 1_000, indexBytes: 1_024, lists }
  // 2^28 cards of 10 payments: 2^28 × 1,100 bytes; 2^20 terminals with 37 / 30 of 2,560 payments each; the index of a
  // day, a thirtieth of all payments. A fold takes 1 µs an event, and those of 8 events are in the 40 µs.
  const assumed = { ...ASSUMPTIONS, cards: 2 ** 28, terminals: 2 ** 20, payments: [10] }
  const one = projectOne(figures, assumed, 10)
  const near = (value: number, wanted: number): boolean => Math.abs(value - wanted) < 1e-6
  t.equal(one.cardsGib, 275)
  t.ok(near(one.perTerminal, (2_560 * 37) / 30))
  t.ok(near(one.terminalsGib, bytesOf((2_560 * 37) / 30) / 1_024))
  t.ok(near(one.indexGib, 2_560 / 30))
  t.ok(near(one.redisUs, 40 + 2 + (2_560 * 37) / 30 + 2 - 10))
  t.equal(one.shards, Math.ceil((50_000 * one.redisUs) / 1e6 / 0.5), 'long lists of terminals decide')
  t.equal(one.instances, 2 * one.shards)
  const many = projectOne(figures, { ...assumed, terminals: 2 ** 28 }, 10)
  t.ok(near(many.perTerminal, 37 / 3))
  t.ok(near(many.redisUs, 40 + 2 + (37 / 3 - 8)))
  t.equal(many.shards, Math.ceil((275 + bytesOf(37 / 3) / 4 + 2_560 / 30) / (64 * 0.6)), 'memory decides')
  const small = projectOne(figures, { ...assumed, cards: 1_000, terminals: 1_000 }, 4)
  t.equal(small.redisUs, 40, 'short lists are no gain')
  t.equal(small.shards, 4, '50,000/s × 40 µs are two cores, half busy')
  const text = projectionLines(figures, assumed).join('\n')
  t.match(text, /events of a terminal +3157\n {2}CPU of the Redis a score, µs +3191\.3\n/)
  t.match(text, `${one.instances} × price`)
  t.end()
})

void t.test('the short form comes to its end', { skip: skipWithoutRedis(), timeout: 600_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-fleet-test-'))
  const child = spawn(process.execPath, [RUN, '--quick', '--parts', PARTS, '--folder', folder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exited
    rmSync(folder, { recursive: true, force: true })
  })
  const told = { out: '', err: '' }
  child.stdout.on('data', (chunk: Buffer) => (told.out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (told.err += chunk.toString()))
  t.same(await exited, [0, null], told.err)
  const numbers = (title: string): number[] => {
    const line = told.out.split('\n').find((each) => each.startsWith(`  ${title} `)) ?? ''
    return (line.slice(32).match(/[\d.]+/g) ?? []).map(Number)
  }
  for (const name of ['memory', 'Redis, unix socket', 'Redis, TCP', 'Redis, 1 ms away', '4000 entities']) {
    const [first, second] = numbers(name)
    t.ok(first > 0 && second > 0, `${name}: ${first}, ${second}`)
  }
  t.match(told.out, /evalsha \d+\.\d\d × \d+\.\d/, 'scripts were run')
  t.match(told.out, /index of recent transactions, 2000 of them: [1-9]\d{2,} bytes each/)
  t.match(told.out, /projection to 50000\/s .*\n[^]*\n {2}money a month: [1-9]/)
  // On a busy machine the one turn may be void.
  const judged = told.out.split('\n').filter((line) => !line.endsWith('void'))
  t.same(
    judged.filter((line) => /NaN|Infinity|undefined/.test(line)),
    [],
  )
  t.same(readdirSync(folder), [], 'nothing is left')
})
