// The fleet's bench: what it reads from INFO, the arithmetic of its projection against figures that were worked out by
// hand, and its short form, with a real Redis and real servers, to its end.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ASSUMPTIONS, bytesOf, projectionLines, projectOne } from '../../bench/fleet/projection.js'
import { callsBetween, scriptMicros, usageOf } from '../../bench/fleet/redis.js'
import { skipWithoutRedis } from '../redis/rig.js'

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
    { events: 1, bytesEach: 200 },
    { events: 4, bytesEach: 500 },
    { events: 16, bytesEach: 1_700 },
  ]
  t.equal(bytesOf(lists, 1), 200)
  t.equal(bytesOf(lists, 2), 300, 'between two by proportion')
  t.equal(bytesOf(lists, 10), 1_100)
  t.equal(bytesOf(lists, 26), 2_700, 'beyond the last as it rose there')
  t.equal(bytesOf(lists, 0.5), 150, 'and below the first')
  t.equal(bytesOf(lists, 1e6), bytesOf(lists, 4_096), 'a list is bounded')
  const figures = { redisUs: 40, serverUs: 150, netBytes: 1_000, indexBytes: 1_024, lists }
  // 2^28 cards of 10 payments: 2^28 × 1,100 bytes; 2^20 terminals over 37 / 30 of 2,560 payments each; the index of a
  // day, a thirtieth of all payments.
  const assumed = { ...ASSUMPTIONS, cards: 2 ** 28, terminals: 2 ** 20, payments: [10] }
  const one = projectOne(figures, assumed, 10)
  t.equal(one.cardsGib, 275)
  t.ok(Math.abs(one.terminalsGib - bytesOf(lists, (2_560 * 37) / 30) / 1_024) < 1e-9)
  t.ok(Math.abs(one.indexGib - 2_560 / 30) < 1e-9)
  t.equal(one.shards, Math.ceil((275 + one.terminalsGib + one.indexGib) / (64 * 0.6)), 'memory decides')
  t.equal(one.instances, 2 * one.shards)
  const small = projectOne(figures, { ...assumed, cards: 1_000, terminals: 10 }, 10)
  t.equal(small.shards, 4, '50,000/s × 40 µs are two cores, half busy')
  const text = projectionLines(figures, assumed).join('\n')
  t.match(text, '50000/s × 40.0 µs = 2.0 cores; at most 50 % busy*: 4 shards')
  t.match(text, `${one.instances} × price`)
  t.end()
})

void t.test('the short form comes to its end', { skip: skipWithoutRedis(), timeout: 600_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-fleet-test-'))
  const child = spawn(process.execPath, [RUN, '--quick', '--folder', folder], { stdio: ['ignore', 'pipe', 'pipe'] })
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
  for (const name of [
    ...['memory', 'Redis, unix socket', 'Redis, TCP', 'Redis, 1 ms away'],
    ...['memory, 1 server', 'Redis, 1 server', 'Redis, 2 servers', '4000 entities', '100 events'],
  ]) {
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
