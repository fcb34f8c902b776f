// What is made from the policy: its fingerprint, and the OpenAPI documents.
import t from 'tap'
import { canonicalJson } from '../../src/contract/canonical-json.js'
import { openApiDocument } from '../../src/contract/openapi.js'
import { type Policy, policyDifferences, policyFingerprint } from '../../src/contract/policy.js'
import { ERRORS } from '../../src/errors.js'
import { referencePolicy } from '../reference-policy.js'

void t.test('the fingerprint of a policy ignores routes and the order of keys, nothing else', (t) => {
  const policy = referencePolicy()
  const print = (value: Policy) => policyFingerprint(value).toString('hex')
  const base = print(policy)
  t.equal(print({ ...policy, routes: { ...policy.routes, share: 5000 } }), base)
  t.equal(print(Object.fromEntries(Object.entries(policy).reverse()) as Policy), base)
  t.not(print({ ...policy, clock: 'replay' }), base)
  const segments = [{ name: 'dollars', field: 'currency', values: ['USD'] }]
  t.not(print({ ...policy, governance: { segments } }), base)
  t.equal(print({ ...policy, governance: undefined }), base, 'what is not declared is not in it')
  // RFC 8785, section 3.2.2 and 3.2.3: the examples of that document.
  const sample =
    '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
  const canonical =
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
  t.equal(canonicalJson(JSON.parse(sample)), canonical)
  for (const bad of [NaN, Infinity, '\ud800', undefined, 1n, [undefined]]) t.throws(() => canonicalJson(bad), TypeError)
  t.end()
})

void t.test('differences of two policies are named by path, routes and equal parts left out', (t) => {
  const policy = referencePolicy()
  const other = structuredClone(policy)
  t.same(policyDifferences(policy, other), [])
  other.routes.share = 5000
  t.same(policyDifferences(policy, other), [])
  other.budgets.deadline_ms += 1
  other.thresholds['a/b@1'] = { decline_at: 0.5 }
  other.catalogue.features.pop()
  const last = `/catalogue/features/${policy.catalogue.features.length - 1}`
  const found = ['/budgets/deadline_ms', '/thresholds/a~1b@1', last]
  t.same(policyDifferences(policy, other).sort(), found.sort())
  t.same(policyDifferences(other, policy).sort(), found)
  t.end()
})

void t.test('the OpenAPI documents name every declared field and every rejection, and all references resolve', (t) => {
  const policy = referencePolicy()
  const score = JSON.stringify(openApiDocument(policy, { version: '1', listener: 'score' }))
  const operations = JSON.stringify(openApiDocument(policy, { version: '1', listener: 'operations' }))
  for (const field of policy.schema.fields) t.ok(score.includes(`"${field.name}"`))
  const rejections = Object.entries(ERRORS).filter(([, entry]) => entry.kind === 'rejection')
  for (const [code] of rejections) t.ok((score + operations).includes(code), code)
  for (const text of [score, operations]) {
    const { components } = JSON.parse(text) as { components: { schemas: object } }
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)) t.ok(name in components.schemas, name)
  }
  t.end()
})
