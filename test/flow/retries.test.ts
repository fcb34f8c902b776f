// A thousand transactions, each sent four times and more, to lanes of unequal speed while the log stalls, under both
// policies: every repeat gets the first decision, the log holds each once, its vectors and the final state are those of
// one pass over it, and what clients were told is counted exactly.
import t from 'tap'
import { type Attempt, type Evidence, foldingAttempt, judge } from './retries-judge.js'
import { runRetries } from './retries-run.js'
import { withMovedVector } from './retries-spoil.js'
import { verifyReplay } from '../../src/scoring/verify-replay.js'

t.setTimeout(240_000)

for (const policy of ['reject', 'serve_and_count'] as const) {
  void t.test(`under ${policy}, retries while the log stalls get their first decision`, async (t) => {
    const { rig, evidence, stalled } = await runRetries(policy)
    t.teardown(() => rig.remove())
    t.same(judge(evidence), [])
    t.ok(stalled > 0, 'syncs had to wait')
    t.same([evidence.decisions.length, evidence.attempts.size, evidence.looks.length], [1_000, 1_000, 40])
    const happened = tally(evidence)
    t.comment(JSON.stringify(happened))
    const expected = policy === 'reject' ? ['ASSAY_LOG_UNAVAILABLE', 'ASSAY_DECISION_UNCONFIRMED'] : ['none', 'pending']
    for (const what of [
      ...expected,
      'ASSAY_DUPLICATES_WAITING',
      'synced',
      'replayed',
      'out of order',
      'hangs',
      'linear',
    ])
      t.ok((happened[what] ?? 0) > 0, `${what}: ${happened[what]}`)

    const { compared, equal, unexplained, unrecomputable, gaps } = await verifyReplay(rig.logDir)
    t.same({ compared, equal, unexplained, unrecomputable, gaps }, { ...whole(1_000), gaps: [] })

    await t.test('and the judgement finds what would be wrong', (t) => {
      t.same(missed(evidence), [])
      t.end()
    })
    await t.test('and a replay names the one vector that is moved', async (t) => {
      const moved = await withMovedVector(rig.logDir, t.testdir())
      const { differing, ...report } = await verifyReplay(moved.logDir)
      t.match(report, { compared: 1_000, equal: 999, unexplained: 1 })
      t.same(differing, [{ decision_id: moved.decisionId, reason: 'differs', features: [moved.feature] }])
    })
  })
}

function whole(rows: number): object {
  return { compared: rows, equal: rows, unexplained: 0, unrecomputable: 0 }
}

/** How often each thing that the run is about did happen. */
function tally({ attempts, decisions }: Evidence): Record<string, number> {
  const counts: Record<string, number> = {}
  const count = (what: string | null | undefined): void => {
    if (what !== null && what !== undefined) counts[what] = (counts[what] ?? 0) + 1
  }
  for (const { code, logged, replayed } of [...attempts.values()].flat()) {
    count('answers')
    count(code)
    count(logged)
    if (replayed) count('replayed')
  }
  decisions.forEach(({ facts }, at) => {
    count(facts.model?.name)
    if (at > 0 && facts.ordinal < decisions[at - 1].facts.ordinal) count('out of order')
  })
  return counts
}

/** Changes the evidence of a good run in each way that a bad server would, and returns what is not found. */
function missed(good: Evidence): string[] {
  const [first, ...rest] = good.decisions
  const { facts, personal } = first
  const { counted, replies, looks } = good
  const vector = Buffer.from(personal.vector)
  vector.writeFloatLE(vector.readFloatLE(0) * (1 + 2 ** -20), 0)
  const lookVector = Buffer.from(looks[0].personal.vector)
  lookVector.writeFloatLE(lookVector.readFloatLE(12) + 1, 12)
  const [id, attempts] = [...good.attempts].find(([, all]) => foldingAttempt(all) === 0 && all.at(-1)?.replayed) ?? [
    '',
    [],
  ]
  const [folding, ...repeats] = attempts
  const told = (all: readonly Attempt[]): Partial<Evidence> => ({ attempts: new Map([...good.attempts, [id, all]]) })
  const last = repeats[repeats.length - 1]
  const head = attempts.slice(0, -1)
  const more = (map: ReadonlyMap<string, number>): ReadonlyMap<string, number> =>
    new Map([...map, ['ASSAY_INTERNAL', 1]])
  const wrong: Record<string, Partial<Evidence>> = {
    'a decision that is not logged': { decisions: rest },
    'a decision logged twice': { decisions: [...good.decisions, { ...first, facts: { ...facts, ordinal: 9_999 } }] },
    'a vector that is moved': { decisions: [{ ...first, personal: { ...personal, vector } }, ...rest] },
    'another final count': { looks: [{ ...looks[0], personal: { ...looks[0].personal, vector: lookVector } }] },
    'a repeat with another decision': told([...head, { ...last, decision: 'another' }]),
    'a repeat with another id': told([...head, { ...last, decisionId: 'd_other' }]),
    'a repeat that is taken for the first': told([...head, { ...last, replayed: false }]),
    'a repeat that is refused for want of room': told([
      ...head,
      { ...last, status: 503, code: 'ASSAY_LOG_UNAVAILABLE' },
    ]),
    'a first that is taken for a repeat': told([{ ...folding, replayed: true }, ...repeats]),
    'an error': told([...head, { ...last, status: 500, code: 'ASSAY_INTERNAL' }]),
    'a refusal that nobody was told of': { counted: { ...counted, rejected: more(counted.rejected) } },
    'a pending answer not counted': { counted: { ...counted, pending: counted.pending - 1 } },
    'a lost answer counted twice': { counted: { ...counted, lost: counted.lost + 1 } },
    'a reply that is not recorded': { replies: replies.slice(1) },
    'a reply recorded as the other kind': {
      replies: [
        { ...replies[0], told: replies[0].told === 'pending' ? 'unconfirmed' : 'pending' },
        ...replies.slice(1),
      ],
    },
  }
  return Object.keys(wrong).filter((name) => judge({ ...good, ...wrong[name] }).length === 0)
}
