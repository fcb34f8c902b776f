// A wave of dead letters: one event when it begins, one a minute while it lasts, one when it is over.
import t from 'tap'
import type { EventName, Fields } from '../../src/telemetry/logger.js'
import { createWave, type Wave } from '../../src/scoring/transport/kafka/wave.js'

interface Bench {
  readonly wave: Wave
  readonly events: [EventName, Fields][]
  readonly pass: (seconds: number) => void
}

function bench(): Bench {
  let nowMs = 1_000
  const events: [EventName, Fields][] = []
  const wave = createWave({
    clock: { nowMs: () => nowMs, monoMs: () => nowMs },
    limits: { kafkaDeadWaveMin: 3 },
    logger: { event: (name, fields = {}) => void events.push([name, fields]) },
  })
  return { wave, events, pass: (seconds) => void (nowMs += 1_000 * seconds) }
}

const dead = (count: number) => Array.from({ length: count }, () => 'ASSAY_BODY_MALFORMED' as const)

void t.test('many dead letters are one event, with codes, share and where the newest lies', (t) => {
  const { wave, events } = bench()
  wave.add(3, dead(3), 'dlq 0:2')
  t.same(events, [], 'three are not more than three')
  wave.add(2, ['ASSAY_SCHEMA_INVALID'], 'dlq 1:7')
  wave.add(5, dead(5), 'dlq 0:7')
  t.same(events, [
    [
      'KafkaDeadLetterWave',
      { count: 4, share: 0.8, newest: 'dlq 1:7', codes: ['ASSAY_BODY_MALFORMED 3', 'ASSAY_SCHEMA_INVALID 1'] },
    ],
  ])
  t.ok(wave.isOn())
  t.end()
})

void t.test('half of the messages are no wave, however many', (t) => {
  const { wave, events } = bench()
  wave.add(200, dead(100), 'dlq 0:99')
  t.same(events, [])
  wave.add(1, dead(1), 'dlq 0:100')
  t.equal(events.length, 1)
  t.end()
})

void t.test('dead letters that trickle in are no wave', (t) => {
  const { wave, events, pass } = bench()
  for (let at = 0; at < 50; at++) {
    wave.add(1, dead(1), `dlq 0:${at}`)
    pass(25)
  }
  t.same(events, [])
  t.end()
})

void t.test('it is said again once a minute while it lasts, and once when it is over', (t) => {
  const { wave, events, pass } = bench()
  for (let second = 0; second < 180; second++) {
    wave.add(10, dead(9), `dlq 0:${second}`)
    pass(1)
  }
  const names = (): EventName[] => events.map(([name]) => name)
  t.same(names(), Array(3).fill('KafkaDeadLetterWave'), 'at the start and after one and two minutes')
  wave.look()
  pass(30)
  wave.look()
  t.ok(wave.isOn(), 'the minute still holds it')
  pass(31)
  wave.look()
  wave.look()
  t.notOk(wave.isOn(), 'over, though nothing came')
  t.same(names().slice(4), ['KafkaDeadLetterWaveEnded'])
  wave.add(4, dead(4), 'dlq 0:200')
  t.same(names().slice(5), ['KafkaDeadLetterWave'], 'the next is another')
  t.end()
})

void t.test('counts that cross the line again and again make no flood', (t) => {
  const { wave, events, pass } = bench()
  for (let second = 0; second < 600; second++) {
    const isPoison = second % 20 < 10
    wave.add(10, isPoison ? dead(10) : [], isPoison ? 'dlq 0:1' : null)
    pass(1)
  }
  t.ok(events.length <= 20, `${events.length} events in ten minutes`)
  t.end()
})
