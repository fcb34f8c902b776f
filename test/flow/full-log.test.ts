// A server whose log reaches its bound under load: it refuses, or drops the oldest and counts it, as it is told.
import t from 'tap'
import { firstSequenceOf } from '../../src/decision-log/chain.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { verifyLog } from '../../src/decision-log/verify.js'
import { type Rig, startRig, until } from './server-rig.js'

// Two starts of a whole server.
t.setTimeout(200_000)

const limits = { segmentBytes: 64 << 10 }
const bound = 5 * limits.segmentBytes

const startFull = (onFull: 'refuse' | 'drop_oldest'): Promise<Rig> =>
  startRig({
    limits,
    edit({ process, policy }) {
      Object.assign(process.log, { disk_bytes_max: bound, on_full: onFull })
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 2_000 }
    },
  })

let number = 0
const pay = (rig: Rig) =>
  rig.score({
    ...{ transaction_id: `full-${++number}`, occurred_at: new Date().toISOString(), customer_id: `c${number % 9}` },
    ...{ amount_minor: 1_000, currency: 'EUR' },
  })

void t.test('told to refuse, it refuses at the bound and drops nothing', async (t) => {
  const rig = await startFull('refuse')
  t.teardown(() => rig.remove())
  await until(async () => (await pay(rig)).body.code === 'ASSAY_LOG_UNAVAILABLE', 'a refusal', { msMax: 60_000 })
  const { decision_log: log } = (await rig.operations('/v1/status')).body
  t.match(log, { healthy: false, droppedRecords: 0 })
  t.equal(firstSequenceOf(createDisk(rig.logDir)), 1)
  t.equal(rig.events.filter(({ name }) => name === 'SegmentDropped').length, 0)
})

void t.test('told to drop the oldest, it answers on, and status, metrics and events say what went', async (t) => {
  const rig = await startFull('drop_oldest')
  t.teardown(() => rig.remove())
  const dropped = () => rig.events.filter(({ name }) => name === 'SegmentDropped')
  const codes = new Set<unknown>()
  await until(
    async () => {
      for (const { body } of await Promise.all([1, 2, 3, 4].map(() => pay(rig)))) codes.add(body.code)
      return dropped().length > 3
    },
    'segments are dropped',
    { msMax: 60_000 },
  )
  t.notOk(codes.has('ASSAY_LOG_UNAVAILABLE') || codes.has('ASSAY_DECISION_UNCONFIRMED'), 'the log was never refused')
  const { decision_log: log } = (await rig.operations('/v1/status')).body
  const metric = (await rig.metric('assay_log_dropped_records_total')).get('')
  await rig.stop()
  const first = firstSequenceOf(createDisk(rig.logDir)) ?? 0
  const told = dropped().reduce((sum, { fields }) => sum + Number(fields.records), 0)
  t.equal(told, first - 1, 'the events name every record that is not there')
  t.ok(log.droppedRecords > 0 && log.droppedRecords <= told)
  t.ok((metric ?? 0) >= log.droppedRecords && (metric ?? 0) <= told)
  t.equal(dropped()[0]?.fields.segment, '0000000001.segment')
  t.notOk(verifyLog(rig.logDir).damaged)
})
