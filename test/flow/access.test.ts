// Who may reach a running server: keys exchanged while it runs, refusals and changes in the audit, guesses that wait.
// One server for all of it.
import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Key } from '../../src/contract/keys.js'
import { LIMITS } from '../../src/limits.js'
import { type Answer, answer, type Rig, startRig, until } from './server-rig.js'

t.setTimeout(120_000)

const folder = await mkdtemp(join(tmpdir(), 'assay-access-'))
const files = { keys: join(folder, 'keys.json'), tokens: join(folder, 'tokens.json') }

const key = (secret: string, role: Key['role'], rest: Partial<Key> = {}): Key => {
  return { name: `${secret}-owner`, sha256: createHash('sha256').update(secret).digest('hex'), role: role!, ...rest }
}
/** At once, as one change: a look in the middle of a write would find another file. */
async function put(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text)
  await rename(`${file}.new`, file)
}
const write = (file: string, ...keys: Key[]): Promise<void> => put(file, JSON.stringify({ keys }))

/** A key that is not known yet is a guess like any other. */
const SLOWLY = { everyMs: 200 }

let rig: Rig

t.before(async () => {
  await write(files.keys, key('till', 'scorer'), key('past', 'scorer', { expires_at: '2026-01-01T00:00:00Z' }))
  await write(files.tokens, key('ada', 'operator'), key('eve', 'viewer'))
  rig = await startRig({
    // A busy machine is no overload here.
    limits: { keysLookMs: 20 },
    edit({ process, policy }) {
      process.http.keys_file = files.keys
      process.operations.tokens_file = files.tokens
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
    },
  })
})
t.teardown(async () => {
  await rig.remove()
  await rm(folder, { recursive: true, force: true })
})

function score(secret: string): Promise<Answer> {
  const transaction = { transaction_id: `t-${randomUUID()}`, occurred_at: new Date().toISOString() }
  const body = { ...transaction, amount_minor: 100, currency: 'EUR', customer_id: 'c' }
  return rig.score(body, { authorization: `Bearer ${secret}` })
}

function read(secret: string, path = '/v1/routes'): Promise<Answer> {
  return answer(fetch(rig.server.operationsUrl + path, { headers: { authorization: `Bearer ${secret}` } }))
}

void t.test('keys and tokens are exchanged without a restart, and a broken file changes nothing', async (t) => {
  t.equal((await score('till')).status, 200)
  t.match((await score('past')).body, { status: 401, code: 'ASSAY_KEY_EXPIRED' })
  t.equal((await score('next')).status, 401)
  for (const path of ['/v2', '/v2/models/fraud', '/v2/models/stats']) t.equal((await rig.get(path)).status, 401, path)
  const infer = (secret: string) => rig.send('/v2/models/fraud/infer', {}, { authorization: `Bearer ${secret}` })
  t.match(await infer('next'), { status: 401, body: { code: 'ASSAY_UNAUTHENTICATED', error: /./ } })
  t.match(await infer('till'), { status: 400, body: { code: 'ASSAY_SCHEMA_INVALID' } }, 'with a key it is read')
  await write(files.keys, key('next', 'scorer'))
  await until(async () => (await score('next')).status === 200, 'the new key scores', SLOWLY)
  t.match((await score('till')).body, { code: 'ASSAY_UNAUTHENTICATED' }, 'the one before it does not')

  t.equal((await read('eve')).status, 200)
  await write(files.tokens, key('ada', 'operator'), key('eva', 'viewer'))
  await until(async () => (await read('eva')).status === 200, 'the new token reads', SLOWLY)
  t.match((await read('eve')).body, { code: 'ASSAY_UNAUTHENTICATED' })

  await put(files.keys, 'keys: [')
  await until(async () => (await rig.metric('assay_keys_stale')).get('listener="score"') === 1, 'it is told of')
  t.equal((await score('next')).status, 200)
  t.match(
    rig.events.filter(({ name }) => name.startsWith('Keys')).map(({ name, fields }) => [name, fields.listener]),
    [
      ['KeysReplaced', 'score'],
      ['KeysReplaced', 'operations'],
      ['KeysRefused', 'score'],
    ],
  )
  await write(files.keys, key('till', 'scorer'))
  await until(async () => (await rig.metric('assay_keys_stale')).get('listener="score"') === 0, 'it is valid again')
  t.equal((await score('till')).status, 200)
})

interface Ask {
  readonly secret?: string
  readonly revision?: number
  readonly type?: string
}

function change(verb: string, body: unknown, { secret, revision, type = 'application/json' }: Ask): Promise<Answer> {
  const headers = {
    'content-type': type,
    ...(secret !== undefined && { authorization: `Bearer ${secret}` }),
    ...(revision !== undefined && { 'if-match': `"${revision}"` }),
  }
  const path = verb === 'set' ? '/v1/routes' : `/v1/routes:${verb}`
  const method = verb === 'set' ? 'PUT' : 'POST'
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return answer(fetch(rig.server.operationsUrl + path, { method, headers, body: text }))
}

void t.test('every change that was refused, and every one that was taken, stands in the audit', async (t) => {
  await write(files.tokens, key('ada', 'operator'), key('eve', 'viewer'), key('zoe', 'approver'))
  await until(async () => (await read('zoe')).status === 200, 'the tokens are read', SLOWLY)
  const { refusals_total: before } = (await read('eve', '/v1/audit')).body
  const reason = 'trial'
  const asked: [string, unknown, Ask, string, string][] = [
    ['set', { share: 5, reason }, {}, 'ASSAY_UNAUTHENTICATED', 'unknown'],
    ['force', { reason }, { secret: 'guess' }, 'ASSAY_UNAUTHENTICATED', 'unknown'],
    ['set', { share: 5, reason }, { secret: 'eve', revision: 0 }, 'ASSAY_ROLE_REFUSED', 'eve-owner'],
    ['release', { reason }, { secret: 'zoe' }, 'ASSAY_ROLE_REFUSED', 'zoe-owner'],
    ['set', { share: 5, reason }, { secret: 'ada' }, 'ASSAY_REVISION_MISSING', 'ada-owner'],
    ['set', { share: 5, reason }, { secret: 'ada', revision: 9 }, 'ASSAY_REVISION_STALE', 'ada-owner'],
    ['set', { share: -1, reason }, { secret: 'ada', revision: 0 }, 'ASSAY_SCHEMA_INVALID', 'ada-owner'],
    ['set', '{', { secret: 'ada', revision: 0 }, 'ASSAY_BODY_MALFORMED', 'ada-owner'],
    ['rollback', { reason }, { secret: 'ada', type: 'text/plain' }, 'ASSAY_MEDIA_TYPE_REFUSED', 'ada-owner'],
    ['resume', { reason }, { secret: 'ada' }, 'ASSAY_CHANGE_CONFLICT', 'ada-owner'],
  ]
  for (const [verb, body, ask, code] of asked) t.equal((await change(verb, body, ask)).body.code, code, verb)
  const taken = await change('set', { share: 25, reason }, { secret: 'ada', revision: 0 })
  t.equal(taken.status, 200, taken.text)

  const { body } = await read('eve', '/v1/audit')
  t.equal(body.refusals_total - before, asked.length)
  t.match(
    body.refusals.slice(0, asked.length).reverse(),
    asked.map(([verb, , , code, actor]) => ({
      ...{ listener: 'operations', code, actor, remote_address: '127.0.0.1', at: /^20/ },
      act: verb === 'set' ? 'PUT /v1/routes' : `POST /v1/routes:${verb}`,
    })),
  )
  t.match(body.controls[0], {
    ...{ kind: 'set', actor: 'ada-owner', reason, remote_address: '127.0.0.1', routes: { revision: 1, share: 25 } },
  })
  t.equal(body.controls.length, 1, 'what was refused is no record')
  t.notMatch(JSON.stringify(body), /guess/, 'no key is shown')
  t.equal((await read('eve', '/v1/audit?limit=2')).body.refusals.length, 2)
  t.equal((await answer(fetch(`${rig.server.operationsUrl}/v1/audit`))).status, 401, 'the audit needs a token')
  const counted = await rig.metric('assay_access_refusals_total')
  t.equal(counted.get('listener="operations",code="ASSAY_REVISION_STALE"'), 1)
  t.ok(rig.events.some(({ name, fields }) => name === 'AccessRefused' && fields.actor === 'eve-owner'))
})

void t.test('whoever guesses too often waits, with a valid key as well, and for a window at most', async (t) => {
  // At once and, on a machine that stood still meanwhile, again: a window that ended in between refuses nobody.
  const guesses = Array.from({ length: LIMITS.authFailuresMax }, () => 'guess')
  let [refused, valid] = await tries()
  for (let again = 0; again < 5 && valid.status !== 429; again++) [refused, valid] = await tries()
  t.match(refused.body, { status: 429, code: 'ASSAY_TOO_MANY_FAILURES' })
  const seconds = Number(refused.headers.get('retry-after'))
  t.ok(seconds >= 1 && seconds <= LIMITS.authWindowMs / 1_000, `Retry-After: ${seconds}`)
  t.equal(valid.status, 429)
  t.equal((await read('eve')).status, 200, 'the other listener counts for itself')
  await until(async () => (await score('till')).status === 200, 'the window ends', {
    msMax: LIMITS.authWindowMs + 5_000,
    ...SLOWLY,
  })

  async function tries(): Promise<Answer[]> {
    await Promise.all(guesses.map(score))
    return [await score('guess'), await score('till')]
  }
})
