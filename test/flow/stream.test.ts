// One stream through a whole server with the reference models: a champion of 15 features, a challenger of 18 and a
// baseline share one vector, and each score is that of the model alone on its own columns. So is that of a third model
// of 12, which the server never loads, from what was logged.
import { join } from 'node:path'
import t from 'tap'
import type { Policy } from '../../src/contract/policy.js'
import type { DecodedRecord } from '../../src/contract/record-types.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { readBundle } from '../../src/models/bundle.js'
import { catalogueFacts } from '../../src/models/columns.js'
import { openAdmitted } from '../../src/models/gate.js'
import { readDecisionLog } from '../../src/scoring/restore.js'
import { createSimulator, type SimulatedTransaction } from '../../src/simulate/generator.js'
import { FIXTURE_MODELS, type Rig, startRig, until } from './server-rig.js'
import { foldAlone, type ModelAlone, openAlone, pick } from './stream-alone.js'

const BATCH_ROWS = 256
const HISTORY_BATCHES = 16
const BATCHES = [256, 64, 17, 256, 1, 100, 256, 33, 32, 256]
const SINGLES = 320
/** Singles under way at once. */
const CONNECTIONS = 16
/** Decisions wanted of the baseline. */
const BASELINE_ROWS = 50
t.setTimeout(180_000)

type Source = () => SimulatedTransaction

/** transaction_id → the score that was answered. */
type Answered = Map<string, number>

interface Row {
  readonly status: number
  readonly body: { transaction_id: string; score: number; model: { role: string } }
}

interface Decided {
  readonly id: string
  readonly role: string
  readonly model: string
  readonly score: number
  readonly vector: Float32Array
}

async function sendBatch(rig: Rig, batch: readonly SimulatedTransaction[], headers = {}): Promise<Row[]> {
  const answer = await rig.send('/v1/score/batch', { transactions: batch.map(({ wire }) => wire) }, headers)
  if (answer.status !== 200) throw new Error(`a batch was answered with ${answer.status} ${answer.text}`)
  return answer.body as Row[]
}

/** History with its labels, then payments to decide: in batches, and one by one on several connections. */
async function sendStream(rig: Rig, next: Source, answered: Answered): Promise<void> {
  const take = (rows: number): SimulatedTransaction[] => Array.from({ length: rows }, next)
  for (let sent = 0; sent < HISTORY_BATCHES; sent++) {
    const batch = take(BATCH_ROWS)
    await sendBatch(rig, batch, { 'assay-mode': 'observe' })
    const labels = batch
      .filter(({ fraud }) => fraud)
      .map(({ wire }) => ({
        ...{ transaction_id: wire.transaction_id, fraud: true, source: 'chargeback', known_at: wire.occurred_at },
      }))
    if (labels.length > 0) await rig.send('/v1/labels', labels)
  }
  const keep = (row: Row): void => keepAnswer(answered, row)
  for (const rows of BATCHES) (await sendBatch(rig, take(rows))).forEach(keep)
  for (let sent = 0; sent < SINGLES; sent += CONNECTIONS) {
    await Promise.all(take(CONNECTIONS).map(async ({ wire }) => keep(await rig.score(wire))))
  }
}

/** Ends the threads of both lanes and sends a batch before they are replaced, until the baseline has decided enough. */
async function forceBaseline(rig: Rig, next: Source, answered: Answered): Promise<void> {
  const ended = (): number => rig.events.filter(({ name }) => name === 'LaneRestarted').length
  // The decision log's thread starts before the lanes do; a thread that ended has no id.
  const logThread = rig.workers.at(0)
  for (let tries = 0, decided = 0; decided < BASELINE_ROWS; tries++) {
    if (tries === 20) throw new Error(`${decided} decisions by the baseline after ${tries} batches`)
    const before = ended()
    const lanes = rig.workers.filter((worker) => worker !== logThread && worker.threadId >= 0)
    await Promise.all(lanes.map((worker) => worker.terminate()))
    await until(() => ended() === before + lanes.length, 'the lanes have noticed')
    const batch = Array.from({ length: BASELINE_ROWS }, next)
    for (const row of await sendBatch(rig, batch)) {
      keepAnswer(answered, row)
      if (row.body.model.role === 'baseline') decided++
    }
  }
}

function keepAnswer(answered: Answered, { status, body }: Row): void {
  if (status !== 200) throw new Error(`a payment was answered with ${status} ${JSON.stringify(body)}`)
  answered.set(body.transaction_id, body.score)
}

async function readRecords(logDir: string): Promise<DecodedRecord[]> {
  const records: DecodedRecord[] = []
  await readDecisionLog(logDir, {
    onRecord(record) {
      if (record.type === 'decision' || record.type === 'observed') {
        const vector = Uint8Array.from(record.personal.vector)
        records.push({ ...record, personal: { ...record.personal, vector } })
      } else records.push(record)
    },
  })
  return records
}

function toDecided(record: DecodedRecord): Decided[] {
  if (record.type !== 'decision') return []
  const { facts, personal } = record
  const { model, score } = facts
  if (model === null || score === null) throw new Error('a decision without a model')
  const reference = `${model.name}@${model.version}`
  const vector = new Float32Array(personal.vector.buffer)
  return [{ id: personal.transaction.transactionId, role: model.role, model: reference, score, vector }]
}

function sameBits(one: Float32Array, other: Float32Array): boolean {
  return Buffer.from(one.buffer).equals(Buffer.from(other.buffer))
}

/** The largest difference between two lists of scores; NaN where they do not fit. */
function worst(scores: readonly number[], others: readonly number[]): number {
  return scores.length === others.length ? Math.max(...scores.map((score, i) => Math.abs(score - others[i]))) : NaN
}

/** Scores of the third model as a reader of the log would take them: through the gate, columns by digests. */
async function scoreFromLog(policy: Policy, decided: readonly Decided[]): Promise<number[]> {
  const { catalogue, schema, currencies } = policy
  const facts = catalogueFacts(compileCatalogue(catalogue, schema, currencies), catalogue)
  const bundle = await readBundle(join(FIXTURE_MODELS, 'third/1'))
  const { admission, session } = await openAdmitted(bundle, facts)
  const { columns } = admission
  if (session === null || columns === null) throw new Error('the third model has no session')
  const scores: number[] = []
  for (let from = 0; from < decided.length; from += session.rowsMax) {
    const rows = decided.slice(from, from + session.rowsMax)
    const out = { raw: new Float64Array(rows.length), scores: new Float64Array(rows.length) }
    const values = rows.flatMap(({ vector }) => [...columns].map((column) => vector[column]))
    await session.run(Float32Array.from(values), rows.length, out)
    scores.push(...out.scores)
  }
  await session.close()
  return scores
}

void t.test('each score is that of the model alone on its own columns', async (t) => {
  const rig = await startRig({
    // Nothing here is about time: no payment may be refused or fall back because the machine is busy.
    edit({ policy }) {
      policy.clock = 'replay'
      policy.routes = { ...policy.routes, share: 5_000 }
      policy.budgets = { deadline_ms: 10_000, log_wait_ms: 60_000 }
    },
  })
  t.teardown(() => rig.remove())
  const { policy, process } = rig.config
  const startMs = Date.parse('2025-03-03T00:00:00Z')
  const simulator = createSimulator({ seed: 3, customers: 2_000, terminals: 300, startMs })
  const next: Source = () => simulator.next()
  const answered: Answered = new Map()
  await sendStream(rig, next, answered)
  await forceBaseline(rig, next, answered)
  await rig.stop()

  const records = await readRecords(rig.logDir)
  const decided = records.flatMap(toDecided)
  t.equal(decided.length, answered.size, 'what was answered is what was logged')
  t.same(decided.filter(({ id, score }) => answered.get(id) !== score).length, 0, 'with the score that was answered')
  const names = policy.catalogue.features.map(({ name }) => name)

  /** Logged or given scores against the model alone, on columns that its features alone give. */
  const check = async (
    model: ModelAlone,
    own: readonly Decided[],
    { scores = own.map(({ score }) => score), tolerance = 0 },
  ): Promise<void> => {
    const alone = foldAlone(records, policy, model.features)
    const columns = own.map(({ id }) => alone.get(id) ?? new Float32Array())
    const others = own.filter(({ vector }, i) => !sameBits(pick(vector, names, model.features), columns[i]))
    t.same(others.length, 0, `${model.reference}: ${columns[0].length} columns, as a catalogue of them alone gives`)
    const difference = worst(scores, await model.score(columns))
    t.ok(difference <= tolerance, `${own.length} scores in one run: ${difference} off at most`)
    const some = columns.slice(0, 100)
    const byOne: number[] = []
    for (const row of some) byOne.push(...(await model.score([row])))
    const differenceByOne = worst(scores.slice(0, some.length), byOne)
    t.ok(differenceByOne <= tolerance, `row by row: ${differenceByOne} off at most`)
    // The negative: the same rows, each with the column of another row in one place, have other scores.
    const mixed = columns.map((row, i) => row.with(0, columns[(i + 1) % columns.length][0]))
    t.ok(worst(scores, await model.score(mixed)) > 1e-3, 'another amount gives another score')
    await model.close()
  }
  const open = (reference: string): Promise<ModelAlone> =>
    openAlone(join(process.models_dir, reference.replace('@', '/')))

  const { champion, challenger, baseline } = policy.routes
  const roles = [
    { role: 'champion', reference: champion, features: 15, rows: 400, tolerance: 0 },
    { role: 'challenger', reference: challenger ?? '', features: 18, rows: 400, tolerance: 0 },
    // The last bit differs between two ways to write the logistic function.
    { role: 'baseline', reference: baseline, features: 7, rows: BASELINE_ROWS, tolerance: 1e-15 },
  ]
  for (const { role, reference, features, rows, tolerance } of roles) {
    const own = decided.filter((one) => one.role === role)
    t.ok(own.length >= rows, `${own.length} decisions by the ${role}, ${reference}`)
    t.same([...new Set(own.map(({ model }) => model))], [reference])
    const model = await open(reference)
    t.equal(model.features.length, features)
    await check(model, own, { tolerance })
  }
  const missing = decided.filter(({ vector }) => vector.some(Number.isNaN)).length
  t.ok(missing > 20, `${missing} vectors have a missing value`)
  const third = await openAlone(join(FIXTURE_MODELS, 'third/1'))
  t.equal(third.features.length, 12)
  await check(third, decided, { scores: await scoreFromLog(policy, decided) })
})
