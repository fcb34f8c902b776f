// Execution providers on a whole server, on a machine without CUDA: it does not start on what is missing, or serves on
// the CPU and says so wherever it says what runs.
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import { AssayError } from '../../src/errors.js'
import { absenceOf, machineFacts } from '../../src/models/providers.js'
import { verifyDecisions } from '../../src/scoring/verify-decision.js'
import { startRig } from './server-rig.js'

t.setTimeout(180_000)

const skip = absenceOf('cuda', machineFacts()) !== null ? false : 'CUDA is here'
const MISSING = /cuda needs libonnxruntime_providers_shared\.so and libonnxruntime_providers_cuda\.so in .*install\.js/

void t.test('a server whose models are to run on what is missing does not start, and names it', { skip }, async (t) => {
  const started = startRig({
    edit({ process, policy }) {
      process.providers = { ...process.providers, models: { [policy.routes.champion]: ['cuda', 'cpu'] } }
    },
  })
  const error = await started.then(
    async (rig) => void (await rig.remove()),
    (fault: unknown) => fault,
  )
  t.ok(error instanceof AssayError)
  t.match(error, { code: 'ASSAY_PROVIDER_MISSING', message: MISSING })
  t.match(error, { message: /^fraud-lgbm@1: / })
})

void t.test(
  'where the configuration allows it, the CPU answers, and status, metrics and logger say so',
  { skip },
  async (t) => {
    const rig = await startRig({
      edit({ process, policy }) {
        policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
        process.providers = { on_missing: 'cpu', default: ['cpu'], models: { 'fraud-lgbm@1': ['cuda', 'cpu'] } }
      },
    })
    t.teardown(() => rig.remove())
    const pay = { transaction_id: 'p-1', occurred_at: Date.now(), amount_minor: 5_000, currency: 'EUR' }
    const { body } = await rig.score({ ...pay, customer_id: 'c', terminal_id: 't' })
    t.match(body, { model: { name: 'fraud-lgbm' }, degraded: false })
    for (const path of ['/v1/models', '/v1/status']) {
      const { models } = (await rig.operations(path)).body as { models: object[] }
      t.match(models[0], { model: 'fraud-lgbm@1', provider: 'cpu', provider_missing: MISSING }, path)
      t.match(models[1], { model: 'fraud-xgb@1', provider: 'cpu', provider_missing: undefined })
    }
    const { reasons } = (await rig.operations('/v1/status')).body as { reasons: string[] }
    t.match(
      reasons.filter((reason) => reason.includes('on the CPU')),
      [/^fraud-lgbm@1: on the CPU, since cuda needs/],
    )
    const lanes = await rig.metric('assay_lane_provider')
    t.same(
      [...lanes],
      [
        ['model="fraud-lgbm@1",provider="cpu"', 1],
        ['model="fraud-xgb@1",provider="cpu"', 1],
      ],
    )
    const loaded = rig.events.find(({ name, fields }) => name === 'ModelLoaded' && fields.model === 'fraud-lgbm@1')
    t.match(loaded?.fields, { provider: 'cpu', provider_missing: MISSING })
    await rig.stop()
    const verdicts: string[] = []
    const places = { directory: rig.logDir, modelsDir: loadConfig({ env: {} }).process.models_dir }
    await verifyDecisions(places, { sinceMs: 0, untilMs: Infinity }, ({ result }) => void verdicts.push(result))
    t.same(verdicts, ['equal'])
  },
)
