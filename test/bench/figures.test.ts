// The benches judge the server, so they are judged first: intervals against published ranks, gaps, slopes, and that the
// open loop charges a stall to every request that should have started during it.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { inGap, mergeGaps, quantile } from '../../bench/control.js'
import { medianInterval } from '../../bench/interval.js'
import { closedLoop, openLoop } from '../../bench/load.js'
import { riseLine, slopePerSecond } from '../../bench/report.js'
import { createRequestPool, POPULATION } from '../../bench/requests.js'

void t.test('the interval of a median has the ranks and coverage of the published tables', (t) => {
  const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1)
  // Tables of the sign test: n = 10 → 2nd and 9th, 1 - 22 / 2^10; n = 20 → 6th and 15th, 1 - 43,400 / 2^20.
  const ten = medianInterval(upTo(10))
  t.match(ten, { low: 2, median: 5.5, high: 9 })
  t.ok(Math.abs((ten?.coverage ?? 0) - (1 - 22 / 2 ** 10)) < 1e-12)
  const twenty = medianInterval(upTo(20).reverse())
  t.match(twenty, { low: 6, median: 10.5, high: 15 })
  t.ok(Math.abs((twenty?.coverage ?? 0) - (1 - 43_400 / 2 ** 20)) < 1e-12)
  t.equal(medianInterval(upTo(5)), null, 'five pairs cannot give 95 %')
  t.match(medianInterval(upTo(6)), { low: 1, high: 6 }, 'six can, just')
  t.end()
})

void t.test('a rise is judged by its whole interval', (t) => {
  const around = (middle: number): number[] => [-3, -2, -1, 1, 2, 3].map((off) => middle + off)
  t.match(riseLine('p99', around(2), 6), /rises by 2\.00 ms \(median\), \[-1\.00, 5\.00\] .*wanted ≤ 6: reached$/)
  t.match(riseLine('p99', around(10), 6), /wanted ≤ 6: MISSED$/)
  t.match(riseLine('p99', around(6), 6), /wanted ≤ 6: undecided$/)
  t.notMatch(riseLine('p99', around(6)), /wanted/, 'nothing is wanted')
  t.match(riseLine('p99', [1, 2, 3], 6), /too few pairs$/)
  t.end()
})

void t.test('requests in flight during a gap are told from those that are not', (t) => {
  const gaps = mergeGaps([
    [50, 60],
    [10, 20],
    [15, 30],
  ])
  t.same([...gaps], [10, 30, 50, 60])
  for (const [from, until] of [
    [0, 10],
    [29, 31],
    [12, 13],
    [0, 100],
    [60, 61],
  ] as const)
    t.ok(inGap(gaps, from, until))
  for (const [from, until] of [
    [0, 9],
    [31, 49],
    [61, 99],
  ] as const)
    t.notOk(inGap(gaps, from, until))
  t.notOk(inGap(mergeGaps([]), 0, 1))
  t.equal(slopePerSecond([3, 5, 7, 9]), 2)
  t.equal(quantile(Float64Array.of(1, 2, 3, 4), 0.5), 2)
  t.equal(quantile(Float64Array.of(1, 2, 3, 4), 0.999), 4)
  t.end()
})

void t.test('the load counts wrong answers and charges a stall to whatever should have started in it', async (t) => {
  const ids = new Set<string>()
  let requests = 0
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const { transaction_id: id } = JSON.parse(body) as { transaction_id: string }
      t.notOk(ids.has(id), 'ids come once')
      ids.add(id)
      requests += 1
      if (requests === 100) stall(STALL_MS)
      const wrong = requests === 50 ? 503 : 200
      const answer = requests === 60 ? '{}' : '{"decision_id":"d_x"}'
      response.writeHead(wrong, { 'content-length': answer.length }).end(answer)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const pool = createRequestPool({ seed: 1, size: 64, prefix: 't-', ...POPULATION })
  const open = await openLoop({ port, connections: 4, ratePerSecond: 500, seconds: 1, pool })
  t.equal(open.timeline.count, 498)
  t.same(
    [...open.errors],
    [
      [503, 1],
      [200, 1],
    ],
    'a refusal, and an answer without a decision',
  )
  t.equal(open.unanswered, 0)
  const slow = open.timeline.ends.filter((end, i) => end - (open.timeline.starts[i] ?? 0) > STALL_MS / 2).length
  t.ok(slow >= 50, `${slow} requests of the 100 that fell into a stall of ${STALL_MS} ms waited for half of it`)

  const closed = await closedLoop({ port, connections: 4, seconds: 0.2, pool })
  t.ok(closed.timeline.count > 0 && closed.errors.size === 0 && closed.unanswered === 0)
  server.close()
  server.closeAllConnections()
})

const STALL_MS = 200

/** What a pause of the collector or a slow disk does to a server with one thread. */
function stall(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
