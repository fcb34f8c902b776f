// The scoring port before there is one: it refuses, or holds what comes until there is one, with its bounds in rows and
// in time.
import t from 'tap'
import { TINY } from '../../src/limits.js'
import type { Exchange, StreamScoring } from '../../src/scoring/exchange.js'
import { forward, type Forward } from '../../src/scoring/forward.js'
import { createMetrics } from '../../src/telemetry/metrics.js'
import { until } from '../flow/server-rig.js'

interface Answered {
  readonly status: number
  readonly body: string
}

function port(over: Partial<typeof TINY> = {}): Forward & { close(): void } {
  const limits = { ...TINY, ...over }
  const metrics = createMetrics(limits)
  const clock = { nowMs: () => 5_000, monoMs: () => 77 }
  return { ...forward({ clock, limits, metrics }), close: () => metrics.close() }
}

function exchange(answers: Answered[]): Exchange {
  return {
    ...{ mode: 'decide', deadlineMs: 8, traceparent: null, begunAtMs: 1, receivedAtMs: 1, source: null },
    ...{ decidedElsewhere: null, stale: false, serverTiming: null },
    answer: (status, body) => void answers.push({ status, body }),
  }
}

/** Takes bytes while it has room. */
function scoringOf(taken: { bytes: Buffer; atMs: number }[], hasRoom: () => boolean): StreamScoring {
  const refused = (): never => {
    throw new Error('not asked here')
  }
  return {
    ...{ gate: () => null, hasRoom, submitValue: refused, submitLabels: refused, findDecision: () => 'found' },
    ...{ inference: () => null, infer: refused },
    submit: (bytes, { receivedAtMs }) => void taken.push({ bytes: Buffer.from(bytes), atMs: receivedAtMs }),
    decided: { has: () => false, isDeadLetter: () => false },
    ...{ recall: () => Promise.resolve(null), consume: () => true, supersede: () => true },
  }
}

void t.test('before it holds, it is not ready', (t) => {
  const held = port()
  t.teardown(() => held.close())
  t.equal(held.gate(1), 'ASSAY_NOT_READY')
  t.match(held.findDecision({ transactionId: 't' }), { code: 'ASSAY_NOT_READY' })
  t.end()
})

void t.test('what is held goes on once there is room, whole and with all of its time', async (t) => {
  const held = port({ inFlightMax: 3 })
  t.teardown(() => held.close())
  const [answers, taken]: [Answered[], { bytes: Buffer; atMs: number }[]] = [[], []]
  held.hold()
  const bytes = Buffer.from('first')
  held.submit(bytes, exchange(answers))
  bytes.fill(0)
  t.equal(held.gate(2), null)
  t.equal(held.gate(3), 'ASSAY_OVERLOADED')
  held.submit(Buffer.from('second'), exchange(answers))
  let room = 1
  held.give(scoringOf(taken, () => taken.length < room))
  t.same(taken, [{ bytes: Buffer.from('first'), atMs: 77 }])
  t.equal(held.gate(9), null, 'from here on the gate is that of the scoring')
  t.equal(held.findDecision({ transactionId: 't' }), 'found')
  room = 2
  await until(() => taken.length === 2, 'the second')
  t.equal(taken[1]?.bytes.toString(), 'second')
  t.same(answers, [])
})

void t.test('what is held too long, or for nothing, is refused', async (t) => {
  for (const end of ['late', 'refused']) {
    const held = port({ heldMsMax: end === 'late' ? 1 : 60_000 })
    t.teardown(() => held.close())
    const answers: Answered[] = []
    held.hold()
    held.submit(Buffer.from('x'), exchange(answers))
    if (end === 'refused') held.refuse()
    await until(() => answers.length === 1, 'an answer')
    t.equal(answers[0]?.status, 503)
    t.match(answers[0]?.body, /ASSAY_NOT_READY/)
    t.equal(held.gate(1), 'ASSAY_NOT_READY')
  }
})
