// The codec of the Open Inference Protocol: every numeric datatype, flat, nested and as bytes, is read as what was
// meant; whatever does not fit is refused with its code and its place; no bytes make it throw.
import fc from 'fast-check'
import t from 'tap'
import { type InferRequest, parseInferRequest } from '../../src/contract/inference-request.js'
import { type Datatype, DATATYPES } from '../../src/contract/inference-tensor.js'
import { isRejection } from '../../src/contract/problem.js'
import { type ErrorCode, type Rejection } from '../../src/errors.js'
import { LIMITS } from '../../src/limits.js'

t.setTimeout(120_000)

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
t.comment(`FUZZ_SEED=${seed}`)

/** How a number is written as bytes, and which numbers a datatype has. */
const KINDS: Record<
  Datatype,
  { bytes: number; values: fc.Arbitrary<number>; readonly write: (view: DataView, value: number) => void }
> = {
  BOOL: { bytes: 1, values: fc.integer({ min: 0, max: 1 }), write: (view, value) => view.setUint8(0, value) },
  UINT8: { bytes: 1, values: fc.integer({ min: 0, max: 255 }), write: (view, value) => view.setUint8(0, value) },
  UINT16: {
    bytes: 2,
    values: fc.integer({ min: 0, max: 65_535 }),
    write: (view, value) => view.setUint16(0, value, true),
  },
  UINT32: { bytes: 4, values: fc.nat(2 ** 32 - 1), write: (view, value) => view.setUint32(0, value, true) },
  UINT64: { bytes: 8, values: fc.maxSafeNat(), write: (view, value) => view.setBigUint64(0, BigInt(value), true) },
  INT8: { bytes: 1, values: fc.integer({ min: -128, max: 127 }), write: (view, value) => view.setInt8(0, value) },
  INT16: {
    bytes: 2,
    values: fc.integer({ min: -32_768, max: 32_767 }),
    write: (view, value) => view.setInt16(0, value, true),
  },
  INT32: { bytes: 4, values: fc.integer(), write: (view, value) => view.setInt32(0, value, true) },
  INT64: { bytes: 8, values: fc.maxSafeInteger(), write: (view, value) => view.setBigInt64(0, BigInt(value), true) },
  FP16: { bytes: 2, values: halves(), write: (view, value) => view.setUint16(0, halfBits(value), true) },
  FP32: {
    bytes: 4,
    values: fc.float({ noDefaultInfinity: true }),
    write: (view, value) => view.setFloat32(0, value, true),
  },
  FP64: {
    bytes: 8,
    values: fc.double({ noDefaultInfinity: true }),
    write: (view, value) => view.setFloat64(0, value, true),
  },
}

/** Every finite half there is, by its definition; bits → number. */
function halfOf(bits: number): number {
  const [sign, exponent, fraction] = [bits >>> 15 === 0 ? 1 : -1, (bits >>> 10) & 31, bits & 1023]
  return sign * (exponent === 0 ? fraction / 1024 : 1 + fraction / 1024) * 2 ** (Math.max(exponent, 1) - 15)
}
function halves(): fc.Arbitrary<number> {
  return fc
    .integer({ min: 0, max: 65_535 })
    .filter((bits) => ((bits >>> 10) & 31) < 31)
    .map(halfOf)
}
const HALF_BITS = new Map(
  Array.from({ length: 65_536 }, (_, bits) => [halfOf(bits), bits] as const).filter(
    ([, bits]) => ((bits >>> 10) & 31) < 31,
  ),
)
function halfBits(value: number): number {
  return Object.is(value, -0) ? 0x8000 : (HALF_BITS.get(value) ?? 0x7e00)
}

function bytesOf(datatype: Datatype, values: readonly number[]): Buffer {
  const { bytes, write } = KINDS[datatype]
  const made = Buffer.alloc(values.length * bytes)
  values.forEach((value, at) => write(new DataView(made.buffer, made.byteOffset + at * bytes, bytes), value))
  return made
}

function body(head: object, ...tensors: Buffer[]): [Buffer, number] {
  const json = Buffer.from(JSON.stringify(head))
  return [Buffer.concat([json, ...tensors]), json.length]
}

const parse = (head: unknown): InferRequest | Rejection =>
  parseInferRequest(Buffer.from(JSON.stringify(head)), null, LIMITS)

void t.test('each datatype is read alike flat, nested and as bytes', (t) => {
  for (const datatype of DATATYPES) {
    const rows = fc.array(fc.array(KINDS[datatype].values, { minLength: 3, maxLength: 3 }), {
      minLength: 1,
      maxLength: 6,
    })
    fc.assert(
      fc.property(rows, (nested) => {
        const flat = nested.flat()
        const shown = (value: number) => (datatype === 'BOOL' ? value === 1 : Number.isNaN(value) ? null : value)
        const tensor = { name: 'x', datatype, shape: [nested.length, 3] }
        const [bytes, jsonBytes] = body(
          { inputs: [{ ...tensor, parameters: { binary_data_size: flat.length * KINDS[datatype].bytes } }] },
          bytesOf(datatype, flat),
        )
        const read = [
          parse({ inputs: [{ ...tensor, data: flat.map(shown) }] }),
          parse({ inputs: [{ ...tensor, data: nested.map((row) => row.map(shown)) }] }),
          parseInferRequest(bytes, jsonBytes, LIMITS),
        ]
        return read.every((one) => {
          if (isRejection(one)) throw new Error(one.detail)
          // JSON has no negative zero.
          return one.inputs[0].elements.every((value, at) => Object.is(value + 0, flat[at] + 0))
        })
      }),
      { seed, numRuns: 200 },
    )
    t.pass(datatype)
  }
  t.end()
})

void t.test('JSON for a narrow float is rounded to it, ties to even, and not beyond it', (t) => {
  const read = (datatype: Datatype, data: unknown[]) =>
    parse({ inputs: [{ name: 'x', datatype, shape: [1, data.length], data }] })
  const values = (datatype: Datatype, data: unknown[]) => [...(read(datatype, data) as InferRequest).inputs[0].elements]
  t.same(values('FP32', [0.1, 16_777_217]), [Math.fround(0.1), 16_777_216])
  t.same(values('FP16', [0.1, 2049, 2051, 6e-8, 65_519, -65_519]), [
    0.0999755859375,
    2048,
    2052,
    2 ** -24,
    65_504,
    -65_504,
  ])
  for (const [datatype, value] of [
    ['FP16', 65_520],
    ['FP32', 3.5e38],
  ] as const) {
    t.match(read(datatype, [value]), { code: 'ASSAY_TENSOR_INVALID', errors: [{ path: '/inputs/0/data/0' }] })
  }
  const text = '{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1],"data":[1e999]}]}'
  t.match(parseInferRequest(Buffer.from(text), null, LIMITS), { code: 'ASSAY_SCHEMA_INVALID' }, 'infinite in JSON')
  t.end()
})

/** One input of two rows of two columns, with something wrong. */
const tensor = (over: object): object => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, 4], ...over }],
})

const WRONG: readonly (readonly [what: string, head: unknown, code: ErrorCode, path: string])[] = [
  ['no inputs', { inputs: [] }, 'ASSAY_SCHEMA_INVALID', '/inputs'],
  ['an unknown key', { ...tensor({}), inptus: [] }, 'ASSAY_SCHEMA_INVALID', '/inptus'],
  ['text', tensor({ datatype: 'BYTES', data: ['a', 'b', 'c', 'd'] }), 'ASSAY_SCHEMA_INVALID', '/inputs/0/datatype'],
  ['a negative dimension', tensor({ shape: [-1, 2] }), 'ASSAY_SCHEMA_INVALID', '/inputs/0/shape/0'],
  ['a fraction as dimension', tensor({ shape: [1.5, 2] }), 'ASSAY_SCHEMA_INVALID', '/inputs/0/shape/0'],
  [
    'dimensions that overflow',
    tensor({ shape: [2 ** 53 - 1, 2 ** 53 - 1] }),
    'ASSAY_TENSOR_INVALID',
    '/inputs/0/shape',
  ],
  ['dimensions that wrap to a few', tensor({ shape: [2 ** 32, 2 ** 32] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/shape'],
  ['no row', tensor({ shape: [0, 2], data: [] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/shape'],
  ['too few elements', tensor({ data: [1, 2, 3] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/data'],
  ['too many elements', tensor({ data: [1, 2, 3, 4, 5] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/data'],
  ['another nesting', tensor({ data: [[1], [2], [3], [4]] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/data'],
  ['ragged rows', tensor({ data: [[1, 2], [3]] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/data'],
  ['flat and nested', tensor({ data: [[1, 2], 3, 4] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/data'],
  ['a text among numbers', tensor({ data: [1, 2, '3', 4] }), 'ASSAY_SCHEMA_INVALID', '/inputs/0/data/2'],
  [
    'a fraction as integer',
    tensor({ datatype: 'INT32', data: [1, 2, 3, 4.5] }),
    'ASSAY_TENSOR_INVALID',
    '/inputs/0/data/3',
  ],
  [
    'an integer out of range',
    tensor({ datatype: 'UINT8', data: [1, 2, 3, 256] }),
    'ASSAY_TENSOR_INVALID',
    '/inputs/0/data/3',
  ],
  [
    'a negative unsigned',
    tensor({ datatype: 'UINT64', data: [1, 2, 3, -1] }),
    'ASSAY_TENSOR_INVALID',
    '/inputs/0/data/3',
  ],
  ['beyond 2^53', tensor({ datatype: 'INT64', data: [1, 2, 3, 2 ** 53] }), 'ASSAY_TENSOR_INVALID', '/inputs/0/data/3'],
  [
    'a number as truth',
    tensor({ datatype: 'BOOL', data: [true, false, true, 1] }),
    'ASSAY_TENSOR_INVALID',
    '/inputs/0/data/3',
  ],
  ['data and bytes', tensor({ parameters: { binary_data_size: 16 } }), 'ASSAY_TENSOR_INVALID', '/inputs/0'],
  ['neither', tensor({ data: undefined }), 'ASSAY_TENSOR_INVALID', '/inputs/0'],
  ['an id of a card', { ...tensor({}), id: '4111111111111111' }, 'ASSAY_CARD_DATA_REFUSED', '/parameters'],
  [
    'a transaction_id of a card',
    { ...tensor({}), parameters: { transaction_id: '4111 1111 1111 1111' } },
    'ASSAY_CARD_DATA_REFUSED',
    '/parameters',
  ],
  [
    'an empty transaction_id',
    { ...tensor({}), parameters: { transaction_id: '' } },
    'ASSAY_SCHEMA_INVALID',
    '/parameters/transaction_id',
  ],
  [
    'an entity that hides',
    { ...tensor({}), parameters: { entity: ['a', 'b\u0000'] } },
    'ASSAY_SCHEMA_INVALID',
    '/parameters/entity',
  ],
]

void t.test('whatever is wrong with a request is refused with its code and its place', (t) => {
  for (const [what, head, code, path] of WRONG) t.match(parse(head), { code, errors: [{ path }] }, what)
  t.notOk(isRejection(parse(tensor({}))), 'and the same without it is taken')
  t.match(parseInferRequest(Buffer.from('{'), null, LIMITS), { code: 'ASSAY_BODY_MALFORMED' })
  t.match(parseInferRequest(Buffer.from('{"inputs":[],"inputs":[]}'), null, LIMITS), { code: 'ASSAY_BODY_MALFORMED' })
  const hidden = parse({ ...tensor({}), '4111111111111111': 1 }) as Rejection
  t.notMatch(JSON.stringify(hidden), /4111/, 'a key is not repeated where it could be a card')
  t.end()
})

void t.test('bytes that do not belong to a tensor, and tensors without their bytes, are refused', (t) => {
  const head = (size: number, datatype = 'FP32') => ({
    inputs: [{ name: 'x', datatype, shape: [1, 2], parameters: { binary_data_size: size } }],
  })
  const ask = (size: number, bytes: Buffer, datatype?: string) =>
    parseInferRequest(...body(head(size, datatype), bytes), LIMITS)
  t.notOk(isRejection(ask(8, Buffer.alloc(8))))
  const size = { code: 'ASSAY_TENSOR_INVALID', errors: [{ path: '/inputs/0/parameters/binary_data_size' }] }
  t.match(ask(8, Buffer.alloc(7)), size, 'fewer bytes than it says')
  t.match(ask(7, Buffer.alloc(7)), size, 'fewer bytes than its shape takes')
  t.match(
    ask(8, Buffer.alloc(9)),
    { code: 'ASSAY_TENSOR_INVALID', errors: [{ path: '/inputs' }] },
    'bytes of no tensor',
  )
  const infinite = bytesOf('FP32', [1, Infinity])
  t.match(ask(8, infinite), { code: 'ASSAY_TENSOR_INVALID', errors: [{ path: '/inputs/0/data/1' }] })
  t.match(ask(2, Buffer.from([1, 2]), 'BOOL'), { code: 'ASSAY_TENSOR_INVALID', errors: [{ path: '/inputs/0/data/1' }] })
  const [bytes, jsonBytes] = body(head(8), Buffer.alloc(8))
  const beyond = parseInferRequest(bytes, bytes.length + 1, LIMITS)
  t.match(beyond, { code: 'ASSAY_HEADER_INVALID', errors: [{ path: '/headers/inference-header-content-length' }] })
  t.match(parseInferRequest(bytes, jsonBytes - 1, LIMITS), { code: 'ASSAY_BODY_MALFORMED' }, 'a JSON text cut short')
  t.match(parseInferRequest(bytes, 0, LIMITS), { code: 'ASSAY_BODY_MALFORMED' }, 'no JSON at all')
  t.end()
})

void t.test('no bytes and no JSON make the codec throw, and what is taken has as many elements as it says', (t) => {
  const anyTensor = fc.record(
    {
      name: fc.string(),
      shape: fc.array(fc.oneof(fc.nat(4), fc.integer(), fc.maxSafeNat()), { maxLength: 4 }),
      datatype: fc.oneof(fc.constantFrom(...DATATYPES), fc.string()),
      data: fc.oneof(fc.array(fc.oneof(fc.double(), fc.integer(), fc.boolean())), fc.jsonValue()),
      parameters: fc.oneof(fc.record({ binary_data_size: fc.integer({ min: -1, max: 64 }) }), fc.jsonValue()),
    },
    { requiredKeys: [] },
  )
  const anyRequest = fc.oneof(
    fc.jsonValue(),
    fc.record(
      { inputs: fc.array(anyTensor, { maxLength: 3 }), parameters: fc.jsonValue(), outputs: fc.jsonValue() },
      { requiredKeys: ['inputs'] },
    ),
  )
  fc.assert(
    fc.property(anyRequest, fc.uint8Array({ maxLength: 64 }), fc.option(fc.nat(200)), (head, rest, jsonBytes) => {
      const json = Buffer.from(JSON.stringify(head))
      for (const given of [jsonBytes, json.length, null]) {
        const read = parseInferRequest(Buffer.concat([json, rest]), given, LIMITS)
        if (isRejection(read)) {
          if (read.detail === '' || read.errors.length === 0) return false
        } else if (read.inputs.some(({ shape, elements }) => shape.reduce((a, b) => a * b, 1) !== elements.length))
          return false
      }
      return true
    }),
    { seed, numRuns: 3_000 },
  )
  t.pass('none did')
  t.end()
})
