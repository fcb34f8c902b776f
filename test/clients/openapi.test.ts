// The short form: some hundred made-up requests hold the score listener against its own OpenAPI document. The full form
// is openapi-full.ts; its output is bench/results/openapi.txt.
import t from 'tap'
import { checkOpenApi } from './openapi.js'
import { hasPython } from './python.js'

t.setTimeout(600_000)

void t.test('the score listener answers as its OpenAPI document says', async (t) => {
  if (!hasPython()) {
    if (process.env['CI'] === 'true') t.fail('not installed: python3 with venv')
    return t.comment('SKIPPED: not installed: python3 with venv')
  }
  const { code, cases, text } = await checkOpenApi(3, { seed: 7 })
  t.equal(code, 0, text)
  t.ok(cases >= 300, `${cases} requests`)
})
