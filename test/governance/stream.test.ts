// The event stream: nothing is lost by breaks, nothing is held for a reader who does not read.
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { createStreams } from '../../src/governance/api/stream.js'
import type { Missed, StreamEvent, StreamPage } from '../../src/governance/api/source.js'
import { systemClock } from '../../src/runtime/clock.js'
import { type Limits, LIMITS, TINY } from '../../src/limits.js'
import { type GovernanceRig, startGovernance, until } from './rig.js'

interface Event {
  readonly event: string
  readonly id: string | null
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- what a server says is looked at field by field
  readonly data: any
}

void t.test('a reader that breaks off again and again, and sees the sidecar restart, misses nothing', async (t) => {
  const rig = await startGovernance({ limits: { ...LIMITS, streamRowsMax: 64, driftWindowRows: 60, driftRowsMin: 50 } })
  t.teardown(() => rig.remove())
  await rig.traffic('--rate', '20', '--for', '1s')
  await rig.caughtUp()
  const before = (await rig.ask('summary')).decisions_held
  const first = await readEvents(rig, { after: null, until: ({ event }) => event === 'tick' })
  let { last } = first
  const seen = new Map<string, number>()
  const kinds = new Set<string>()
  const take = (events: readonly Event[]): void => {
    for (const { event, data } of events) {
      kinds.add(event)
      if (event === 'decision') seen.set(data.decision_id, (seen.get(data.decision_id) ?? 0) + 1)
    }
  }
  const traffic = rig.traffic('--rate', '100', '--for', '8s')
  let breaks = 0
  let isOver = false
  void traffic.then(() => (isOver = true))
  while (!isOver) {
    const wanted = 5 + ((breaks * 37) % 90)
    let got = 0
    const part = await readEvents(rig, { after: last, until: ({ event }) => event === 'decision' && ++got === wanted })
    take(part.events)
    last = part.last
    if (++breaks === 2) {
      await rig.stop()
      await rig.restart()
      await until(() => rig.sidecar().facts().ready, 'it is back')
    }
  }
  await traffic
  await rig.caughtUp()
  const { sequence } = rig.sidecar().facts()
  const end = ({ event, id }: Event): boolean => event === 'tick' && Number(id?.split('-')[2]) > sequence
  if (Number(last?.split('-')[2]) <= sequence) take((await readEvents(rig, { after: last, until: end })).events)
  const { decisions_held: held } = await rig.ask('summary')
  t.ok(breaks >= 2, `${breaks} breaks`)
  t.equal(seen.size, held - before, 'each decision was told')
  t.same(
    [...seen.values()].filter((times) => times > 1),
    [],
    'and told once, since each has a sequence of its own',
  )
  t.ok(kinds.has('drift'), 'closed windows come between')
})

void t.test('an id that was never given out, or of another log, is refused', async (t) => {
  const rig = await startGovernance()
  t.teardown(() => rig.remove())
  await rig.traffic('--rate', '20', '--for', '1s')
  await rig.caughtUp()
  for (const id of ['17', 'x'.repeat(500), 'deadbeef-1-5-0']) {
    const answer = await fetch(`${rig.url}/api/v1/stream`, { headers: { 'last-event-id': id } })
    t.equal(answer.status, 400)
    t.match(await answer.json(), { code: 'ASSAY_HEADER_INVALID' })
  }
})

/** A source without end: whoever asks gets a full page of large events. Cursors are numbers. */
function createFlood() {
  const state = { newest: 0, given: 0, wake: (): void => undefined }
  const event = (n: number): StreamEvent => ({ id: String(n), kind: 'decision', data: { n, fill: 'x'.repeat(20_000) } })
  return {
    state,
    source: {
      newest: () => Promise.resolve(String(state.newest)),
      lag: () => ({ records: 0, seconds: 0 }),
      missed: (from: string, until: string): Promise<Missed> =>
        Promise.resolve({ from, until, decisions: Number(until) - Number(from) }),
      events(after: string, _: unknown, limit: number): Promise<StreamPage> {
        const from = Number(after)
        const to = Math.min(state.newest, from + limit)
        state.given = Math.max(state.given, to)
        const events = Array.from({ length: to - from }, (_, i) => event(from + i + 1))
        return Promise.resolve({ events, cursor: String(to), more: to < state.newest })
      },
      onCommit(listener: () => void) {
        state.wake = listener
        return () => undefined
      },
    },
  }
}

function fail(error: unknown): void {
  throw error
}

async function openFlood(
  t: { teardown(end: () => void): void },
  times: Pick<Limits, 'streamStallMs' | 'streamSlowMs'>,
) {
  const { source, state } = createFlood()
  const limits = { ...TINY, ...times }
  const streams = createStreams({
    source,
    limits,
    clock: systemClock,
    onFault: fail,
  })
  const server = createServer((_, response) => {
    response.writeHead(200)
    streams.open(response, { kinds: ['decision'], after: '0', stands: () => true })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => {
    streams.close()
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const open = async (): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    return socket
  }
  return { state, streams, open }
}

void t.test('a slow reader is held one page, and told what it missed when it reads again', async (t) => {
  const { state, streams, open } = await openFlood(t, { streamStallMs: 60_000, streamSlowMs: 100 })
  const socket = await open()
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => (text += chunk))
  await until(() => text.includes('event: tick') && streams.count() === 1, 'the stream is open')
  socket.pause()
  state.newest = 5_000
  state.wake()
  // Full once many wakes over twice the time of a slow page bring nothing more.
  let [stoodAt, sinceMs] = [-1, performance.now()]
  await until(() => {
    if (stoodAt !== state.given) [stoodAt, sinceMs] = [state.given, performance.now()]
    state.wake()
    return state.given > 0 && performance.now() - sinceMs > 1_000
  }, 'the socket is full')
  t.ok(state.given < 5_000, `${state.given} events fill what lies between; no more was asked for`)
  state.newest = 50_000
  socket.resume()
  await until(() => text.includes('event: missed'), 'it is told')
  const missed = /event: missed\nid: (\d+)\ndata: (.*)\n/.exec(text)
  t.equal(missed?.[1], '50000', 'and goes on at the newest')
  const { from, decisions } = JSON.parse(missed?.[2] ?? '{}') as { from: string; decisions: number }
  t.equal(decisions, 50_000 - Number(from), 'with how many, and from where')
  const numbers = [...text.matchAll(/"n":(\d+)/g)].map(([, n]) => Number(n))
  t.same(
    numbers,
    numbers.map((_, i) => i + 1),
    'what came before the gap came whole',
  )
  t.equal(numbers.at(-1), Number(from))
  state.newest = 50_003
  state.wake()
  await until(() => text.includes('"n":50003'), 'what is new comes')
  socket.destroy()
  await until(() => streams.count() === 0, 'it is forgotten')
})

void t.test('a reader that takes nothing for too long is let go; one that keeps up never is', async (t) => {
  const { state, streams, open } = await openFlood(t, { streamStallMs: 1_500, streamSlowMs: 60_000 })
  const [stalled, steady] = [await open(), await open()]
  let text = ''
  steady.setEncoding('utf8').on('data', (chunk: string) => (text = (text + chunk).slice(-200)))
  await until(() => streams.count() === 2, 'both are open')
  stalled.pause()
  state.newest = 5_000
  state.wake()
  await until(() => streams.count() === 1, 'one is let go')
  await until(() => text.includes('id: 5000'), 'the other gets everything')
  t.equal(streams.missed(), 0)
  t.equal(steady.destroyed, false)
})

/** Reads frames until one fits, then breaks off. */
async function readEvents(
  rig: GovernanceRig,
  { after, until: fits }: { after: string | null; until: (event: Event) => boolean },
): Promise<{ events: Event[]; last: string | null }> {
  const broken = new AbortController()
  const headers: Record<string, string> = after === null ? {} : { 'last-event-id': after }
  const signal = AbortSignal.any([broken.signal, AbortSignal.timeout(20_000)])
  const events: Event[] = []
  let last = after
  try {
    const answer = await fetch(`${rig.url}/api/v1/stream`, { headers, signal })
    let rest = ''
    for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const frames = (rest + chunk).split('\n\n')
      rest = frames.pop() ?? ''
      for (const frame of frames) {
        const event = eventOf(frame)
        if (event === null) continue
        events.push(event)
        last = event.id ?? last
        if (!fits(event)) continue
        broken.abort()
        return { events, last }
      }
    }
  } catch (error) {
    if (!(error instanceof Error)) throw error
  }
  return { events, last }
}

function eventOf(frame: string): Event | null {
  const line = (name: string): string | null => new RegExp(`^${name}: (.*)$`, 'm').exec(frame)?.[1] ?? null
  const event = line('event')
  return event === null ? null : { event, id: line('id'), data: JSON.parse(line('data') ?? 'null') }
}
