// The full form: thousands of made-up requests against the OpenAPI document of the score listener. Fails where
// schemathesis finds anything, or sends fewer than 5,000. npm run proof:openapi writes bench/results/openapi.txt.
import { packageRoot } from '../../src/config.js'
import { checkOpenApi } from './openapi.js'

const CASES_MIN = 5_000
const seed = Number(process.env['SEED'] ?? 20_261_128)

const { code, cases, scored } = await checkOpenApi(300, {
  seed,
  onLine: (line) => console.log(line.replace(packageRoot, '.')),
})
const enough = cases >= CASES_MIN ? 'at least' : 'fewer than'
console.log(`${cases} requests, ${enough} ${CASES_MIN}; seed ${seed}; exit code of schemathesis ${code}`)
console.log(`${scored} requests of /v2 got as far as scores`)
process.exitCode = code === 0 && cases >= CASES_MIN ? 0 : 1
