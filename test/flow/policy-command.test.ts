// `assay policy` against a whole server, as an operator uses it: in words, tried, set, a list mended, rolled back.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Policy } from '../../src/contract/policy.js'
import { policyCommand } from '../../src/scoring/policy-command.js'
import { POLICY_FILE, referencePolicy } from '../reference-policy.js'
import { runCommand } from '../run-command.js'
import { startRig } from './server-rig.js'

t.setTimeout(120_000)

const YAML = `
policy:
  lists:
    wave: { values: [{ value: t-13 }] }
    people: { hashed: sha256, values: [] }
  segments:
    - name: small
      when: { field: amount, op: lt, value: 5 }
  thresholds:
    fraud-lgbm@1: { by_segment: { small: { decline_at: 0.99 } } }
  rules:
    - id: card_testing
      when:
        all:
          - { field: terminal_id, op: in_list, value: wave }
          - any:
              - { feature: customer_count_1d, op: ge, value: 1 }
              - not: { answer: role, op: eq, value: champion }
      action: decline
      reason: card_testing
      state: enforce
    - id: blocked
      when: { field: customer_id, op: in_list, value: people }
      action: review
      reason: blocked_customer
      state: shadow
`

void t.test('an operator at three in the morning', async (t) => {
  const rig = await startRig({
    edit: ({ policy }) => void (policy.budgets = { deadline_ms: 1000, log_wait_ms: 10_000 }),
  })
  t.teardown(() => rig.remove())
  const file = join(t.testdir(), 'rules.yaml')
  await writeFile(file, YAML)
  const policy = (...args: string[]) => runCommand(policyCommand, [...args, '--url', rig.server.operationsUrl])
  const refused = async (args: string[], code: string, message = /./): Promise<void> => {
    const { err } = await policy(...args)
    t.ok(err.startsWith(`${code}: `), err)
    t.match(err, message)
  }
  const pay = async (id: string, customer = 'c-1'): Promise<{ action: string; reasons: unknown[] }> => {
    const answer = await rig.score({
      ...{ transaction_id: id, occurred_at: Date.now(), amount_minor: 5_000, currency: 'EUR' },
      ...{ customer_id: customer, terminal_id: 't-13' },
    })
    return answer.body as { action: string; reasons: unknown[] }
  }

  t.match((await policy('show')).out, /^revision 0, sha256:.*as configured\n/)
  await pay('one')
  const tried = await policy('try', file)
  t.match(tried, { code: 0, out: /of the newest 1 decisions .* 1 would change \(100\.00 %\)\n {2}\w+ → decline: 1/ })
  t.match(tried.out, /rule card_testing \(enforce\) would have matched 1/)
  t.equal((await pay('two')).reasons.length, 0)

  await refused(['set', file], 'ASSAY_USAGE', /--reason/)
  const set = await policy('set', file, '--reason', 'a wave at t-13')
  t.match(set, { code: 0, out: /^revision 1, .*differs from the configuration in .*\/rules/ })
  t.match(
    set.out,
    /1\. card_testing: decline where terminal_id is on the list wave and \(customer_count_1d is at least 1 or not \(the role that answered is champion\)\) \(reason card_testing\)/,
  )
  t.match(set.out, /2\. blocked: in trial, would review where .* \(reason blocked_customer\)/)
  t.match(
    set.out,
    /segment small: where amount is below 5 EUR\n {2}fraud-lgbm@1 in small: decline from 0.99, else approve/,
  )
  t.equal((await pay('three')).action, 'decline')
  await refused(['set', file, '--reason', 'again'], 'ASSAY_CHANGE_CONFLICT', /holds already/)
  await refused(['set', file, '--reason', 'late', '--revision', '0'], 'ASSAY_REVISION_STALE')

  t.match(await policy('list', 'people', 'add', 'c-9', '--until', '2h', '--reason', 'asked by risk'), { code: 0 })
  await pay('four', 'c-9')
  t.equal((await rig.metric('assay_rule_matches_total')).get('rule="blocked",state="shadow"'), 1)
  t.match((await policy('list', 'people')).out, /^[0-9a-f]{64} {2}until \d{4}-/)
  t.match(await policy('list', 'wave', 'remove', 't-13', '--reason', 'over'), { code: 0 })
  t.not((await pay('five')).action, 'decline')
  await refused(['list', 'wave', 'remove', 't-13', '--reason', 'over'], 'ASSAY_INPUT_INVALID')
  await refused(['list', 'waves'], 'ASSAY_INPUT_INVALID', /there is people, wave/)
  t.match(await policy('rollback', '--reason', 'too early'), { code: 0, out: /^revision 4, / })
  t.equal((await pay('six')).action, 'decline')

  await writeFile(
    file,
    'rules: [{ id: a, when: { field: amuont, op: gt, value: 1 }, action: review, reason: a, state: enforce }]',
  )
  await refused(
    ['set', file, '--reason', 'a slip'],
    'ASSAY_SCHEMA_INVALID',
    /\/policy\/rules\/0\/when\/field: no such field; there is amount/,
  )
  await refused(['set', join(t.testdir(), 'nowhere'), '--reason', 'x'], 'ASSAY_INPUT_INVALID')
  await refused(['try', file, '--last', 'x'], 'ASSAY_USAGE')
  await refused(['sett'], 'ASSAY_USAGE')
})

void t.test('the file of the reference policy is what serves, and what is shown can be sent back', async (t) => {
  const rig = await startRig()
  t.teardown(() => rig.remove())
  const policy = (...args: string[]) => runCommand(policyCommand, [...args, '--url', rig.server.operationsUrl])
  const held = /^ASSAY_CHANGE_CONFLICT: .*holds already/
  t.match(await policy('try', POLICY_FILE), { code: 1, err: held })
  t.match(await policy('set', POLICY_FILE, '--reason', 'as it is'), { code: 1, err: held })
  const shown = await policy('show', '--json')
  const file = join(t.testdir(), 'shown.json')
  await writeFile(file, shown.out)
  t.match(await policy('set', file, '--reason', 'as it is'), { code: 1, err: held })
  const { policy: whole } = JSON.parse(shown.out) as { policy: Policy }
  t.same(whole, referencePolicy())
  const { out } = await policy('show')
  for (const { id } of whole.rules ?? []) t.match(out, `. ${id}: `)
  for (const { name } of whole.catalogue.features) t.match(out, `\n  ${name}: `)
  t.match(out, /What changes live .*What needs a restart/s)
  const until = ['--until', '2h', '--reason', 'a wave']
  t.match(
    (await policy('list', 'blocked_terminals', 'add', '5161', ...until)).out,
    /: 1 of 2 values on it now; the next/,
  )
})
