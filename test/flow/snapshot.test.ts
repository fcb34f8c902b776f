// A start from a snapshot of the state: it folds only what follows, and is then what a fold of the whole log would be.
// What is damaged, foreign or ahead of the log is told and passed by.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CLI } from '../../bench/server.js'
import { misfitOf } from '../../src/decision-log/chain.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { listSnapshots } from '../../src/decision-log/snapshot-files.js'
import { createSnapshots } from '../../src/governance/publish/snapshots.js'
import { systemClock } from '../../src/runtime/clock.js'
import { verifyReplay } from '../../src/scoring/verify-replay.js'
import { type Child, child } from '../governance/child.js'
import { type Edit, type Rig, startRig, until } from './server-rig.js'

t.setTimeout(300_000)

/** A busy machine must not turn an answer into a 503: what is tested here is not time. */
const patient: Edit = ({ policy }) => {
  policy.budgets.deadline_ms = 1_000
  policy.budgets.log_wait_ms = 5_000
}
const SOURCE = 'test'
let count = 0

function transaction(at = Date.now()) {
  const id = `snapshot-${++count}`
  return {
    ...{ transaction_id: id, occurred_at: new Date(at).toISOString(), amount_minor: 100 + count, currency: 'EUR' },
    ...{ customer_id: `c${count % 7}`, terminal_id: `t${count % 3}` },
  }
}

/** Pays so often, each third one late, and labels each fifth as fraud; body → answer. */
async function pay(t: Test, rig: Rig, times: number): Promise<Map<object, string>> {
  const answers = new Map<object, string>()
  for (let i = 0; i < times; i++) {
    const body = transaction(Date.now() - (i % 3 === 0 ? 60_000 : 0))
    const answer = await rig.score(body)
    t.equal(answer.status, 200, answer.text)
    answers.set(body, String(answer.body.decision_id))
    if (i % 5 !== 0) continue
    const label = {
      transaction_id: body.transaction_id,
      fraud: true,
      source: SOURCE,
      known_at: new Date().toISOString(),
    }
    t.equal((await rig.send('/v1/labels', label)).status, 202)
  }
  return answers
}

function snapshot(t: Test, dataDir: string, ...args: string[]): Child {
  return child(t, process.execPath, [CLI, 'features', 'snapshot', '--data', dataDir, ...args], {})
}

async function taken(t: Test, dataDir: string): Promise<void> {
  const run = snapshot(t, dataDir)
  t.equal(await run.exited, 0, run.output())
}

const filesOf = (dataDir: string): string[] =>
  readdirSync(join(dataDir, 'snapshots'))
    .sort()
    .reverse()
    .map((name) => join(dataDir, 'snapshots', name))

const fieldsOf = (rig: Rig, name: string): Record<string, unknown> | undefined =>
  rig.events.find((event) => event.name === name)?.fields

function spoil(path: string): void {
  const bytes = readFileSync(path)
  const place = Math.floor(bytes.length / 2)
  bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place)
  writeFileSync(path, bytes)
}

void t.test('a start from a snapshot', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-snapshot-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const dataDir = join(folder, 'data')
  const begin = (edit: Edit = patient): Promise<Rig> => startRig({ dataDir, edit })
  const none = snapshot(t, dataDir)
  t.equal(await none.exited, 1)
  t.match(none.output(), /ASSAY_INPUT_INVALID: there is no decision log/)

  const first = await begin()
  const answers = await pay(t, first, 40)
  await taken(t, dataDir)
  for (const one of await pay(t, first, 30)) answers.set(...one)
  await taken(t, dataDir)
  const again = snapshot(t, dataDir)
  t.equal(await again.exited, 0)
  t.match(again.output(), /the newest snapshot covers all/)
  for (const one of await pay(t, first, 20)) answers.set(...one)
  const shown = await first.operations('/v1/status')
  await first.stop()
  t.equal(fieldsOf(first, 'SnapshotLoaded'), undefined)
  cpSync(dataDir, join(folder, 'kept'), { recursive: true })

  await t.test('folds what follows, and is what a fold of everything would be', async (t) => {
    const rig = await begin()
    t.ok(fieldsOf(rig, 'SnapshotLoaded'))
    t.match(fieldsOf(rig, 'LogReplayed'), { transactions: 20, labels: 4, gaps: 0 })
    const { features, idempotency } = (await rig.operations('/v1/status')).body
    t.match(features, shown.body.features)
    t.match(idempotency, { ids: shown.body.idempotency.ids })
    for (const [body, id] of answers) {
      t.equal((await rig.score(body)).body.decision_id, id)
    }
    await pay(t, rig, 20)
    await rig.stop()
    const report = await verifyReplay(rig.logDir)
    t.match(report, { compared: 110, equal: 110, unexplained: 0, unrecomputable: 0 })
  })

  await t.test('a damaged one is passed by for the older one', async (t) => {
    spoil(filesOf(dataDir)[0])
    const older = await begin()
    t.match(fieldsOf(older, 'SnapshotRefused'), { path: filesOf(dataDir)[0], detail: /does not have its checksum/ })
    t.match(fieldsOf(older, 'LogReplayed'), { transactions: 70 })
    await older.stop()
  })

  await t.test('one of other windows is foreign', async (t) => {
    rmSync(dataDir, { recursive: true })
    cpSync(join(folder, 'kept'), dataDir, { recursive: true })
    const rig = await begin((config) => {
      patient(config)
      config.policy.idempotency.ids_max -= 1
    })
    t.equal(rig.events.filter(({ name }) => name === 'SnapshotRefused').length, 2)
    t.match(fieldsOf(rig, 'SnapshotRefused'), { detail: /another catalogue, of other limits or of another release/ })
    t.equal(fieldsOf(rig, 'SnapshotLoaded'), undefined)
    t.match(fieldsOf(rig, 'LogReplayed'), { transactions: 90 })
    await rig.stop()
  })

  await t.test('one that is ahead of the log is passed by', async (t) => {
    const log = join(dataDir, 'decision-log')
    const rig = await begin()
    await pay(t, rig, 5)
    await taken(t, dataDir)
    await rig.stop()
    rmSync(log, { recursive: true })
    cpSync(join(folder, 'kept/decision-log'), log, { recursive: true })
    const back = await begin()
    t.match(fieldsOf(back, 'SnapshotRefused'), { detail: /has no epoch/ })
    t.match(fieldsOf(back, 'LogReplayed'), { transactions: 20 }, 'the older one is of this log')
    await back.stop()
    const place = { logId: Buffer.alloc(8), epoch: 1, sequence: 1 }
    t.equal(misfitOf(createDisk(log), place, 1), 'it is of another log')
    t.equal(misfitOf(createDisk(folder), place, 1), 'there is no log')
  })
})

void t.test('the sidecar has one made where enough stands behind the newest, and says what went wrong', async (t) => {
  const rig = await startRig({ edit: patient })
  t.teardown(() => rig.remove())
  await pay(t, rig, 12)
  const command = [process.execPath, CLI, 'features', 'snapshot', '--data', rig.dataDir] as const
  const deps = { dataDir: rig.dataDir, records: 10, clock: systemClock, limits: { snapshotEveryMs: 1 } }
  const publish = (maker: ReturnType<typeof createSnapshots>, sequence: number): void =>
    maker.publish({
      batch: { records: [], findings: [], position: { logId: Buffer.alloc(8), epoch: 1, sequence }, takenBackTo: null },
      ...{ derived: [], alerts: [] },
    })
  const maker = createSnapshots({ ...deps, command })
  publish(maker, 9)
  await maker.close(1_000)
  t.same(listSnapshots(rig.dataDir), [], 'too little')
  publish(maker, 11)
  await until(() => listSnapshots(rig.dataDir).length === 1, 'a snapshot', { msMax: 60_000 })
  await until(() => (publish(maker, 12), maker.trouble() === null), 'no trouble')
  await maker.close(1_000)
  const lost = [...command.slice(0, 5), '/none'] as unknown as typeof command
  const wrong = createSnapshots({ ...deps, dataDir: join(rig.dataDir, 'none'), command: lost })
  publish(wrong, 100)
  await until(() => wrong.trouble() !== null, 'trouble', { msMax: 60_000 })
  t.match(wrong.trouble(), /no snapshot of the state was made: ASSAY_INPUT_INVALID/)
  await wrong.close(1_000)
})
