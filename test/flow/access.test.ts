// Who may reach a running server: keys that are exchanged while it runs. One server for all of it.
import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
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
const write = (file: string, ...keys: Key[]): Promise<void> => writeFile(file, JSON.stringify({ keys }))

let rig: Rig

t.before(async () => {
  await write(files.keys, key('till', 'scorer'), key('past', 'scorer', { expires_at: '2026-01-01T00:00:00Z' }))
  await write(files.tokens, key('ada', 'operator'), key('eve', 'viewer'))
  rig = await startRig({
    // A busy machine is no overload here.
    limits: { ...LIMITS, loopLagMsMax: 1e6, keysLookMs: 20 },
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
  await write(files.keys, key('next', 'scorer'))
  await until(async () => (await score('next')).status === 200, 'the new key scores')
  t.match((await score('till')).body, { code: 'ASSAY_UNAUTHENTICATED' }, 'the one before it does not')

  t.equal((await read('eve')).status, 200)
  await write(files.tokens, key('ada', 'operator'), key('eva', 'viewer'))
  await until(async () => (await read('eva')).status === 200, 'the new token reads')
  t.match((await read('eve')).body, { code: 'ASSAY_UNAUTHENTICATED' })

  await writeFile(files.keys, 'keys: [')
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
