// `assay traffic`: simulated traffic against a running server, with a progress line each second and a summary.
// Invariant: it ends by itself. Exit code 0 where decisions came and at most `--errors-max` of what was due failed,
// else 1.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { AssayError } from '../errors.js'
import { systemClock } from '../runtime/clock.js'
import { createClient } from './client.js'
import { createSimulator, type Simulator, type Switches } from './generator.js'
import { amountOf, count, durationMs, instant, switchesFrom, SWITCH_OPTIONS } from './options.js'
import { createTally, type Summary } from './tally.js'
import { startTraffic, type TrafficEnd, type TrafficPlan } from './traffic.js'

const DAY_MS = 86_400_000
const FOR_MS_MAX = DAY_MS
const HELP = `assay traffic [options]   simulated traffic against a running server

  --url URL            (http://127.0.0.1:8080); for https, NODE_EXTRA_CA_CERTS names the file of an authority of
                       your own
  --rate N             transactions a second (200)
  --for DURATION       (60s); at most 1d
  --seed N             (1)
  --customers N        (5000)
  --terminals N        (10000)
  --connections N      (32)
  --label-delay D      labels of frauds follow their decision after this (10s); off sends none
  --after DURATION     when the switches below begin (10s)
  --drift KIND         amount[:FACTOR] (1.5) or merchants[:SHARE] (0.3)
  --broken FIELD       amount (sent in major units), customer_id or terminal_id (left out)
  --spike FACTOR[:D]   multiplies the rate, for 10s or the duration D
  --attack SHARE       share of the stream that is card testing at one terminal (such as 0.3)
  --bad-challenger     makes the reference challenger look bad: a genuine crowd pays ordinary amounts at one terminal,
                       which it takes for card testing (terminal_count_1h, a feature that the champion does not read);
                       it answers where the routes give it a share above 0
  --start TIME         first day of the simulation; default: so that this run ends about now
  --skip-days N        days simulated but not sent (30); "assay simulate" with the same seed, --start and --days writes
                       them as history
  --key-file FILE      a scoring key
  --errors-max SHARE   of what was due that may fail with exit code 0 (0.01)
  --json               print the summary as JSON

Event time runs as in the simulation (10,000 transactions are about a day), so windows fill as they do in life. A line a
second on stderr: answers a second, latency from the intended start, shares of the actions in that second, precision of
the verdicts so far (the generator knows the frauds). Ctrl-C ends the run: what is under way is awaited and summed up.

exit codes: 0 decisions came, and at most --errors-max of what was due failed · 2 the command line is not valid
            1 more than that failed, or no server answers (ASSAY_SERVER_UNREACHABLE)
`

/** Runs the command; resolves to the exit code. Throws AssayError (ASSAY_USAGE) on a bad command line. */
export async function trafficCommand(args: readonly string[]): Promise<number> {
  const values = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const plan = planOf(values)
  const errorsMax = amountOf(values['errors-max'] ?? '0.01', 'errors-max', { min: 0, max: 1 })
  const client = createClient({
    url: urlOf(values.url ?? 'http://127.0.0.1:8080'),
    connections: count(values, 'connections', 32),
    timeoutMs: 10_000,
    key: values['key-file'] === undefined ? null : readKey(values['key-file']),
  })
  await client.reach()
  const simulator = simulatorOf(values, plan)
  const tally = createTally()
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  const traffic = startTraffic({ clock: systemClock, client, simulator, tally, say }, plan)
  const stop = (): void => traffic.stop()
  // Not once: by way of npm one Ctrl-C can come twice.
  process.on('SIGINT', stop)
  const end = await traffic.ended
  process.removeListener('SIGINT', stop)
  client.close()
  const summary = tally.summary()
  process.stdout.write(values.json === true ? `${JSON.stringify({ ...summary, ...end })}\n` : describe(summary, end))
  const lost = summary.failed + summary.skipped
  return summary.answered > 0 && lost <= errorsMax * (summary.answered + lost) ? 0 : 1
}

type Values = ReturnType<typeof parse>

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...SWITCH_OPTIONS,
        url: text,
        rate: text,
        for: text,
        seed: text,
        customers: text,
        terminals: text,
        connections: text,
        'label-delay': text,
        after: text,
        'bad-challenger': flag,
        start: text,
        'skip-days': text,
        'key-file': text,
        'errors-max': text,
        json: flag,
        help: flag,
      },
    }).values
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : 'bad arguments', { cause })
  }
}

/** The plan of a run from its options; the spike multiplies what is sent, not the simulated rate. */
function planOf(values: Values): TrafficPlan {
  const ms = durationMs(values.for ?? '60s', 'for')
  if (ms > FOR_MS_MAX) throw new AssayError('ASSAY_USAGE', '--for is at most 1d')
  const { spike, ...others } = values
  const [factor, spikeFor] = (spike ?? '1').split(':')
  const crowd: Partial<Switches> = values['bad-challenger'] === true ? { crowd: 0.3 } : {}
  const delay = values['label-delay'] ?? '10s'
  return {
    rate: amountOf(values.rate ?? '200', 'rate', { min: 0.1, max: 100_000 }),
    durationMs: ms,
    afterMs: durationMs(values.after ?? '10s', 'after'),
    switches: { ...switchesFrom(others), ...crowd },
    spike: {
      factor: amountOf(factor, 'spike', { min: 0.01, max: 1000 }),
      durationMs: durationMs(spikeFor ?? '10s', 'spike'),
    },
    labelDelayMs: delay === 'off' ? null : durationMs(delay, 'label-delay'),
  }
}

function simulatorOf(values: Values, plan: TrafficPlan): Simulator {
  const customers = count(values, 'customers', 5000)
  const skipDays = count(values, 'skip-days', 30, 0)
  const nowMs = systemClock.nowMs()
  const spiked = Math.max(0, plan.spike.factor - 1) * plan.spike.durationMs
  const days = Math.ceil((plan.rate * (plan.durationMs + spiked)) / 1000 / (2 * customers)) + 1
  const startMs = values.start === undefined ? nowMs - (skipDays + days) * DAY_MS : instant(values.start, 'start')
  const simulator = createSimulator({
    seed: count(values, 'seed', 1, 0),
    customers,
    terminals: count(values, 'terminals', 10_000),
    startMs,
    // Another prefix each second, so that a second run is not answered with the decisions of the first.
    idPrefix: `r${Math.floor(nowMs / 1000).toString(36)}`,
  })
  const fromMs = Math.floor(startMs / DAY_MS) * DAY_MS + skipDays * DAY_MS
  while (simulator.next().occurredAtMs < fromMs);
  return simulator
}

function urlOf(text: string): URL {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new AssayError('ASSAY_USAGE', '--url must be http://host:port or https://host:port')
  }
  return new URL(text)
}

function readKey(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (cause) {
    throw new AssayError('ASSAY_INPUT_INVALID', `cannot read ${path}`, { cause })
  }
}

function describe(summary: Summary, end: TrafficEnd): string {
  const share = (value: number | null): string => (value === null ? 'none flagged' : `${(100 * value).toFixed(1)} %`)
  const list = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .map(([name, times]) => `${name} ${times}`)
      .join(', ') || 'none'
  const reasons = { done: '', stopped: ' (stopped)', caught_up: ' (event time caught up with the clock)' }
  return [
    `answered   ${summary.answered}${reasons[end.reason]}`,
    `failed     ${summary.failed}, not sent ${summary.skipped}: ${list(summary.errors)}`,
    `latency    p50 ${summary.p50Ms} p99 ${summary.p99Ms} p99.9 ${summary.p999Ms} ms from the intended start`,
    `actions    ${list(summary.actions)}; degraded ${summary.degraded}`,
    `models     ${list(summary.models)}`,
    `verdicts   precision ${share(summary.precision)}, recall ${share(summary.recall)}`,
    `labels     sent ${end.labels.sent}, failed ${end.labels.failed}, not due ${end.labels.notDue}`,
    '',
  ].join('\n')
}
