// The short form of the kill test: a few kills of a real server under load, then the log against what clients were
// told, by a reader that shares no code with the server. bench/kill.ts is the full form: 200 kills. The judgement is
// tested too.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { referencePolicy } from '../reference-policy.js'
import { QUICK_SERVE } from './quick.js'
import type { NaiveCatalogue } from './kill-fold.js'
import { judge } from './kill-ledger.js'
import { readNaively, type NaiveLog } from './kill-log.js'
import { runKills } from './kill-run.js'
import { verifyWithReplay } from './kill-verify.js'

const catalogue: NaiveCatalogue = referencePolicy().catalogue

void t.test('a server killed under load keeps every decision that it acknowledged', { timeout: 110_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'assay-kill-test-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const run = await runKills({ seed: 7, kills: 2, repliesMax: 400, connections: 16, folder, command: QUICK_SERVE })
  const log = readNaively(run.dataDir)
  const { findings, verdict } = judge(run.ledger, log, catalogue)
  t.same(findings, [], 'each acknowledged decision once, each repeat as the first, each vector as folded naively')
  t.ok(
    run.ledger.told.size > 0 && run.ledger.repeats > 0 && run.ledger.labels.length > 0,
    'there was something to lose',
  )
  t.ok(run.cutOff > 0, 'requests were under way when the server died')

  const verified = await verifyWithReplay(run.dataDir)
  t.equal(verified.code, 0, verified.output)
  const excused = verdict.mismatches.map(({ decisionId }) => decisionId)
  t.same(verified.named, excused.sort(), 'log verify --replay names the vectors that rest on lost ordinals, no others')

  await t.test('and the judgement finds what would be wrong', (t) => {
    const spoil = (change: Partial<NaiveLog>): readonly string[] =>
      judge(run.ledger, { ...log, ...change }, catalogue).findings
    const [first, ...rest] = log.decisions.filter(({ personal }) => run.ledger.told.has(personal.transaction_id))
    const last = rest.at(-1)
    if (first === undefined || last === undefined) throw new Error('an empty log')
    t.ok(
      spoil({ decisions: rest }).some((line) => line.endsWith('not in the log')),
      'a lost decision',
    )
    const after =
      1 + Math.max(...[...log.decisions.map(({ facts }) => facts), ...log.labels].map(({ ordinal }) => ordinal))
    const again = { ...last, facts: { ...last.facts, ordinal: after } }
    t.ok(
      spoil({ decisions: [...log.decisions, again] }).some((line) => line.includes('2 times')),
      'a decision twice',
    )
    const other = { ...first, facts: { ...first.facts, action: 'challenge' } }
    t.ok(
      spoil({ decisions: [other, ...rest] }).some((line) => line.includes('challenge')),
      'another action',
    )
    const vector = Buffer.from(first.personal.vector)
    vector.writeFloatLE(vector.readFloatLE(0) + 1, 0)
    const moved = { ...first, personal: { ...first.personal, vector } }
    t.ok(
      spoil({ decisions: [moved, ...rest] }).some((line) => line.includes('differs in amount')),
      'another vector',
    )
    t.ok(
      spoil({ labels: [] }).some((line) => line.includes('a label was acknowledged')),
      'a lost label',
    )
    t.end()
  })
})
