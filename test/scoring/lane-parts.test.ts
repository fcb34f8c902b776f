// The pure parts of a lane: the table of flights, the estimate of what a run costs, the breaker on a clock of our own.
import { mock } from 'node:test'
import fc from 'fast-check'
import t from 'tap'
import { createBreaker } from '../../src/scoring/lane/breaker.js'
import { createCost } from '../../src/scoring/lane/cost.js'
import { createFlights } from '../../src/scoring/lane/flights.js'
import { createHangs } from '../../src/scoring/lane/hangs.js'
import type { BreakerState } from '../../src/scoring/lane/port.js'

void t.test('a batch is as long as measured cost allows', (t) => {
  /** The estimate after runs of these sizes at 400 µs and 1 µs a row, say. */
  const learned = (runUs: number, rowUs: number) => {
    const cost = createCost()
    for (let i = 0; i < 100; i++) for (const rows of [1, 32, 64]) cost.add(rows, runUs + rowUs * rows)
    return cost
  }
  const bound = (runUs: number, rowUs: number, deviceRows?: number): number =>
    learned(runUs, rowUs).rowsWithin(1_000, 64, deviceRows)
  t.same([bound(20, 5), bound(20, 100), bound(1_500, 50)], [64, 9, 1], 'the CPU: by the time that a run may take')
  t.same([bound(20, 5, 512), bound(20, 100, 512)], [64, 9], 'a device that is no faster with many rows, as well')
  const near = (value: number, wanted: number): boolean => Math.abs(value - wanted) <= wanted / 100
  t.ok(near(bound(400, 1, 512), 400), 'as many as double the run, not the 64 of the CPU')
  t.equal(bound(400, 1), 64, 'where there is no device the bound stays')
  t.equal(bound(400, 0.1, 512), 512, 'never above the bound of devices')
  t.ok(near(bound(1_500, 10, 512), 150), 'a run that alone takes longer is filled')
  t.equal(bound(6_000, 100, 512), 1, 'but not where the deadline would be lost')
  t.end()
})

void t.test('flights', (t) => {
  const table = (rowsMax = 8) => {
    const outcomes: boolean[] = []
    return { outcomes, flights: createFlights(rowsMax, (failed) => outcomes.push(failed)) }
  }

  void t.test('a failure is news where its flight left after the last news', (t) => {
    const said: string[] = []
    const flights = createFlights(8, (failed, isNews) => said.push(failed ? (isNews ? 'news' : 'known') : 'ok'))
    const leave = (ticket: number): void => {
      flights.add(ticket)
      flights.end()
    }
    for (const ticket of [1, 2, 3]) leave(ticket)
    flights.expire(1)
    leave(4)
    flights.expire(2)
    flights.expire(4)
    leave(5)
    for (let row = 0; row < 4; row++) flights.settle(false, false)
    flights.settle(true, false)
    t.same(said, ['news', 'known', 'news', 'ok', 'news'])
    t.end()
  })

  void t.test('half of the rows bad fails a flight, fewer do not', (t) => {
    for (const [rows, bad, failed] of [
      [1, 0, false],
      [1, 1, true],
      [4, 1, false],
      [4, 2, true],
      [5, 2, false],
      [5, 3, true],
    ] as const) {
      const { flights, outcomes } = table()
      for (let i = 0; i < rows; i++) flights.add(i)
      flights.end()
      for (let i = 0; i < rows; i++) flights.settle(i < bad, false)
      t.same(outcomes, [failed], `${bad} of ${rows}`)
    }
    t.end()
  })

  void t.test('an expired row fails its flight at once and only once', (t) => {
    const { flights, outcomes } = table()
    flights.add(1)
    flights.add(2)
    flights.end()
    t.equal(flights.expire(2), true)
    t.same(outcomes, [true])
    t.equal(flights.expire(2), false, 'a ticket is given up once')
    t.equal(flights.expire(3), false, 'a ticket that is not there is nothing')
    flights.expire(1)
    flights.settle(false, false)
    flights.settle(false, false)
    t.same(outcomes, [true])
    t.end()
  })

  void t.test('a flight is under way from its end to its last row', (t) => {
    const { flights } = table()
    flights.add(1)
    t.equal(flights.underWay(), false)
    t.equal(flights.end(), true)
    t.equal(flights.end(), false, 'an empty flight is not handed over')
    t.equal(flights.underWay(), true)
    flights.settle(false, false)
    t.equal(flights.underWay(), false)
    t.end()
  })

  void t.test('any order of adding, ending, expiring and settling agrees with a plain model', (t) => {
    type Row = { ticket: number; flight: number; awaited: boolean }
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant('add' as const) },
      { weight: 2, arbitrary: fc.constant('end' as const) },
      { weight: 3, arbitrary: fc.record({ bad: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ expire: fc.nat(12) }) },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { flights, outcomes } = table(8)
        const rows: Row[] = []
        const ended = new Set<number>()
        const stat = new Map<number, { rows: number; left: number; bad: number; told: boolean }>()
        const expected: boolean[] = []
        let ticket = 0
        let open = 0
        const openRows = () => rows.filter((row) => row.flight === open).length
        for (const s of steps) {
          if (s === 'add') {
            if (rows.length === 8) continue
            flights.add(ticket)
            rows.push({ ticket: ticket++, flight: open, awaited: true })
            const flight = stat.get(open) ?? { rows: 0, left: 0, bad: 0, told: false }
            stat.set(open, { ...flight, rows: flight.rows + 1, left: flight.left + 1 })
          } else if (s === 'end') {
            const some = openRows() > 0
            if (flights.end() !== some) return false
            if (some) ended.add(open++)
          } else if ('bad' in s) {
            const row = rows[0]
            if (row === undefined || !ended.has(row.flight)) continue
            if (flights.ticket() !== row.ticket || flights.awaited() !== row.awaited) return false
            flights.settle(s.bad, false)
            rows.shift()
            const flight = stat.get(row.flight)
            if (flight === undefined) return false
            flight.left--
            if (s.bad) flight.bad++
            if (flight.left === 0 && !flight.told) expected.push(flight.bad * 2 >= flight.rows)
          } else {
            const row = rows[s.expire]
            const was = row?.awaited ?? false
            if (flights.expire(row?.ticket ?? -1) !== was) return false
            if (row === undefined || !was) continue
            row.awaited = false
            const flight = stat.get(row.flight)
            if (flight === undefined || flight.told) continue
            flight.told = true
            expected.push(true)
          }
          if (flights.queued() !== rows.length) return false
          if (flights.awaitedRows() !== rows.filter((row) => row.awaited).length) return false
          if (flights.underWay() !== rows.some((row) => ended.has(row.flight))) return false
        }
        return outcomes.join() === expected.join()
      }),
      { numRuns: 500 },
    )
    t.end()
  })
  t.end()
})

void t.test('cost', (t) => {
  void t.test('learns what a run and what a row take', (t) => {
    const cost = createCost()
    for (let i = 0; i < 100; i++) {
      const rows = 1 + ((i * 7) % 32)
      cost.add(rows, 20 + 5 * rows)
    }
    t.ok(Math.abs(cost.perRowUs() - 5) < 1e-6 && Math.abs(cost.perRunUs() - 20) < 1e-6)
    t.equal(cost.rowsWithin(102, 64), 16)
    t.equal(cost.rowsWithin(10_000, 64), 64)
    t.equal(cost.rowsWithin(1, 64), 1, 'a run has a row, however slow the model')
    t.end()
  })
  void t.test('a stalled run counts at most twice what was expected, and a slower model is learned', (t) => {
    const cost = createCost()
    for (let i = 0; i < 100; i++) cost.add(1 + (i % 2), 10 + 10 * (1 + (i % 2)))
    cost.add(1, 1_000_000)
    const after = cost.perRunUs() + cost.perRowUs()
    t.ok(after > 20 && after < 23, `${after}`)
    for (let i = 0; i < 100; i++) cost.add(1, 2_000)
    t.ok(cost.perRunUs() + cost.perRowUs() > 1_000)
    cost.reset()
    cost.add(1, 20)
    t.equal(cost.perRunUs() + cost.perRowUs(), 20, 'forgets when it is told to')
    t.end()
  })
  t.end()
})

void t.test('breaker', (t) => {
  const policy = { error_percent: 50, volume: 20, window_ms: 10_000, probe_after_ms: 1_000 }
  const rig = (failuresInRow = 3) => {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] })
    const states: BreakerState[] = []
    let probes = 0
    const breaker = createBreaker(
      { policy, failuresInRow },
      { onState: (state) => states.push(state), onProbe: () => void probes++ },
    )
    t.teardown(() => {
      breaker.close()
      mock.timers.reset()
    })
    return { breaker, states, probes: () => probes }
  }
  /** Opossum counts in promise callbacks. */
  const counted = () => new Promise((resolve) => setImmediate(resolve))

  t.afterEach(() => mock.timers.reset())

  void t.test('at one request a minute three failures in a row open it, though its window forgets each', async (t) => {
    const { breaker, states } = rig()
    for (const failed of [true, true, false, true, true]) {
      breaker.record(failed, failed)
      await counted()
      mock.timers.tick(60_000)
    }
    t.same(states, [], 'two in a row are not enough')
    breaker.record(true, true)
    t.same(states, ['open'])
    t.equal(breaker.closed(), false)
  })

  void t.test('flights that one stall failed count once in a row', (t) => {
    const { breaker, states } = rig()
    for (const isNews of [true, false, false, false, true, false]) breaker.record(true, isNews)
    t.same(states, [])
    breaker.record(true, true)
    t.same(states, ['open'])
    t.end()
  })

  void t.test('at high traffic the rate opens it, though never three in a row', async (t) => {
    const { breaker, states } = rig()
    for (let i = 0; i < 19; i++) {
      breaker.record(i % 3 !== 0, i % 3 !== 0)
      await counted()
    }
    t.same(states, [], 'not before its volume')
    breaker.record(true, true)
    await counted()
    t.same(states, ['open'])
  })

  void t.test('half of the flights failing is not more than half', async (t) => {
    const { breaker, states } = rig()
    for (let i = 0; i < 60; i++) {
      breaker.record(i % 2 === 1, i % 2 === 1)
      await counted()
    }
    t.same(states, [])
  })

  void t.test('it asks for a probe when its time is over, and only a match closes it', (t) => {
    const { breaker, states, probes } = rig(1)
    breaker.record(true, true)
    mock.timers.tick(999)
    t.equal(probes(), 0)
    mock.timers.tick(1)
    t.equal(probes(), 1)
    t.equal(breaker.closed(), false, 'half open lets no payment pass')
    breaker.record(false, false)
    t.equal(breaker.state(), 'half_open', 'a flight that left before it opened closes nothing')
    breaker.probed(false)
    mock.timers.tick(1_000)
    t.equal(probes(), 2)
    breaker.probed(true)
    t.same(states, ['open', 'half_open', 'open', 'half_open', 'closed'])
    t.end()
  })

  void t.test('forced open it sends no probe until it is released', (t) => {
    const { breaker, states, probes } = rig()
    breaker.forceOpen()
    breaker.probed(true)
    mock.timers.tick(10_000)
    t.same([states, probes(), breaker.forced()], [['open'], 0, true])
    breaker.release()
    mock.timers.tick(1_000)
    breaker.probed(true)
    t.same(states, ['open', 'half_open', 'closed'])
    t.end()
  })
  t.end()
})

void t.test('one hanging thread is replaced per process, the next asks for a restart', (t) => {
  const hangs = createHangs()
  hangs.abandoned()
  t.same([hangs.takeReplacement(), hangs.restartNeeded(), hangs.stuck()], [true, false, 1])
  hangs.abandoned()
  t.same([hangs.takeReplacement(), hangs.restartNeeded(), hangs.stuck()], [false, true, 2])
  hangs.returned()
  t.equal(hangs.stuck(), 1)
  t.end()
})
