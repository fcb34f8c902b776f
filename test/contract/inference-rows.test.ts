// Rows and answers of the Open Inference Protocol: inputs laid out as a model takes them, or refused with their place;
// answers that hold what was asked for.
import fc from 'fast-check'
import t from 'tap'
import { encodeAnswer, outputFault } from '../../src/contract/inference-answer.js'
import { InferAnswerBody } from '../../src/contract/inference.js'
import { type InferRequest, parseInferRequest } from '../../src/contract/inference-request.js'
import { layRows, type TensorSpec, textOfEach } from '../../src/contract/inference-rows.js'
import { isRejection } from '../../src/contract/problem.js'
import { shapeFaults } from '../../src/contract/shape.js'
import type { ErrorCode } from '../../src/errors.js'
import { LIMITS } from '../../src/limits.js'

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
t.comment(`FUZZ_SEED=${seed}`)

function request(head: unknown): InferRequest {
  const parsed = parseInferRequest(Buffer.from(JSON.stringify(head)), null, LIMITS)
  if (isRejection(parsed)) throw new Error(`${parsed.code}: ${parsed.detail}`)
  return parsed
}

const SPECS: readonly TensorSpec[] = [
  {
    name: 'a',
    datatype: 'FP32',
    columns: [
      { type: 'float32', takesNan: true },
      { type: 'float32', takesNan: true },
    ],
  },
  { name: 'b', datatype: 'INT64', columns: [{ type: 'int64', takesNan: false }] },
]
const A = { name: 'a', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, null] }
const B = { name: 'b', datatype: 'INT64', shape: [2, 1], data: [7, 8] }

void t.test('inputs are laid side by side in the order of the model, whatever the order of the request', (t) => {
  for (const inputs of [
    [A, B],
    [B, A],
  ]) {
    t.same(layRows(request({ inputs }), SPECS, 8), {
      count: 2,
      columns: 3,
      values: Float64Array.of(1, 2, 7, 3, NaN, 8),
    })
  }
  const widened = [
    { ...A, datatype: 'UINT8', data: [1, 2, 3, 4] },
    { ...B, datatype: 'FP64' },
  ]
  t.notOk(isRejection(layRows(request({ inputs: widened }), SPECS, 8)), 'other datatypes where nothing is lost')
  t.end()
})

void t.test('what a model does not take is refused with its place', (t) => {
  const cases: readonly (readonly [string, object[], string, ErrorCode?])[] = [
    ['an unknown name', [A, { ...B, name: 'c' }], '/inputs/1/name'],
    ['an input twice', [A, B, A], '/inputs/2/name'],
    ['an input that is missing', [A], '/inputs'],
    ['other columns', [{ ...A, shape: [4, 1] }, B], '/inputs/0/shape'],
    ['one dimension', [{ ...A, shape: [4] }, B], '/inputs/0/shape'],
    ['three dimensions', [{ ...A, shape: [2, 2, 1] }, B], '/inputs/0/shape'],
    ['other rows than the first input', [A, { ...B, shape: [1, 1], data: [7] }], '/inputs/1/shape'],
    ['digits that float32 loses', [{ ...A, datatype: 'FP64', data: [1, 2, 3, 0.1] }, B], '/inputs/0/data/3'],
    ['integers that float32 loses', [{ ...A, datatype: 'INT32', data: [1, 2, 3, 16_777_217] }, B], '/inputs/0/data/3'],
    ['a fraction where integers go', [A, { ...B, datatype: 'FP64', data: [7, 7.5] }], '/inputs/1/data/1'],
    ['nothing known where it must be', [A, { ...B, datatype: 'FP64', data: [7, null] }], '/inputs/1/data/1'],
    ['a card number', [A, { ...B, data: [7, 4_111_111_111_111_111] }], '/inputs/1/data/1', 'ASSAY_CARD_DATA_REFUSED'],
  ]
  for (const [what, inputs, path, code = 'ASSAY_TENSOR_INVALID'] of cases) {
    const refused = layRows(request({ inputs }), SPECS, 8)
    t.match(refused, { code, errors: [{ path }] }, what)
    t.notMatch(JSON.stringify(refused), /4111|16777217/, 'without the value')
  }
  t.match(
    layRows(request({ inputs: [A, B] }), SPECS, 1),
    { errors: [{ path: '/inputs/0/shape' }] },
    'more rows than allowed',
  )
  t.end()
})

void t.test('a text is for one row, or for all where that makes sense, and a list for as many', (t) => {
  const own = { path: '/parameters/transaction_id', isShared: false }
  t.same(textOfEach('a', 1, own), ['a'])
  t.same(textOfEach(['a', 'b'], 2, own), ['a', 'b'])
  t.same(textOfEach(null, 2, own), [null, null])
  for (const texts of ['a', ['a'], ['a', 'b', 'c']]) {
    t.match(textOfEach(texts, 2, own), { code: 'ASSAY_SCHEMA_INVALID', errors: [{ path: own.path }] })
  }
  t.same(textOfEach('e', 2, { path: '/parameters/entity', isShared: true }), ['e', 'e'])
  t.end()
})

void t.test('answers hold what was asked for, as JSON or as bytes, and fit their schema', (t) => {
  const scores = fc.array(fc.double({ noDefaultInfinity: true, noNaN: true }), { minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(scores, fc.boolean(), fc.option(fc.boolean()), (values, byDefault, asked) => {
      const outputs = new Map([
        ['p', Float64Array.from(values)],
        ['p_raw', Float64Array.from(values)],
      ])
      const wish = asked === null ? {} : { outputs: [{ name: 'p', parameters: { binary_data: asked } }] }
      const head = request({ id: 'i', inputs: [A], parameters: { binary_data_output: byDefault }, ...wish })
      const { body: made, jsonBytes } = encodeAnswer(
        { modelName: 'm', modelVersion: '1', parameters: null, outputs },
        head,
      )
      const bytes = Buffer.from(made)
      const json = JSON.parse(bytes.subarray(0, jsonBytes ?? bytes.length).toString()) as {
        outputs: { name: string; data?: number[]; parameters?: { binary_data_size: number } }[]
      }
      if (shapeFaults(InferAnswerBody, json).length > 0) throw new Error('not of its schema')
      const isBinary = asked ?? byDefault
      if (json.outputs.length !== (asked === null ? 2 : 1) || (jsonBytes !== null) !== isBinary) return false
      let at = jsonBytes ?? bytes.length
      return json.outputs.every(({ data, parameters }) => {
        const read = data ?? Array.from({ length: values.length }, (_, i) => bytes.readDoubleLE(at + i * 8))
        at += parameters?.binary_data_size ?? 0
        return read.every((value, i) => value + 0 === values[i] + 0)
      })
    }),
    { seed, numRuns: 500 },
  )
  const wish = (outputs: object[]) => outputFault(request({ inputs: [A], outputs }), [{ name: 'p' }])
  t.equal(wish([{ name: 'p' }]), null)
  t.match(wish([{ name: 'q' }]), { code: 'ASSAY_TENSOR_INVALID', errors: [{ path: '/outputs/0/name' }] })
  t.match(wish([{ name: 'p' }, { name: 'p' }]), { errors: [{ path: '/outputs/1/name' }] })
  t.end()
})
