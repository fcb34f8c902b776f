// What history is checked for before anything of it is sent, and the order in which it is sent.
import t, { type Test } from 'tap'
import { compileLabels } from '../../src/contract/label.js'
import type { Label } from '../../src/contract/label.js'
import { compileTransaction } from '../../src/contract/validate.js'
import type { TransactionPolicy } from '../../src/contract/validate-bytes.js'
import type { ForeignRow } from '../../src/features/build-rows.js'
import { chunksOf } from '../../src/features/row-chunks.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { checkLabel, type HistoryInput, prepareScript, type Script } from '../../src/scoring/history/script.js'

const HOUR_MS = 3_600_000
const START_MS = Date.UTC(2026, 0, 5)

const policy: TransactionPolicy = {
  schema: { unknown_fields: 'refuse', fields: [] },
  currencies: { base: 'EUR', unlisted: 'refuse', list: { EUR: { exponent: 2, rate: 1 } } },
  clock: 'live',
}
const validator = compileTransaction(policy, LIMITS)

function row(number: number, hours: number, more: Partial<ForeignRow> & { id?: string } = {}): ForeignRow {
  const { id = `t-${number}`, fraud = false, approved = null } = more
  const values = { transaction_id: id, occurred_at: START_MS + hours * HOUR_MS, amount_minor: 1, currency: 'EUR' }
  return { number, values, fraud, approved }
}

function label(id: string, hours: number): Label {
  const knownAtMs = START_MS + hours * HOUR_MS
  return { transactionId: id, kind: 'fraud', value: true, source: 's', knownAtMs, occurredAtMs: null, entities: [] }
}

function input(rows: readonly ForeignRow[], more: Partial<HistoryInput> = {}): HistoryInput {
  return {
    ...{ name: 'h.csv', chunks: chunksOf([rows]), validator, labels: null, labelDelayMs: 2 * HOUR_MS },
    schema: policy.schema,
    ...{ fromMs: -Infinity, untilMs: Infinity, gapMsMax: 24 * HOUR_MS, nowMs: START_MS + 1_000 * HOUR_MS, ...more },
  }
}

async function entries(t: Test, script: Script): Promise<string[]> {
  t.teardown(() => script.close())
  const read: string[] = []
  await script.read((isLabel, bytes) => {
    const { transaction_id: id, known_at: at } = JSON.parse(bytes.toString()) as {
      transaction_id: string
      known_at: number
    }
    read.push(isLabel ? `${id} known at ${(at - START_MS) / HOUR_MS}` : id)
    return undefined
  })
  return read
}

void t.test('a label column is told after its delay, and at the end as soon as the history was written', async (t) => {
  const rows = [row(1, 0, { fraud: true }), row(2, 1), row(3, 2, { fraud: true }), row(4, 3)]
  const script = await prepareScript(input(rows), LIMITS)
  t.same(await entries(t, script), ['t-1', 't-2', 't-1 known at 2', 't-3', 't-4', 't-3 known at 3'])
  t.match(script, { transactions: 4, labels: 2, fromMs: START_MS, untilMs: START_MS + 3 * HOUR_MS })
})

void t.test("an issuer's answer is told with its transaction, before the next one", async (t) => {
  const rows = [row(1, 0, { approved: false, fraud: true }), row(2, 1, { approved: true }), row(3, 2)]
  const script = await prepareScript(input(rows), LIMITS)
  t.same(await entries(t, script), ['t-1', 't-1 known at 0', 't-2', 't-2 known at 1', 't-1 known at 2', 't-3'])
  const told: unknown[] = []
  await script.read((isLabel, bytes) => {
    if (isLabel) told.push(JSON.parse(bytes.toString()))
    return undefined
  })
  t.match(told, [
    { transaction_id: 't-1', kind: 'authorisation', approved: false, occurred_at: START_MS },
    { transaction_id: 't-2', kind: 'authorisation', approved: true },
    { transaction_id: 't-1', fraud: true },
  ])
})

void t.test('labels of a file are told when they were known, and the column plays no part', async (t) => {
  const rows = [row(1, 0, { fraud: true }), row(2, 1), row(3, 2)]
  const script = await prepareScript(input(rows, { labels: [label('t-2', 1), label('t-9', 50)] }), LIMITS)
  t.same(await entries(t, script), ['t-1', 't-2 known at 1', 't-2', 't-3', 't-9 known at 50'])
})

void t.test('the same history has the same digests, and other labels only another second one', async (t) => {
  const rows = [row(1, 0), row(2, 1)]
  const [first, again, labelled, other] = await Promise.all([
    prepareScript(input(rows), LIMITS),
    prepareScript(input(rows), LIMITS),
    prepareScript(input(rows, { labels: [label('t-1', 1)] }), LIMITS),
    prepareScript(input([row(1, 0), row(3, 1)]), LIMITS),
  ])
  for (const script of [first, again, labelled, other]) script.close()
  t.same([again.source, again.digest], [first.source, first.digest])
  t.equal(labelled.source, first.source)
  t.not(labelled.digest, first.digest)
  t.not(other.source, first.source)
  t.not(first.source, first.digest)
})

void t.test('from and until cut it', async (t) => {
  const rows = [row(1, 0), row(2, 1), row(3, 2), row(4, 3)]
  const cut = { fromMs: START_MS + HOUR_MS, untilMs: START_MS + 3 * HOUR_MS }
  t.same(await entries(t, await prepareScript(input(rows, cut), LIMITS)), ['t-2', 't-3'])
})

void t.test('history that is not as it must be is refused with its row', async (t) => {
  const cases: [string, HistoryInput, RegExp][] = [
    ['out of order', input([row(1, 1), row(2, 0)]), /^h\.csv, row 2: \/occurred_at: earlier/],
    ['twice', input([row(1, 0), row(2, 1, { id: 't-1' })]), /^h\.csv, row 2: \/transaction_id: stands in a row before/],
    [
      'from the future',
      input([row(1, 0), row(2, 2)], { nowMs: START_MS + HOUR_MS }),
      /^h\.csv, row 2: .*\/occurred_at: at most .* ahead/,
    ],
    ['behind a gap', input([row(1, 0), row(2, 25)]), /^h\.csv, row 2: .*gap longer .*--gap-max/],
    [
      'not valid',
      input([row(1, 0), { number: 2, values: {}, fraud: null, approved: null }]),
      /^h\.csv, row 2: .*\/transaction_id/,
    ],
    ['nothing', input([]), /^h\.csv holds no transaction/],
  ]
  for (const [what, given, message] of cases) {
    await t.rejects(prepareScript(given, LIMITS), { code: 'ASSAY_INPUT_INVALID', message }, what)
  }
  const many = Array.from({ length: TINY.historyRowsMax + 1 }, (_, at) => row(at + 1, at))
  await t.rejects(prepareScript(input(many), TINY), { message: /row 65: more than 64 transactions/ })
  const undelayed = input([row(1, 0, { fraud: true })], { labelDelayMs: null })
  await t.rejects(prepareScript(undelayed, LIMITS), { code: 'ASSAY_USAGE', message: /known at once/ })
})

void t.test('a label that a server would refuse is refused with its row', (t) => {
  const { schema } = policy
  const labelling = { labels: compileLabels(schema, LIMITS), schema, nowMs: START_MS }
  checkLabel(label('t-1', 0), 'l.csv, row 1', labelling)
  t.throws(() => checkLabel(label('t-1', 1), 'l.csv, row 2', labelling), {
    code: 'ASSAY_INPUT_INVALID',
    message: /^l\.csv, row 2: .*\/known_at/,
  })
  t.end()
})
