// Lanes with real threads and real models that block, throw, hang, die and give NaN. Nothing here is mocked.
import fc from 'fast-check'
import t from 'tap'
import { AssayError } from '../../src/errors.js'
import { createHangs } from '../../src/scoring/lane/hangs.js'
import { createRig, MORTAL, until } from './lane-rig.js'
import type { Rig } from './lane-rig.js'

t.setTimeout(240_000)

/** Rows of `hangs` with this first column keep the session busy inside one run for about so long. */
const busyFor = (ms: number): number => 1e6 + (ms * 1000) / 1.2
/** Fails the whole run of `throws`; scored by `linear`. */
const POISON = 2e6

const states = (rig: Rig): string[] => rig.events.flatMap((event) => (event.kind === 'breaker' ? [event.state] : []))
const kinds = (rig: Rig): string[] => rig.events.map((event) => event.kind)
const close = async (rig: Rig): Promise<void> => rig.lane.close(5_000)

void t.test('a lane scores as its golden rows say, whatever type its model takes', async (t) => {
  for (const model of ['percent', 'trees', 'double', 'whole']) {
    const rig = await createRig(model)
    const { golden } = rig.bundle
    const got = await rig.score(golden.values[0])
    t.ok(Math.abs(Number(got) - golden.scores[0]) <= golden.tolerance, `${model}: ${got}, golden ${golden.scores[0]}`)
    t.same([rig.lane.breakerState(), rig.lane.state(), rig.lane.digest], ['closed', 'ready', rig.bundle.digest])
    t.ok(rig.lane.predictedMs() > 0 && rig.lane.predictedMs() < 100, `${rig.lane.predictedMs()} ms predicted`)
    await close(rig)
    t.equal(await rig.score(1), 'not_loaded', 'a closed lane takes no rows')
  }
})

void t.test('a bundle whose golden rows differ, or whose model always throws, makes no lane', async (t) => {
  const altered = createRig('linear', {
    alter: (bundle) => ({ ...bundle, golden: { ...bundle.golden, scores: bundle.golden.scores.map((s) => 1 - s) } }),
  })
  const code = (promise: Promise<Rig>): Promise<string> =>
    promise.then(
      () => 'made',
      (error: unknown) => (error instanceof AssayError ? error.code : String(error)),
    )
  t.equal(await code(altered), 'ASSAY_BUNDLE_REFUSED')
  t.equal(await code(createRig('throws-always')), 'ASSAY_MODEL_FAILED')
  const hangs = createHangs()
  t.equal(await code(createRig('slow', { hangs, limits: { laneStartMs: 200 } })), 'ASSAY_MODEL_FAILED', 'not in time')
  t.same([hangs.stuck(), hangs.restartNeeded()], [1, false])
  await until(() => hangs.stuck() === 0)
})

void t.test('a NaN row fails alone; half of a flight failing counts as a failed flight', async (t) => {
  const rig = await createRig('nan-rows')
  const firsts = [10, -1, 20, 30]
  firsts.forEach((first, ticket) => t.equal(rig.offer(ticket, first), null))
  await rig.until(() => rig.heard.size === 4)
  t.same(rig.heard.get(1), ['invalid_output'])
  for (const ticket of [0, 2, 3]) t.type(rig.heard.get(ticket)?.[0], 'number')
  t.same([rig.lane.counters.flightsOk, rig.lane.counters.flightsFailed], [1, 0])
  t.equal(await rig.score(-1), 'invalid_output')
  t.equal(rig.lane.counters.flightsFailed, 1, 'alone it is all of its flight')
  await close(rig)
})

void t.test('a model that throws on every row opens its breaker; it closes when golden rows match again', async (t) => {
  const rig = await createRig('throws')
  for (let flight = 0; flight < 3; flight++) {
    t.equal(rig.lane.breakerState(), 'closed')
    const tickets = [0, 1, 2].map((row) => flight * 3 + row)
    for (const ticket of tickets) t.equal(rig.offer(ticket, POISON), null)
    rig.lane.flush()
    await rig.until(() => tickets.every((ticket) => rig.heard.has(ticket)))
    for (const ticket of tickets) t.same(rig.heard.get(ticket), ['model_error'])
  }
  t.equal(rig.offer(99, 10), 'breaker_open', 'three flights in a row')
  await rig.until(() => rig.lane.breakerState() === 'closed')
  t.same(states(rig), ['open', 'half_open', 'closed'])
  t.type(await rig.score(10), 'number')
  t.match(kinds(rig), ['thread_ready', 'run_threw', 'breaker'], 'said once, not once a run')
  await close(rig)
})

void t.test('a row that makes a joined run throw fails its own flight, not those beside it', async (t) => {
  const rig = await createRig('throws', { mortal: true, limits: { laneRowsMax: 64, laneBatchRowsMax: 32 } })
  rig.offer(0, MORTAL.pause)
  rig.lane.flush()
  const firsts = [[10, 11], [12, POISON, 13], [14], [15, 16]]
  let ticket = 1
  const flights = firsts.map((flight) => {
    const tickets = flight.map((first) => {
      rig.offer(ticket, first)
      return ticket++
    })
    rig.lane.flush()
    return tickets
  })
  await rig.until(() => rig.heard.size === ticket)
  t.ok(rig.lane.counters.runs < 5, 'flights were joined')
  t.same(
    flights.map((tickets) => tickets.map((each) => typeof rig.heard.get(each)?.[0])),
    [['number', 'number'], ['string', 'string', 'string'], ['number'], ['number', 'number']],
  )
  t.same([rig.lane.counters.flightsOk, rig.lane.counters.flightsFailed], [4, 1])
  await close(rig)
  const alone = await createRig('throws')
  t.not(rig.heard.get(1)?.[0], rig.heard.get(6)?.[0])
  t.equal(rig.heard.get(8)?.[0], await alone.score(16), 'repeated apart, each row got its own score')
  await close(alone)
})

void t.test('a lane blocked for a second inside session.run', async (t) => {
  const rig = await createRig('hangs', { limits: { laneRowsMax: 8 } })
  const blockedAt = performance.now()
  rig.offer(0, busyFor(1000))
  rig.lane.flush()
  await rig.until(() => performance.now() - blockedAt > 100)
  t.equal(rig.heard.size, 0, 'this thread is not blocked')
  t.ok(rig.lane.predictedMs() < 500, 'a blocked lane is not overload')
  rig.lane.expire(0)
  for (const ticket of [1, 2]) {
    t.equal(rig.offer(ticket, 10), null)
    rig.lane.flush()
    rig.lane.expire(ticket)
  }
  t.equal(rig.offer(3, 10), 'breaker_open', 'timeouts are failures')
  t.equal(rig.lane.queuedRows(), 3)
  t.equal(rig.heard.size, 0)
  await rig.until(() => rig.lane.breakerState() === 'closed')
  t.ok(performance.now() - blockedAt > 700, 'the probe was answered when the run was over')
  const { late, skipped, expired, flightsFailed, threadsAbandoned } = rig.lane.counters
  t.same(
    { late, skipped, expired, flightsFailed, threadsAbandoned },
    {
      late: 1,
      skipped: 2,
      expired: 3,
      flightsFailed: 3,
      threadsAbandoned: 0,
    },
  )
  t.equal(rig.heard.size, 0, 'late answers are dropped')
  t.type(await rig.score(10), 'number')
  await close(rig)
})

void t.test('a full ring refuses rows and takes them again', async (t) => {
  const rig = await createRig('hangs', { limits: { laneRowsMax: 8 } })
  const offered = [busyFor(200), ...Array.from({ length: 10 }, () => 10)].map((first, ticket) =>
    rig.offer(ticket, first),
  )
  t.same(
    offered.slice(0, 8),
    Array.from({ length: 8 }, () => null),
  )
  t.same(offered.slice(8), ['queue_full', 'queue_full', 'queue_full'])
  rig.lane.flush()
  await rig.until(() => rig.heard.size === 8)
  t.type(await rig.score(10), 'number')
  await close(rig)
})

void t.test('a thread that ends by itself fails its rows at once and is replaced', async (t) => {
  for (const end of ['exit', 'uncaught', 'terminate'] as const) {
    const again: (string | null)[] = []
    const rig: Rig = await createRig('linear', { mortal: true, onFailure: () => again.push(rig.offer(99, 10)) })
    const endedAt = performance.now()
    for (const ticket of [0, 1, 2]) rig.offer(ticket, end === 'terminate' ? MORTAL.pause : MORTAL[end])
    rig.lane.flush()
    if (end === 'terminate') void rig.workers[0].terminate()
    await rig.until(() => rig.heard.size === 3)
    t.same([...rig.heard.values()], [['model_error'], ['model_error'], ['model_error']], end)
    t.same(again, ['not_loaded', 'not_loaded', 'not_loaded'], 'offered again from inside the failure')
    t.comment(`${end}: failed after ${(performance.now() - endedAt).toFixed(1)} ms`)
    t.equal(rig.lane.state(), 'restarting')
    t.equal(rig.offer(9, 10), 'not_loaded')
    t.equal(rig.lane.predictedMs(), Infinity)
    await rig.until(() => rig.lane.state() === 'ready')
    t.type(await rig.score(10), 'number')
    t.match(kinds(rig), ['thread_ready', 'thread_died', 'thread_ready'])
    t.equal(rig.hangs.stuck(), 0)
    await close(rig)
  }
})

void t.test('a thread that dies again and again stays away, after a bounded number of replacements', async (t) => {
  const rig = await createRig('linear', {
    mortal: true,
    limits: { breakerFailuresInRow: 100, laneRestartMsMax: 60_000 },
  })
  for (let death = 0; death < 4; death++) {
    t.equal(await rig.score(MORTAL.exit), 'model_error')
    await rig.until(() => rig.lane.state() !== 'restarting')
  }
  t.same([rig.lane.state(), rig.lane.counters.threadsDied, rig.workers.length], ['not_loaded', 4, 4])
  const waits = rig.events.flatMap((event) => (event.kind === 'thread_died' ? [event.restartInMs] : []))
  t.same(waits, [5, 10, 20, null])
  t.equal(rig.offer(1, 10), 'not_loaded')
  await close(rig)
})

void t.test(
  'a thread that hangs is abandoned and replaced once per process, then its model is not loaded',
  async (t) => {
    const hangs = createHangs()
    const stuck: number[] = []
    const options = { hangs, limits: { laneStopMs: 500 }, onFailure: () => stuck.push(hangs.stuck()) }
    const first = await createRig('hangs', options)
    const second = await createRig('hangs', options)
    const hang = async (rig: Rig): Promise<number> => {
      const at = performance.now()
      rig.offer(0, busyFor(2_500))
      rig.offer(1, 10)
      rig.lane.flush()
      await rig.until(() => rig.heard.size === 2)
      return performance.now() - at
    }
    const took = await hang(first)
    t.ok(took >= 490, `given up after ${took.toFixed(0)} ms, laneStopMs is 500`)
    t.same([...first.heard.values()], [['model_error'], ['model_error']])
    t.same(stuck, [1, 1], 'its rows fail while it still hangs')
    await first.until(() => first.lane.state() === 'ready')
    t.type(await first.score(10), 'number')
    t.match(first.events, [{}, { kind: 'thread_abandoned', replaced: true }])
    t.same([first.workers.length, hangs.restartNeeded()], [2, false])

    await hang(second)
    t.match(second.events, [{}, { kind: 'thread_abandoned', replaced: false }])
    t.same([second.lane.state(), second.workers.length], ['not_loaded', 1])
    t.equal(second.offer(5, 10), 'not_loaded')
    t.equal(hangs.restartNeeded(), true)

    await first.until(() => hangs.stuck() === 0)
    t.equal(first.lane.counters.late + second.lane.counters.late, 4, 'what hung and came back was dropped and counted')
    t.equal(first.lane.counters.scored, 1)
    t.ok(kinds(first).includes('thread_returned'))
    await close(first)
    await close(second)
  },
)

void t.test('a probe does not close the breaker while runs are slower than the deadline', async (t) => {
  const rig = await createRig('linear', { deadlineMs: 0 })
  rig.lane.forceOpen()
  t.equal(rig.offer(0, 10), 'forced')
  rig.lane.release()
  t.equal(rig.offer(0, 10), 'breaker_open')
  await rig.until(() => states(rig).length >= 5)
  t.same(states(rig).slice(0, 5), ['open', 'half_open', 'open', 'half_open', 'open'])
  t.ok(rig.lane.counters.probes >= 2)
  t.equal(rig.lane.counters.probesMatched, 0)
  await close(rig)
})

void t.test('a slow model is probed with runs as short as those of payments', async (t) => {
  // All golden rows in one run would take 100 ms and more, every time.
  const { limits, deadlineMs } = { limits: { laneBatchRowsMax: 64, laneRowsMax: 64 }, deadlineMs: 20 }
  const rig = await createRig('heavy', { limits, deadlineMs, breaker: { probe_after_ms: 30 } })
  rig.lane.forceOpen()
  rig.lane.release()
  await rig.until(() => rig.lane.breakerState() === 'closed')
  t.equal(rig.lane.counters.probesMatched, 1)
  await close(rig)
})

void t.test('close lets the thread finish what waits, and abandons one that does not', async (t) => {
  const rig = await createRig('hangs')
  rig.offer(0, busyFor(100))
  rig.offer(1, 10)
  const closed = rig.lane.close(2_000)
  t.equal(rig.offer(2, 10), 'not_loaded')
  await closed
  t.same([typeof rig.heard.get(0)?.[0], typeof rig.heard.get(1)?.[0], rig.hangs.stuck()], ['number', 'number', 0])

  const stuck = await createRig('hangs')
  stuck.offer(0, busyFor(400))
  stuck.lane.flush()
  await stuck.lane.close(50)
  t.same([stuck.heard.get(0), stuck.hangs.stuck()], [['not_loaded'], 1])
  await stuck.until(() => stuck.hangs.stuck() === 0)
})

void t.test('every accepted ticket gets exactly one score, failure or expiry, in any interleaving', async (t) => {
  const rig = await createRig('throws', {
    mortal: true,
    limits: {
      laneRowsMax: 16,
      flightRowsMax: 4,
      laneRestartMs: 1,
      laneRestartMsMax: 1,
      laneRestartsMax: 1_000,
      breakerFailuresInRow: 3,
    },
    breaker: { probe_after_ms: 10 },
  })
  let ticket = 0
  let acceptedAll = 0
  const step = fc.oneof(
    { weight: 60, arbitrary: fc.constantFrom(10, 20, 30) },
    { weight: 6, arbitrary: fc.constant(POISON) },
    { weight: 20, arbitrary: fc.constant('flush' as const) },
    { weight: 20, arbitrary: fc.constant('tick' as const) },
    { weight: 10, arbitrary: fc.record({ expire: fc.nat(20) }) },
    { weight: 5, arbitrary: fc.constant('settled' as const) },
    { weight: 1, arbitrary: fc.constant(MORTAL.pause) },
    { weight: 1, arbitrary: fc.constant(MORTAL.exit) },
  )
  const settled = (from: number, dead: Set<number>, accepted: Set<number>) => () =>
    [...accepted].every((each) => each < from || rig.heard.has(each) || dead.has(each))
  const walk = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
    const from = ticket
    const accepted = new Set<number>()
    const dead = new Set<number>()
    for (const s of steps) {
      if (typeof s === 'number') {
        if (rig.offer(ticket, s) === null) accepted.add(ticket)
        ticket++
      } else if (s === 'flush') rig.lane.flush()
      else if (s === 'tick') await new Promise((resolve) => setImmediate(resolve))
      else if (s === 'settled') {
        rig.lane.flush()
        await rig.until(settled(from, dead, accepted))
      } else {
        const each = ticket - 1 - s.expire
        if (!accepted.has(each) || rig.heard.has(each)) continue
        dead.add(each)
        rig.lane.expire(each)
      }
    }
    rig.lane.flush()
    await rig.until(settled(from, dead, accepted))
    await rig.until(() => rig.lane.state() === 'ready' && rig.lane.queuedRows() === 0)
    for (let each = from; each < ticket; each++) {
      const heard = rig.heard.get(each) ?? []
      const wanted = accepted.has(each) && !dead.has(each) ? 1 : 0
      if (heard.length !== wanted) throw new Error(`ticket ${each}: heard ${heard.join()}, wanted ${wanted}`)
    }
    acceptedAll += accepted.size
  })
  const { counters } = rig.lane
  const everywhere = () =>
    counters.scored > 0 && counters.failed > 0 && counters.expired > 0 && counters.threadsDied > 0
  const end = performance.now() + 1_500
  // Time-boxed by rounds, each with a seed of its own, which fast-check prints on failure.
  for (let round = 0; round < 200 && (performance.now() < end || !everywhere()); round++) {
    await fc.assert(walk, { numRuns: 5, endOnFailure: true })
  }
  t.comment(JSON.stringify({ offered: ticket, accepted: acceptedAll, ...counters }))
  t.ok(everywhere(), 'scores, failures, expiries and deaths all happened')
  t.equal(counters.scored + counters.failed + counters.expired, acceptedAll, 'and the counters add up')
  await close(rig)
})
