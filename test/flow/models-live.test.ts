// Models loaded and taken out while a server runs: what serves meanwhile, what is refused, what a restart keeps, and
// who must have approved. One server for all but the restarts; the rules stand in test/scoring/change.test.ts.
import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ThreadMessage } from '../../src/scoring/lane/wire.js'
import { liveModelCommand } from '../../src/scoring/model-command.js'
import { addVersion, copyModels } from './models-dir.js'
import { type Answer, answer, type Rig, startRig, until } from './server-rig.js'

t.setTimeout(180_000)

/** A busy machine is no overload here. */
const limits = { modelsMax: 4 }
const TOKENS = { operator: 'op-secret', approver: 'second-secret', viewer: 'view-secret' }
const reason = 'week 48 trial'

interface Place {
  readonly folder: string
  readonly modelsDir: string
  readonly dataDir?: string
  readonly approval?: 'none' | 'required'
  readonly champion?: string
}

async function start({ folder, modelsDir, dataDir, approval, champion }: Place): Promise<Rig> {
  const tokens = join(folder, 'tokens.json')
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
  const keys = Object.entries(TOKENS).map(([role, token]) => ({ name: role, sha256: sha256(token), role }))
  await writeFile(tokens, JSON.stringify({ keys }))
  return startRig({
    ...(dataDir !== undefined && { dataDir }),
    limits,
    edit({ process, policy }) {
      process.models_dir = modelsDir
      process.operations.tokens_file = tokens
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
      if (approval !== undefined) policy.model_approval = approval
      if (champion !== undefined) policy.routes.champion = champion
    },
  })
}

async function prepare(t: Test): Promise<{ folder: string; modelsDir: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-models-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return { folder, modelsDir: await copyModels(folder) }
}

/** `POST /v1/models/{name}/{version}:<verb>`, or `PUT /v1/routes`. */
function ask(rig: Rig, path: string, body: object, token: string | null = TOKENS.operator): Promise<Answer> {
  const isSet = path === 'routes'
  const revision = rig.events.findLast(({ name }) => name === 'RoutesChanged')?.fields.revision ?? 0
  return answer(
    fetch(`${rig.server.operationsUrl}/v1/${isSet ? path : `models/${path}`}`, {
      method: isSet ? 'PUT' : 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(isSet && { 'if-match': `"${String(revision)}"` }),
      },
      body: JSON.stringify(body),
    }),
  )
}

function show(rig: Rig, path: string): Promise<Answer> {
  return answer(fetch(rig.server.operationsUrl + path, { headers: { authorization: `Bearer ${TOKENS.viewer}` } }))
}

/** `PUT` of what has a revision, with the one that is served. */
async function put(rig: Rig, path: string, body: object): Promise<Answer> {
  const { headers } = await show(rig, `/v1/${path}`)
  const authorization = `Bearer ${TOKENS.operator}`
  return answer(
    fetch(`${rig.server.operationsUrl}/v1/${path}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json', authorization, 'if-match': headers.get('etag') ?? '' },
      body: JSON.stringify(body),
    }),
  )
}

interface Shown {
  readonly model: string
  readonly refused?: string
  readonly digest: string
}

async function modelsOf(rig: Rig): Promise<Shown[]> {
  const { body } = (await show(rig, '/v1/models')) as { body: { models: Shown[] } }
  return body.models
}

async function namesOf(rig: Rig): Promise<string[]> {
  return (await modelsOf(rig)).map(({ model }) => model).sort()
}

function score(rig: Rig): Promise<Answer> {
  const transaction = { transaction_id: `t-${randomUUID()}`, occurred_at: new Date().toISOString() }
  return rig.score({ ...transaction, amount_minor: 100, currency: 'EUR', customer_id: 'c' })
}

/** Eight payments at a time, until it is stopped: what they were answered. */
function payMeanwhile(rig: Rig): { readonly answers: readonly Answer[]; stop(): Promise<void> } {
  const answers: Answer[] = []
  let isOver = false
  const pay = async (): Promise<void> => {
    while (!isOver) answers.push(await score(rig))
  }
  const paying = Promise.all(Array.from({ length: 8 }, pay))
  return {
    answers,
    async stop() {
      isOver = true
      await paying
    },
  }
}

void t.test('models come and go on a running server, and only as they may', async (t) => {
  const place = await prepare(t)
  const { modelsDir, folder } = place
  for (const version of ['2', '3', '4']) await addVersion(modelsDir, 'fraud-lgbm', version)
  const rig = await start(place)
  t.teardown(() => rig.remove())

  await t.test('what is refused names its code, and leaves what serves as it is', async (t) => {
    const torn = await addVersion(modelsDir, 'fraud-lgbm', 'torn')
    await writeFile(join(torn, 'model.onnx'), 'half of a copy')
    await addVersion(modelsDir, 'fraud-lgbm', 'half')
    await rm(join(modelsDir, 'fraud-lgbm', 'half', 'manifest.json'))
    const renamed = join(modelsDir, 'fraud-xgb', '9')
    await rm(renamed, { recursive: true, force: true })
    const refused: [string, object, string | null, number, string][] = [
      ['fraud-lgbm/2:load', { reason }, null, 401, 'ASSAY_UNAUTHENTICATED'],
      ['fraud-lgbm/2:load', { reason }, TOKENS.viewer, 403, 'ASSAY_ROLE_REFUSED'],
      ['fraud-lgbm/2:load', { reason }, TOKENS.approver, 403, 'ASSAY_ROLE_REFUSED'],
      ['fraud-lgbm/2:approve', { reason }, TOKENS.operator, 403, 'ASSAY_ROLE_REFUSED'],
      ['fraud-lgbm/2:load', {}, TOKENS.operator, 400, 'ASSAY_SCHEMA_INVALID'],
      ['fraud-lgbm/2:swap', { reason }, TOKENS.operator, 404, 'ASSAY_ROUTE_UNKNOWN'],
      ['fraud-lgbm/2', { reason }, TOKENS.operator, 404, 'ASSAY_ROUTE_UNKNOWN'],
      ['Fraud/2:load', { reason }, TOKENS.operator, 400, 'ASSAY_SCHEMA_INVALID'],
      ['..%2f/2:load', { reason }, TOKENS.operator, 400, 'ASSAY_SCHEMA_INVALID'],
      ['fraud-xgb/9:load', { reason }, TOKENS.operator, 422, 'ASSAY_BUNDLE_REFUSED'],
      ['baseline/1:load', { reason }, TOKENS.operator, 422, 'ASSAY_BUNDLE_REFUSED'],
      ['fraud-lgbm/torn:load', { reason }, TOKENS.operator, 422, 'ASSAY_BUNDLE_REFUSED'],
      ['fraud-lgbm/half:load', { reason }, TOKENS.operator, 422, 'ASSAY_BUNDLE_REFUSED'],
      ['fraud-lgbm/1:load', { reason }, TOKENS.operator, 409, 'ASSAY_CHANGE_CONFLICT'],
      ['fraud-lgbm/1:unload', { reason }, TOKENS.operator, 409, 'ASSAY_CHANGE_CONFLICT'],
      ['fraud-lgbm/2:unload', { reason }, TOKENS.operator, 422, 'ASSAY_MODEL_NOT_LOADED'],
      ['fraud-lgbm/1:approve', { reason, digest: 'sha256:1' }, TOKENS.approver, 400, 'ASSAY_SCHEMA_INVALID'],
    ]
    for (const [path, body, token, status, code] of refused) {
      const { status: got, body: problem, text } = await ask(rig, path, body, token)
      t.equal(got, status, `${path}: ${text}`)
      t.match(problem, { code })
    }
    t.same(await namesOf(rig), ['baseline@1', 'fraud-lgbm@1', 'fraud-xgb@1'])
    t.match((await show(rig, '/v1/routes')).body, { revision: 0 })
  })

  await t.test('while one model is loaded payments are answered, and another load waits its turn', async (t) => {
    const loading = ask(rig, 'fraud-lgbm/2:load', { reason })
    const second = await ask(rig, 'fraud-lgbm/2:load', { reason })
    t.match(second.body, { code: 'ASSAY_CHANGE_CONFLICT', detail: /being loaded/ })
    const during = await score(rig)
    t.equal(during.status, 200, during.text)
    const { status, body } = await loading
    t.equal(status, 200)
    t.match(body.change, { revision: 1, effective: true, durable: true })
    t.match(body.models, [{ model: 'fraud-lgbm@1' }, {}, { model: 'fraud-lgbm@2', role: null, state: 'ready' }])
    t.match((await show(rig, '/v1/audit')).body.controls[0], {
      kind: 'load',
      actor: 'operator',
      loaded: ['fraud-lgbm@2'],
    })
  })

  await t.test('it answers once it is routed to; the one before stays warm for a rollback', async (t) => {
    const paying = payMeanwhile(rig)
    await until(() => paying.answers.length > 0, 'the first is answered')
    t.equal((await ask(rig, 'routes', { champion: 'fraud-lgbm@2', reason })).status, 200)
    t.match((await score(rig)).body, { model: { name: 'fraud-lgbm', version: '2' }, degraded: false })
    t.match((await ask(rig, 'fraud-lgbm/1:unload', { reason })).body, { detail: /rollback/ })
    t.match((await ask(rig, 'fraud-lgbm/2:unload', { reason })).body, { detail: /routes/ })
    t.equal((await ask(rig, 'routes', { share: 1, reason })).status, 200)
    let isOver = false
    rig
      .threads('fraud-lgbm@1')
      .at(-1)
      ?.on('message', (message: ThreadMessage) => {
        isOver ||= message !== 0 && message.kind === 'ended'
      })
    t.equal((await ask(rig, 'fraud-lgbm/1:unload', { reason })).status, 200)
    t.same(await namesOf(rig), ['baseline@1', 'fraud-lgbm@2', 'fraud-xgb@1'])
    await until(() => isOver, 'its thread is done with it')
    await paying.stop()
    const { answers } = paying
    t.same(new Set(answers.map(({ status, body }) => `${status} ${String(body?.degraded)}`)), new Set(['200 false']))
    t.same(new Set(answers.map(({ body }) => String(body?.model.version))), new Set(['1', '2']))
    t.match((await ask(rig, 'routes', { champion: 'fraud-lgbm@1', reason })).body, { code: 'ASSAY_MODEL_NOT_LOADED' })
    t.match((await score(rig)).body, { model: { version: '2' }, degraded: false })
  })

  await t.test('the command says what the server does', async (t) => {
    const token = join(folder, 'token')
    await writeFile(token, `${TOKENS.operator}\n`)
    const reach = ['--url', rig.server.operationsUrl, '--token-file', token]
    const out = t.capture(process.stdout, 'write')
    t.equal(await liveModelCommand(['load', 'fraud-lgbm@3', '--reason', reason, ...reach]), 0)
    t.equal(await liveModelCommand(['status', ...reach]), 0)
    const printed = Buffer.concat(out().map(({ args }) => Buffer.from(args[0]))).toString()
    t.match(printed, /fraud-lgbm@3 +routed to by nothing, ready, closed\n {4}sha256:/)
    t.match(printed, /fraud-lgbm@2 +champion, ready, closed/)
    await t.rejects(liveModelCommand(['unload', 'fraud-lgbm@2', '--reason', reason, ...reach]), {
      code: 'ASSAY_CHANGE_CONFLICT',
    })
    const wrong = [['load'], ['load', 'a@1'], ['load', 'a', '--reason', 'r'], ['approve', 'a@1', '--reason', 'r']]
    for (const args of wrong) {
      await t.rejects(liveModelCommand([...args, ...reach]), { code: 'ASSAY_USAGE' }, args.join(' '))
    }
  })

  await t.test('at most so many are loaded', async (t) => {
    t.equal((await ask(rig, 'fraud-lgbm/1:load', { reason })).status, 200)
    t.match((await ask(rig, 'fraud-lgbm/4:load', { reason })).body, { detail: /at most 4 .*unload one of/ })
    t.equal((await ask(rig, 'fraud-lgbm/1:unload', { reason })).status, 200)
  })

  await t.test('a restart loads it all again', async (t) => {
    await rig.stop()
    const again = await start({ folder, modelsDir, dataDir: rig.dataDir })
    t.teardown(() => again.stop())
    t.same(await namesOf(again), ['baseline@1', 'fraud-lgbm@1', 'fraud-lgbm@2', 'fraud-lgbm@3', 'fraud-xgb@1'])
    t.match((await score(again)).body, { model: { version: '2' }, degraded: false })
    t.match((await show(again, '/v1/routes')).body, { champion: 'fraud-lgbm@2', loaded: { length: 4 } })
  })
})

void t.test('a model without thresholds is loaded, and decides nothing until somebody states some', async (t) => {
  const place = await prepare(t)
  await addVersion(place.modelsDir, 'fraud-lgbm', '2', (manifest) => void delete manifest.thresholds)
  const rig = await start(place)
  t.teardown(() => rig.remove())
  const cutless = 'fraud-lgbm@2'
  t.equal((await ask(rig, 'fraud-lgbm/2:load', { reason })).status, 200)
  const needed = /fraud-lgbm@2|--review-at or --decline-at\) or in the policy/
  const shown = async (from: Rig) => (await modelsOf(from)).find(({ model }) => model === cutless)
  t.match(await shown(rig), { role: null, state: 'ready', refused: needed })
  for (const role of ['champion', 'challenger']) {
    const refused = await ask(rig, 'routes', { [role]: cutless, reason })
    t.match(refused, { status: 409, body: { code: 'ASSAY_CHANGE_CONFLICT', errors: [{ path: `/${role}` }] } })
    t.match(refused.body, { detail: needed })
  }
  t.match((await score(rig)).body, { model: { version: '1' }, degraded: false })

  const folder = await mkdtemp(join(tmpdir(), 'assay-models-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const named = await start({ ...place, folder, champion: cutless })
  t.teardown(() => named.remove())
  const told = named.events.find(({ name }) => name === 'ModelRefused')?.fields
  t.match(told, { model: cutless, fault: { code: 'ASSAY_BUNDLE_REFUSED', message: needed } })
  t.match((await score(named)).body, {
    ...{ model: { role: 'baseline' }, degraded: true },
    fallback: [{ model: cutless, reason: 'not_loaded' }],
  })
  const thresholds = { ...named.config.policy.thresholds, [cutless]: { review_at: 0.2 } }
  const set = await put(named, 'policy', { policy: { ...named.config.policy, thresholds }, reason })
  t.equal(set.status, 200, set.text)
  t.match((await score(named)).body, { model: { version: '2', role: 'champion' }, degraded: false })
  t.notOk((await shown(named))?.refused)
  t.match(await put(named, 'policy', { policy: named.config.policy, reason }), { status: 409 }, 'and it keeps them')
})

void t.test('a model that takes columns of its own answers who asks it, and no payment', async (t) => {
  const place = await prepare(t)
  await addVersion(place.modelsDir, 'fraud-lgbm', '2', (manifest) => {
    manifest.features = manifest.features.map((_, at) => ({ name: `column_${at}` }))
    delete manifest.thresholds
  })
  const rig = await start(place)
  t.teardown(() => rig.remove())
  t.equal((await ask(rig, 'fraud-lgbm/2:load', { reason })).status, 200)
  t.match(await ask(rig, 'routes', { challenger: 'fraud-lgbm@2', share: 100, reason }), {
    ...{ status: 409, body: { errors: [{ path: '/challenger', message: /its columns are its own/ }] } },
  })
  const cuts = { ...rig.config.policy.thresholds, 'fraud-lgbm@2': { review_at: 0.2 } }
  t.equal((await put(rig, 'policy', { policy: { ...rig.config.policy, thresholds: cuts }, reason })).status, 200)
  t.equal((await ask(rig, 'routes', { champion: 'fraud-lgbm@2', reason })).status, 409, 'cuts do not change that')
  const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 15], data: new Array<number>(15).fill(1) }]
  const asked = await rig.send('/v2/models/fraud-lgbm/versions/2/infer', { inputs })
  t.match(asked.body, { model_version: '2', outputs: [{ shape: [1, 1] }, {}] })
  t.match((await score(rig)).body, { model: { version: '1' }, degraded: false })
})

void t.test('where the policy wants approvals, an approver says which bundle may be routed to', async (t) => {
  const place = await prepare(t)
  const folder = await addVersion(place.modelsDir, 'fraud-lgbm', '2')
  const rig = await start({ ...place, approval: 'required' })
  t.teardown(() => rig.remove())
  t.equal((await ask(rig, 'fraud-lgbm/2:load', { reason })).status, 200)
  const digest = (await modelsOf(rig)).find(({ model }) => model === 'fraud-lgbm@2')?.digest
  const wanted = { champion: 'fraud-lgbm@2', reason }
  t.match(await ask(rig, 'routes', wanted), { status: 409, body: { code: 'ASSAY_MODEL_NOT_APPROVED' } })
  const other = `sha256:${'0'.repeat(64)}`
  t.equal((await ask(rig, 'fraud-lgbm/2:approve', { digest: other, reason }, TOKENS.approver)).status, 409)
  const approved = await ask(rig, 'fraud-lgbm/2:approve', { digest, reason }, TOKENS.approver)
  t.equal(approved.status, 200, approved.text)
  t.match(approved.body.models, [{}, {}, { model: 'fraud-lgbm@2', approved: true }])
  t.equal((await ask(rig, 'routes', wanted)).status, 200)
  t.match((await score(rig)).body, { model: { version: '2' } })

  await t.test('a restart refuses another bundle under the approved name', async (t) => {
    await rig.stop()
    await rm(folder, { recursive: true })
    await rm(join(place.modelsDir, 'fraud-lgbm', '1'), { recursive: true })
    const swapped = await addVersion(place.modelsDir, 'fraud-xgb', '2')
    const manifest = JSON.parse(await readFile(join(swapped, 'manifest.json'), 'utf8')) as object
    await rename(swapped, folder)
    await writeFile(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, name: 'fraud-lgbm' }))
    const again = await start({ ...place, dataDir: rig.dataDir, approval: 'required' })
    t.teardown(() => again.stop())
    const refused = again.events.find(({ name, fields }) => name === 'ModelRefused' && fields.model === 'fraud-lgbm@2')
    t.match(String((refused?.fields.fault as Error | undefined)?.message), /approved was sha256:/)
    t.match((await score(again)).body, { model: { role: 'baseline' }, degraded: true })
  })
})
