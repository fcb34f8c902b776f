// What the stream costs a request: the server's p99 over HTTP with 2,000 messages a second decided beside, against
// without any, in interleaved pairs on one server. The broker and its clients take their share of the same cores; so a
// third state has all of them at work on topics that the server does not read.
import { connectTopics } from '../../test/kafka/topics.js'
import { quantile } from '../control.js'
import { median } from '../interval.js'
import { measure, type Measurement } from '../measure.js'
import { riseLine } from '../report.js'
import { createRequestPool, POPULATION } from '../requests.js'
import { type Bench, endStream, medianOf, type Part, PARTITIONS, row, startStream } from './rig.js'
import { startTraffic } from './traffic.js'

const RISE_MS_MAX = 1

export async function measureHttpBeside(
  bench: Bench,
  { httpRate, streamRate }: { httpRate: number; streamRate: number },
): Promise<Part> {
  const { address } = bench.broker
  const [read, unread] = [await connectTopics(address, 'beside'), await connectTopics(address, 'unread')]
  for (const topics of [read, unread]) await topics.create(PARTITIONS)
  const traffic = await startTraffic(address, 'http', [read.names.decisions, unread.names.transactions])
  const server = await startStream(bench, read, { name: 'beside' })
  let pools = 0

  function load(seconds: number): Promise<Measurement> {
    pools += 1
    return measure({
      ...{ kind: 'open', port: server.scorePort, pid: server.pid, folder: bench.folder, connections: 64, seconds },
      ratePerSecond: httpRate,
      pool: createRequestPool({ seed: pools, size: 20_000, prefix: `h${pools}-`, ...POPULATION }),
    })
  }
  let decidedP99Ms: number[] = []
  async function beside(topic: string): Promise<Measurement> {
    const running = traffic.start(topic, streamRate)
    const measured = await load(bench.seconds)
    const { latenciesMs } = await running.stop()
    if (topic === read.names.transactions) decidedP99Ms.push(quantile(latenciesMs.sort(), 0.99))
    return measured
  }
  const STATES = {
    'HTTP alone': () => load(bench.seconds),
    'broker and its clients beside': () => beside(unread.names.transactions),
    'the stream beside': () => beside(read.names.transactions),
  }
  type State = keyof typeof STATES
  const states = Object.keys(STATES) as State[]
  await load(bench.warmUpSeconds)
  await beside(read.names.transactions)
  decidedP99Ms = []
  const runs: { state: State; p50Ms: number; p99Ms: number; p999Ms: number; wrong: number }[] = []
  for (let pair = 0; pair < bench.pairs; pair++) {
    for (const state of pair % 2 === 0 ? states : [...states].reverse()) {
      const { raw, errors, unanswered } = await STATES[state]()
      const wrong = Object.values(errors).reduce((sum, count) => sum + count, unanswered)
      runs.push({ state, p50Ms: raw.p50Ms, p99Ms: raw.p99Ms, p999Ms: raw.p999Ms, wrong })
      bench.say(`HTTP p99 ${raw.p99Ms.toFixed(2)} ms, ${wrong} wrong: ${state}`)
    }
  }
  await traffic.close()
  await endStream(server)
  await Promise.all([read.close(), unread.close()])
  const of = (state: State): typeof runs => runs.filter((run) => run.state === state)
  const rises = (above: State): number[] => {
    const under = of(above)
    return of('the stream beside').map(({ p99Ms }, pair) => p99Ms - under[pair].p99Ms)
  }
  const wrong = runs.reduce((sum, run) => sum + run.wrong, 0)
  return {
    lines: [
      `  ${`HTTP at ${httpRate}/s, ${bench.pairs} pairs, raw, ms`.padEnd(36)}       p50       p99     p99.9`,
      ...states.map((state) =>
        row(
          state,
          (['p50Ms', 'p99Ms', 'p999Ms'] as const).map((key) => medianOf(of(state), key)),
        ),
      ),
      `  ${streamRate}/s decided beside, p99 ${median(decidedP99Ms).toFixed(2)} ms; ${wrong} requests went wrong`,
      riseLine('p99 of HTTP with the stream', rises('HTTP alone'), RISE_MS_MAX),
      riseLine('p99 against the broker and its clients beside', rises('broker and its clients beside')),
      '',
    ],
    data: { httpRate, streamRate, runs, decidedP99Ms },
  }
}
