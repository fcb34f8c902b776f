// Clients of the Open Inference Protocol as they are, against a real server: Triton's, KServe's and curl. Their scores
// are those of the bundle's golden rows; what they sent stands in the log and is recomputed from it.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { QUICK_SERVE } from '../flow/quick.js'
import { startServer } from './clients.js'
import { hasPython, PYTHON_SOURCES, pythonWith, runPython } from './python.js'

t.setTimeout(600_000)

interface Golden {
  readonly rows: (number | null)[][]
  readonly score: number[]
}

const GOLDEN = JSON.parse(readFileSync(join(PYTHON_SOURCES, '../../models/fraud-lgbm/1/golden.json'), 'utf8')) as Golden
/** More than a batch of a lane; NaN is no JSON of Python's to read as a number, so those that are whole. */
const CHOSEN = GOLDEN.rows.flatMap((row, at) => (row.includes(null) ? [] : [at])).slice(0, 40)
const ROWS = CHOSEN.map((at) => GOLDEN.rows[at])
const WANTED = CHOSEN.map((at) => GOLDEN.score[at])
const FEATURES = 22

const isClose = (scores: readonly number[], wanted: readonly number[]): boolean =>
  scores.length === wanted.length && scores.every((score, at) => Math.abs(score - wanted[at]) < 1e-5)

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- what a client saw is looked at field by field
async function seen(name: 'triton' | 'kserve', args: readonly string[]): Promise<any> {
  const { code, text } = await runPython(pythonWith(name), [join(PYTHON_SOURCES, `oip_${name}.py`), ...args])
  if (code !== 0) throw new Error(`the client of ${name} ended with ${code}: ${text}`)
  return JSON.parse(text.trim().split('\n').at(-1) ?? '')
}

const missing = hasPython() ? [] : ['python3 with venv']
if (spawnSync('curl', ['--version']).status !== 0) missing.push('curl')

void t.test('clients of the Open Inference Protocol work unchanged', async (t) => {
  if (missing.length > 0) {
    if (process.env['CI'] === 'true') t.fail(`not installed: ${missing.join(', ')}`)
    return t.comment(`SKIPPED: not installed: ${missing.join(', ')}`)
  }
  // A busy machine misses 8 ms, and then another model answers: that is not what is asked here.
  process.env['ASSAY_POLICY__BUDGETS__DEADLINE_MS'] = '1000'
  const server = await startServer(QUICK_SERVE)
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${server.port}`
  const rows = JSON.stringify(ROWS)

  await t.test("Triton's client: binary by default, JSON, route, index, statistics", async (t) => {
    const saw = await seen('triton', [`127.0.0.1:${server.port}`, rows])
    t.match(saw, { live: true, ready: true, model_ready: true, unknown_ready: false, versioned: '1' })
    t.match(saw.server, { name: 'assay', extensions: ['binary_tensor_data', 'model_repository', 'statistics'] })
    t.match(saw.metadata, {
      ...{ name: 'fraud-lgbm', versions: ['1'], platform: 'onnxruntime_onnx' },
      inputs: [{ name: 'features', datatype: 'FP32', shape: [-1, 15] }],
      outputs: [{ name: 'probabilities', datatype: 'FP64', shape: [-1, 1] }, { name: 'probabilities_raw' }],
    })
    t.same(
      saw.index.map(({ name, state }: { name: string; state: string }) => `${name} ${state}`),
      ['fraud READY', 'fraud-lgbm READY', 'fraud-xgb READY', 'baseline READY'],
    )
    t.ok(isClose(saw.binary, WANTED), 'as the trainer scores them')
    t.same(saw.json, saw.binary)
    t.ok(isClose(saw.raw, WANTED), 'this model gives probabilities, so that its map changes nothing')
    t.match(saw.json_answer, { model_name: 'fraud-lgbm', model_version: '1', id: 'r-7' })
    t.equal(saw.json_answer.outputs.length, 1, 'only what was asked for')
    t.match(saw.route[0], { assay_action: 'approve', assay_model_version: 'fraud-lgbm@1', assay_degraded: false })
    t.same(saw.route[1], saw.route[0], 'a repeat is the same decision')
    t.equal(saw.route_score[1], saw.route_score[0])
    t.equal(new Set(saw.several.assay_decision_id).size, 3, 'of several rows a list')
    t.match(saw.reused, ['422', /transaction_id/], 'other features under the same id')
    t.match(saw.unknown, ['404', /index/])
    t.match(saw.statistics, { inference_count: 2 * ROWS.length + 1, inference_stats: { success: { count: 3 } } })
  })

  await t.test("KServe's client: JSON and binary both ways, route", async (t) => {
    const saw = await seen('kserve', [url, rows, String(FEATURES)])
    t.match(saw, { live: true, ready: true, model_ready: true, unknown_ready: false })
    t.ok(isClose(saw.binary, WANTED))
    t.same(saw.json, saw.binary)
    t.match(saw.route, { assay_action: 'approve', assay_model_version: 'fraud-lgbm@1', assay_degraded: false })
    t.match(saw.route.assay_decision_id, /^d_[a-z2-7]{32}$/)
  })

  await t.test('curl, with nothing but a body', (t) => {
    const curl = (path: string, body: unknown): string => {
      const { stdout } = spawnSync('curl', ['-s', `${url}${path}`, '-d', JSON.stringify(body)], { encoding: 'utf8' })
      return stdout
    }
    const inputs = [{ name: 'features', shape: [ROWS.length, 15], datatype: 'FP32', data: ROWS.flat() }]
    const answer = JSON.parse(curl('/v2/models/fraud-lgbm/versions/1/infer', { id: 'c', inputs })) as {
      readonly outputs: { readonly name: string; readonly data: number[] }[]
    }
    t.match(answer, { model_name: 'fraud-lgbm', model_version: '1', id: 'c' })
    t.ok(isClose(answer.outputs[0].data, WANTED))
    const wrong = JSON.parse(
      curl('/v2/models/fraud-lgbm/infer', { inputs: [{ ...inputs[0], name: 'other' }] }),
    ) as object
    t.match(wrong, { code: 'ASSAY_TENSOR_INVALID', error: /features/, errors: [{ path: '/inputs/0/name' }] })
    t.end()
  })
})
