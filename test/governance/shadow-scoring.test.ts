// Shadow models on the log of a real server: they score what was logged as the server did, whoever answered; in a
// thread, in a range of a log at rest, and in a sidecar with its real store. Then what goes wrong: a model that hangs,
// is missing, is another file, or does not fit the catalogue; and shedding.
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import t from 'tap'
import { packageRoot } from '../../src/config.js'
import { AssayError } from '../../src/errors.js'
import { govern } from '../../src/govern.js'
import { createAlerter } from '../../src/governance/alerter.js'
import { SHADOW_TABLES } from '../../src/governance/monitors/shadow-summary.js'
import { createShadowMonitor } from '../../src/governance/monitors/shadow.js'
import type { Control, TailRecord } from '../../src/governance/port.js'
import { chooseShadows } from '../../src/governance/shadow/choose.js'
import { groupRecords } from '../../src/governance/shadow/grouping.js'
import { createShadowHost, type ShadowHostOptions } from '../../src/governance/shadow/host.js'
import { runShadowRange } from '../../src/governance/shadow/range.js'
import { openStore } from '../../src/governance/store/open.js'
import { createTail } from '../../src/governance/tail.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { FIXTURE_MODELS, type Rig, startRig } from '../flow/server-rig.js'
import { CHAMPION, controlOf, decision, SHADOW, stream } from './shadow-records.js'

const MODELS = join(packageRoot, 'models')
const DECISIONS = 240

let rig: Rig
let records: readonly TailRecord[] = []

t.before(async () => {
  rig = await startRig({
    edit: (config) => {
      config.policy.routes.share = 3_000
      // A busy machine must not send rows to the baseline.
      config.policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
    },
  })
  const nowMs = Date.now()
  for (let at = 0; at < DECISIONS; at++) {
    const transaction = {
      ...{ transaction_id: `t-${at}`, occurred_at: nowMs - 1_000 + at, amount_minor: 500 + 137 * at, currency: 'EUR' },
      ...{ customer_id: `c-${at % 60}`, terminal_id: `p-${at % 7}` },
    }
    let answer = await rig.score(transaction)
    while (answer.status === 503) answer = await rig.score(transaction)
    if (answer.status !== 200) throw new Error(answer.text)
  }
  await rig.stop()
  records = await readAll(rig.logDir)
})
t.teardown(() => rig.remove())

async function readAll(directory: string): Promise<TailRecord[]> {
  const tail = createTail({ directory, from: null, limits: { ...LIMITS, tailGatherMs: 0 } })
  const end = tail.end()
  const all: TailRecord[] = []
  for (let at = 0; at < end;) {
    const batch = await tail.next()
    all.push(...(batch?.records ?? []))
    at = batch?.position?.sequence ?? end
  }
  tail.close()
  return all
}

async function openHost(test: Pick<typeof t, 'teardown'>, options: Partial<ShadowHostOptions> = {}) {
  const host = await createShadowHost({ modelsDir: MODELS, shadows: [CHAMPION, SHADOW], lag: () => 0, ...options })
  test.teardown(() => host.close(10_000))
  return host
}

/** Decisions by the model that answered, as name@version. */
function answeredBy({ record }: TailRecord): string | null {
  if (record.type !== 'decision' || record.facts.model === null) return null
  return `${record.facts.model.name}@${record.facts.model.version}`
}

void t.test('a shadow gives the logged vector the score that the server gave it', async (t) => {
  // The same records, said to have been answered by nobody: both models are shadows of their own answers.
  const blank = records.map(({ record, ...at }): TailRecord => {
    if (record.type !== 'decision') return { ...at, record }
    return { ...at, record: { ...record, facts: { ...record.facts, model: null } } }
  })
  const host = await openHost(t)
  const scored = await host.score(blank)
  const seen = new Map<string, number>()
  scored.forEach(({ shadows }, at) => {
    const original = records[at]
    if (original?.record.type !== 'decision') return
    const reference = answeredBy(original) ?? ''
    const own = shadows.find(({ model }) => model === reference)
    const logged = original.record.facts.score ?? NaN
    if (!(Math.abs((own?.score ?? NaN) - logged) <= 1e-6)) t.fail(`${reference}: ${own?.score} for ${logged}`)
    seen.set(reference, (seen.get(reference) ?? 0) + 1)
  })
  t.ok((seen.get(CHAMPION) ?? 0) > 20 && (seen.get(SHADOW) ?? 0) > 20, 'both models answered some')
  t.same(
    host.models().map(({ fault }) => fault),
    [null, null],
  )
})

void t.test('each decision lacks the models that did not answer it, and other records lack none', async (t) => {
  const host = await openHost(t, { shadows: [SHADOW] })
  for (const at of await host.score(records)) {
    const answered = answeredBy(at)
    const wanted = answered === null ? [] : answered === CHAMPION ? [SHADOW] : [CHAMPION]
    t.same(
      at.shadows.map(({ model, why }) => [model, why]),
      wanted.map((model) => [model, null]),
    )
  }
})

void t.test('a range of a log at rest is compared without a server, and the range is kept to', async (t) => {
  const times = records.flatMap(({ record }) => (record.type === 'decision' ? [record.facts.decidedAtMs] : []))
  const [sinceMs, untilMs] = [Math.min(...times), Math.max(...times) + 1]
  const range = { directory: rig.logDir, modelsDir: MODELS, model: SHADOW, sinceMs, untilMs }
  const { rows, damage, whole } = await runShadowRange(range)
  t.same([damage, whole], [[], true])
  t.match(rows, [{ champion: CHAMPION, shadow: SHADOW, pairs: DECISIONS, failed: 0, shed: 0 }])
  t.equal(rows[0]?.answered_by_shadow, records.filter((at) => answeredBy(at) === SHADOW).length)
  const middle = times[DECISIONS / 2] ?? 0
  const half = await runShadowRange({ ...range, untilMs: middle })
  t.equal(half.rows[0]?.pairs, times.filter((time) => time < middle).length)
  t.same((await runShadowRange({ ...range, sinceMs: untilMs, untilMs: untilMs + 1 })).rows, [])
})

void t.test('a range over no log, and of a model that is not there, are refused with the reason', async (t) => {
  const range = { directory: rig.logDir, modelsDir: MODELS, model: SHADOW, sinceMs: 0, untilMs: 8e15 }
  const code = (error: unknown): string => (error instanceof AssayError ? error.code : String(error))
  t.equal(await runShadowRange({ ...range, directory: '/nowhere' }).catch(code), 'ASSAY_INPUT_INVALID')
  t.equal(await runShadowRange({ ...range, model: 'nobody@9' }).catch(code), 'ASSAY_BUNDLE_REFUSED')
})

void t.test('behind the bound every pair is shed and says so, until the log is half as far ahead', async (t) => {
  let lag = 101
  const host = await openHost(t, { lag: () => lag, lagRecordsMax: 100 })
  const whys = async (): Promise<unknown[]> => {
    const scored = await host.score(records)
    return [...new Set(scored.flatMap(({ shadows }) => shadows.map(({ why, score }) => why ?? typeof score)))]
  }
  t.same(await whys(), ['shed'])
  lag = 60
  t.same(await whys(), ['shed'])
  t.match(host.state(), { shedding: true, shedPairs: 2 * DECISIONS })
  lag = 50
  t.same(await whys(), ['number'])
  lag = 60
  t.same(await whys(), ['number'])
  t.match(host.state(), { shedding: false, deaths: 0 })
})

void t.test('a model that is missing, or is another file than the log says, fails its rows alone', async (t) => {
  const faults: string[] = []
  const onFault = (model: string, fault: string): void => void faults.push(`${model}: ${fault}`)
  const host = await openHost(t, { shadows: ['nobody@9', SHADOW], onFault })
  const other = records.map((at): TailRecord => {
    const models = at.control.models.map((model) =>
      model.reference === SHADOW ? { ...model, digest: `sha256:${'ab'.repeat(32)}` } : model,
    )
    return { ...at, control: { ...at.control, models } }
  })
  const summary = async (given: readonly TailRecord[]): Promise<unknown> => {
    const all = (await host.score(given)).flatMap(({ shadows }) => shadows)
    return ['nobody@9', SHADOW, CHAMPION].map((name) => [
      ...new Set(all.filter(({ model }) => model === name).map(({ why }) => why)),
    ])
  }
  t.same(await summary(records), [['failed'], [null], [null]])
  t.same(await summary(other), [['failed'], ['failed'], [null]])
  t.match(faults, [/^nobody@9: .*does not exist/, /^fraud-xgb@1: the log says/])
})

void t.test('a model that does not fit the catalogue of a record fails, and scores again where it does', async (t) => {
  const host = await openHost(t, { shadows: [SHADOW] })
  const foreign = (edit: (control: Control) => void, bytes: number): TailRecord => {
    const made = decision({ sequence: 1, decidedAtMs: 1, score: 0.1, shadows: [], control: controlOf(edit) })
    if (made.record.type !== 'decision') return made
    const personal = { ...made.record.personal, vector: new Uint8Array(bytes) }
    return { ...made, record: { ...made.record, personal } }
  }
  const renamed = foreign((control) => {
    control.policy_fingerprint = 'another'
    control.policy.catalogue.features = [{ name: 'hour', kind: 'calendar', part: 'hour', zone: 'utc' }]
  }, 4)
  const torn = foreign((control) => {
    control.policy_fingerprint = 'torn'
  }, 3)
  const ofShadow = async (record: TailRecord | undefined): Promise<unknown> =>
    record === undefined ? null : (await host.score([record]))[0]?.shadows.map(({ why }) => why)
  t.same(await ofShadow(renamed), ['failed'])
  t.same(await ofShadow(torn), ['failed'], 'a vector that is not one of its catalogue')
  t.same(await ofShadow(records.find((at) => answeredBy(at) === CHAMPION)), [null])
})

void t.test('a model that hangs is shed, and nobody waits for it; when it comes back it scores again', async (t) => {
  const modelsDir = await mkdtemp(join(tmpdir(), 'assay-shadow-'))
  t.teardown(() => rm(modelsDir, { recursive: true, force: true }))
  await cp(join(FIXTURE_MODELS, 'hangs'), join(modelsDir, 'hangs'), { recursive: true })
  await cp(join(MODELS, 'fraud-lgbm'), join(modelsDir, 'fraud-lgbm'), { recursive: true })
  const host = await openHost(t, { modelsDir, shadows: ['hangs@1'], batchMsMax: 5_000 })
  const control = controlOf()
  const { decodeAmount, ...made } = hangingRows(control)
  t.same(
    (await host.score([made.quick]))[0]?.shadows.map(({ why }) => why),
    [null],
    'it scores what does not hang',
  )
  t.ok(decodeAmount > 1e6)
  const limited = await openHost(t, { modelsDir, shadows: ['hangs@1'], batchMsMax: 50 })
  await limited.score([made.quick])
  const beganMs = performance.now()
  const [hung] = await limited.score([made.slow])
  const [next] = await limited.score([made.quick])
  t.same(
    [hung, next].map((at) => at?.shadows.map(({ why }) => why)),
    [['shed'], ['shed']],
  )
  t.ok(performance.now() - beganMs < 10_000, 'the loop took some 12 s of its own')
  t.equal(limited.state().hanging, true)
  for (let why: unknown = 'shed'; why !== null;) {
    await new Promise((resolve) => setImmediate(resolve))
    why = (await limited.score([made.quick]))[0]?.shadows[0]?.why
  }
  t.equal(limited.state().hanging, false)
})

/** A decision that the fixture scores at once, and one in which it loops ten million times. */
function hangingRows(control: Control): { quick: TailRecord; slow: TailRecord; decodeAmount: number } {
  const rowOf = (amount: number): TailRecord => {
    const made = decision({ sequence: 1, decidedAtMs: 1, score: 0.1, shadows: [], control })
    if (made.record.type !== 'decision') return made
    const vector = Uint8Array.from(made.record.personal.vector)
    new DataView(vector.buffer).setFloat32(0, amount, true)
    return { ...made, record: { ...made.record, personal: { ...made.record.personal, vector } } }
  }
  return { quick: rowOf(5), slow: rowOf(11e6), decodeAmount: 11e6 }
}

void t.test('groups are formed by catalogue and by what is missing', (t) => {
  const groups = groupRecords(records, [CHAMPION, SHADOW])
  t.same(groups.map(({ models }) => models.map(({ reference }) => reference)).sort(), [[CHAMPION], [SHADOW]])
  t.equal(
    groups.reduce((rows, { count }) => rows + count, 0),
    DECISIONS,
  )
  t.end()
})

void t.test(
  'by default every ONNX bundle is a shadow, up to the bound; a configured list is taken as it is',
  async (t) => {
    const chosen = await chooseShadows({ configured: null, modelsDir: MODELS })
    t.same(chosen.shadows, [CHAMPION, SHADOW])
    t.same(chosen.leftOut, [])
    t.type(chosen.manifestThresholds(SHADOW)?.decline_at, 'number')
    t.equal(chosen.manifestThresholds('nobody@9'), undefined)
    const bounded = await chooseShadows({ configured: null, modelsDir: MODELS, limits: { ...LIMITS, modelsMax: 1 } })
    t.equal(bounded.shadows.length + bounded.leftOut.length, 2)
    t.equal(bounded.leftOut.length, 1)
    t.same((await chooseShadows({ configured: ['b@1', 'a@1'], modelsDir: MODELS })).shadows, ['a@1', 'b@1'])
    const tooMany = Array.from({ length: TINY.modelsMax + 1 }, (_, at) => `m@${at}`)
    for (const configured of [['a@1', 'a@1'], tooMany]) {
      await t.rejects(chooseShadows({ configured, modelsDir: MODELS, limits: TINY }), { code: 'ASSAY_CONFIG_INVALID' })
    }
  },
)

void t.test('the monitor over scored records pairs every decision, whoever answered', async (t) => {
  const host = await openHost(t)
  const { manifestThresholds } = await chooseShadows({ configured: null, modelsDir: MODELS })
  const monitor = createShadowMonitor({ manifestThresholds, keepsTotal: true })
  for (const record of await host.score(records)) monitor.take(record)
  t.match(monitor.total(0, 1)[0]?.row, { champion: CHAMPION, shadow: SHADOW, pairs: DECISIONS })
})

void t.test('a sidecar stores every pair; one that is started anew in between stores the same', async (t) => {
  const once = await follow(t, [Infinity])
  const end = Math.max(...records.map(({ sequence }) => sequence))
  const twice = await follow(t, [Math.floor(end / 2), Infinity])
  t.match(once, { shadow_pairs: { length: DECISIONS } })
  t.same(twice, once)
})

/** What the store holds after sidecars that each went on up to a sequence, with batches of their own sizes. */
async function follow(test: Pick<typeof t, 'teardown'>, untils: readonly number[]): Promise<Record<string, unknown[]>> {
  const directory = await mkdtemp(join(tmpdir(), 'assay-shadow-'))
  test.teardown(() => rm(directory, { recursive: true, force: true }))
  const config = structuredClone(rig.config)
  Object.assign(config.process.governance, { data_dir: directory, disk_free_bytes_min: 0 })
  const { manifestThresholds, shadows } = await chooseShadows({ configured: null, modelsDir: MODELS })
  const createMonitors = () => [createShadowMonitor({ manifestThresholds })]
  for (const [at, until] of untils.entries()) {
    const sidecar = await govern(config, {
      logger: { event: () => undefined, flush: () => undefined },
      limits: { ...LIMITS, tailBatchRecordsMax: 32 + 17 * at },
      createMonitors,
      createShadows: () => createShadowHost({ modelsDir: MODELS, shadows, lag: () => 0 }),
      createAlerter: () => createAlerter(),
    })
    const last = Math.min(until, Math.max(...records.map(({ sequence }) => sequence)))
    while (sidecar.facts().sequence < last) await new Promise((resolve) => setImmediate(resolve))
    await sidecar.close(30_000)
  }
  const tables = { ...SHADOW_TABLES, ...createAlerter().tables }
  const store = await openStore({ directory, tables, memoryBytesMax: 256 << 20, threads: 1 })
  const held: Record<string, unknown[]> = {}
  for (const table of Object.keys(tables))
    held[table] = await store.database.select(`SELECT * FROM ${table} ORDER BY ALL`)
  await store.close()
  return held
}

void t.test('windows and alerts fit the columns that they declare', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'assay-shadow-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const monitor = createShadowMonitor({ manifestThresholds: () => undefined })
  const alerter = createAlerter()
  const drawn = stream(5, 2_000)
  for (const record of drawn) monitor.take(record)
  const batch = { records: [], findings: [], position: null, takenBackTo: null }
  const rows = monitor.drain()
  const derived = [...rows, ...alerter.consider(rows, batch)]
  const tables = { ...monitor.tables, ...alerter.tables }
  const store = await openStore({ directory, tables, memoryBytesMax: 256 << 20, threads: 1 })
  await store.write({ batch, derived, checkpoints: new Map([['shadow', monitor.checkpoint()]]), control: null })
  for (const table of Object.keys(tables)) {
    const wanted = derived.filter((row) => row.table === table).length
    const [held] = await store.database.select(`SELECT count(*)::INTEGER AS n FROM ${table}`)
    t.ok(wanted > 0, `${table} has something to store`)
    t.equal(held?.n, wanted)
  }
  await store.close()
})
