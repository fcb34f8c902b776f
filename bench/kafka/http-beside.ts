// What the stream costs a request: the server's p99 over HTTP with 2,000 messages a second decided beside, against
// without any, in interleaved pairs on one server. The broker and its clients take their share of the same cores; so a
// third state has all of them at work on topics that the server does not read.
import { connectTopics } from '../../test/kafka/topics.js'
import { quantile } from '../control.js'
import { measure } from '../measure.js'
import { riseLine, targetLine } from '../report.js'
import { createRequestPool, POPULATION } from '../requests.js'
import { type Bench, endStream, medianOf, type Part, PARTITIONS, row, startStream } from './rig.js'
import { startTraffic } from './traffic.js'

const RISE_MS_MAX = 1
/** Per million, as in the bench of HTTP alone. */
const WRONG_MAX = 100
const STATES = ['HTTP alone', 'broker and its clients beside', 'the stream beside'] as const
type State = (typeof STATES)[number]

interface Run {
  readonly state: State
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  /** Of the messages beside; NaN without any. */
  readonly besideP99Ms: number
  /** Requests without the answer that they should have had. */
  readonly wrong: number
  readonly requests: number
}

interface Rates {
  readonly httpRate: number
  readonly streamRate: number
}

export async function measureHttpBeside(bench: Bench, rates: Rates): Promise<Part> {
  const { address } = bench.broker
  const [read, unread] = [await connectTopics(address, 'beside'), await connectTopics(address, 'unread')]
  for (const topics of [read, unread]) await topics.create(PARTITIONS)
  const traffic = await startTraffic(address, 'http', [read.names.decisions, unread.names.transactions])
  const server = await startStream(bench, read, { name: 'beside' })
  const TOPICS = {
    'HTTP alone': null,
    'broker and its clients beside': unread.names.transactions,
    'the stream beside': read.names.transactions,
  }
  let pools = 0

  async function load(state: State, seconds: number): Promise<Run> {
    pools += 1
    const topic = TOPICS[state]
    const pool = createRequestPool({ seed: pools, size: 20_000, prefix: `h${pools}-`, ...POPULATION })
    const running = topic === null ? null : traffic.start(topic, rates.streamRate)
    const { raw, errors, unanswered } = await measure({
      ...{ kind: 'open', port: server.scorePort, pid: server.pid, folder: bench.folder, connections: 64, seconds },
      ...{ ratePerSecond: rates.httpRate, pool },
    })
    const beside = (await running?.stop())?.latenciesMs.sort() ?? new Float64Array()
    const wrong = Object.values(errors).reduce((sum, count) => sum + count, unanswered)
    const { p50Ms, p99Ms, p999Ms } = raw
    return {
      state,
      p50Ms,
      p99Ms,
      p999Ms,
      besideP99Ms: quantile(beside, 0.99),
      wrong,
      requests: rates.httpRate * seconds,
    }
  }

  for (const state of STATES) await load(state, bench.warmUpSeconds)
  const runs: Run[] = []
  for (let pair = 0; pair < bench.pairs; pair++) {
    for (const state of pair % 2 === 0 ? STATES : STATES.toReversed()) {
      const run = await load(state, bench.seconds)
      runs.push(run)
      bench.say(`HTTP p99 ${run.p99Ms.toFixed(2)} ms, ${run.wrong} wrong: ${state}`)
    }
  }
  await traffic.close()
  await endStream(server)
  await Promise.all([read.close(), unread.close()])
  return { lines: linesOf(runs, rates), data: { ...rates, runs } }
}

function linesOf(runs: readonly Run[], { httpRate, streamRate }: Rates): string[] {
  const of = (state: State): Run[] => runs.filter((run) => run.state === state)
  const beside = of('the stream beside')
  const rises = (above: State): number[] => {
    const under = of(above)
    return beside.map(({ p99Ms }, pair) => p99Ms - under[pair].p99Ms)
  }
  const figures = (state: State): number[] =>
    (['p50Ms', 'p99Ms', 'p999Ms'] as const).map((key) => medianOf(of(state), key))
  const wrong = beside.reduce((sum, run) => sum + run.wrong, 0) / beside.reduce((sum, run) => sum + run.requests, 0)
  return [
    `  ${`HTTP at ${httpRate}/s, ${beside.length} pairs, raw, ms`.padEnd(36)}       p50       p99     p99.9`,
    ...STATES.map((state) => row(state, figures(state))),
    `  ${streamRate}/s decided beside, p99 ${medianOf(beside, 'besideP99Ms').toFixed(2)} ms`,
    targetLine('wrong or missing answers, per million', 1e6 * wrong, { max: WRONG_MAX }),
    riseLine('p99 of HTTP with the stream', rises('HTTP alone'), RISE_MS_MAX),
    riseLine('p99 against the broker and its clients beside', rises('broker and its clients beside')),
    '',
  ]
}
