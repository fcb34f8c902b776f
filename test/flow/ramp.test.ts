// Ramps and the hand of the operator, by the command line: a ramp rises by the server's own counts, a guard that trips
// takes it back, a restart pauses it; `assay route` and `assay breaker` do what they say, with their exit codes.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import { CLI, ROOT } from '../../bench/server.js'
import { FIXTURE_MODELS, type Rig, startRig, until } from './server-rig.js'

t.setTimeout(300_000)

/** More than the broken challenger takes (over 1e6 in column 0), in minor units. */
const AMOUNT_MINOR = 200_000_000_000

function start(challenger: string, dataDir?: string): Promise<Rig> {
  return startRig({
    ...(dataDir !== undefined && { dataDir }),
    edit({ process, policy }) {
      process.models_dir = FIXTURE_MODELS
      policy.routes = { ...policy.routes, champion: 'linear@1', challenger, share: 0, baseline: 'scorecard@1' }
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
      policy.ramp_guards = {
        ...{ samples_min: 20, errors_above: 0.05, degraded_above: 0.5, declines_above: 1, latency_p95_ms_above: 1_000 },
        on_trip: 'roll_back',
      }
      policy.catalogue.features.push({
        ...{ name: 'customer_sum_30d', kind: 'aggregate', entity: 'customer_id', function: 'sum' },
        ...{ of: 'amount', window: '30d', missing: 'nan' },
      })
    },
  })
}

async function assay(rig: Rig, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = { ...process.env, ASSAY_OPERATIONS_URL: rig.server.operationsUrl }
  const child = spawn(process.execPath, [CLI, ...args], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const held = { out: '', err: '' }
  child.stdout.on('data', (chunk: Buffer) => (held.out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (held.err += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, ...held }
}

interface Shown {
  revision: number
  share: number
  ramp: { state: string; step: number } | null
  last_change: { kind: string; actor: string; reason: string }
}

const shown = async (rig: Rig): Promise<Shown> => (await rig.operations('/v1/routes')).body as Shown

/** Payments of ever new customers until this holds; each must be answered. */
async function payUntil(rig: Rig, holds: (now: Shown) => boolean, what: string): Promise<void> {
  await until(
    async () => {
      const answers = await Promise.all(
        Array.from({ length: 32 }, () => {
          const id = randomUUID()
          const occurred_at = new Date().toISOString()
          const sent = {
            transaction_id: id,
            occurred_at,
            amount_minor: AMOUNT_MINOR,
            currency: 'EUR',
            customer_id: `c${id}`,
          }
          return rig.score(sent)
        }),
      )
      for (const { status, text } of answers) if (status !== 200) throw new Error(text)
      return holds(await shown(rig))
    },
    what,
    { msMax: 60_000 },
  )
}

void t.test('a ramp rises by itself where nothing trips, waits after a restart, and ends', async (t) => {
  const rig = await start('trees@1')
  t.teardown(() => rig.remove())
  const begun = await assay(
    ...([
      rig,
      'route',
      'set',
      '--to',
      '20%',
      '--then',
      '50%',
      '--then',
      '100%',
      '--every',
      '1s',
      '--reason',
      'a try',
    ] as const),
  )
  t.match(begun, { code: 0, out: /challenger {2}trees@1 at 20 %/ }, begun.err)
  await payUntil(rig, ({ share }) => share === 5_000, 'the second step')
  t.match(await shown(rig), { revision: 2, last_change: { kind: 'ramp_step', actor: 'ramp' } })
  t.match(await assay(rig, 'route', 'status'), { code: 0, out: /20 % → \[50 %\] → 100 %, next step/ })
  await rig.stop()

  const again = await start('trees@1', rig.dataDir)
  t.teardown(() => again.stop())
  t.match(await shown(again), { revision: 2, share: 5_000, ramp: { state: 'paused', step: 1 } })
  t.ok((await again.operations('/v1/status')).body.reasons.includes('a ramp is paused: assay route resume'))
  t.match(await assay(again, 'route', 'resume', '--reason', 'after the restart'), { code: 0 })
  await payUntil(again, ({ ramp }) => ramp === null, 'the end of the ramp')
  t.match(await shown(again), { share: 10_000, last_change: { kind: 'ramp_end', actor: 'ramp' } })
})

void t.test('a guard that trips takes the ramp back and says what it saw; commands refuse with codes', async (t) => {
  const rig = await start('nan-rows@1')
  t.teardown(() => rig.remove())
  const set = (...args: string[]) => assay(rig, 'route', 'set', ...args)
  t.match(await set('--to', '50%', '--then', '100%', '--every', '1h', '--reason', 'a try'), { code: 0 })
  await payUntil(rig, ({ ramp }) => ramp === null, 'the guard')
  const { last_change: last, share, revision } = await shown(rig)
  t.equal(share, 0)
  t.match(last, { kind: 'ramp_trip', actor: 'ramp', reason: /^errors: \d+\.\d % against 0\.0 % of the champion/ })

  t.match(await assay(rig, 'route', 'rollback', '--reason', 'again'), { code: 1, err: /^ASSAY_CHANGE_CONFLICT: / })
  t.match(await set('--share', '5%', '--revision', '0', '--reason', 'stale'), {
    code: 1,
    err: /^ASSAY_REVISION_STALE: /,
  })
  t.match(await set('--champion', 'none@1', '--reason', 'x'), { code: 1, err: /^ASSAY_MODEL_NOT_LOADED: .*linear@1/ })
  t.equal((await shown(rig)).revision, revision)
  const misuses = [
    ['route', 'set', '--share', '101%', '--reason', 'x'],
    ['route', 'set', '--share', '5%'],
    ['route', 'set', '--reason', 'x'],
    ['route', 'set', '--share', '5%', '--then', '7%', '--reason', 'x'],
    ['route', 'rollback', '--share', '5%', '--reason', 'x'],
    ['breaker', 'open', '--reason', 'x'],
    ['breaker', 'panic', 'linear@1', '--reason', 'x'],
    ['route', 'st'],
  ]
  for (const args of misuses) t.match(await assay(rig, ...args), { code: 2, err: /^ASSAY_USAGE: / }, args.join(' '))

  t.match(await assay(rig, 'breaker', 'panic', '--reason', 'all wrong'), { code: 0, out: /the baseline answers/ })
  const panic = await assay(rig, 'route', 'show', '--json')
  t.match(JSON.parse(panic.out), { forced: { baseline: true }, last_change: { actor: 'local' } })
  t.match(await assay(rig, 'breaker', 'release', '--reason', 'mended'), { code: 0, out: /forced {6}nothing/ })
  const two = ['--url', rig.server.operationsUrl, '--url', 'http://127.0.0.1:1']
  const both = await assay(rig, 'route', 'status', ...two)
  t.match(both, { code: 1, out: /revision/, err: /^ASSAY_SERVER_UNREACHABLE: http:\/\/127\.0\.0\.1:1 / })
  t.match(await assay(rig, 'route', '--help'), { code: 0, out: /assay route rollback/ })
})
