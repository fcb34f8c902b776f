// Bytes of POST /v2/…/infer → a request whose tensors are numbers. The body is one JSON text, or under
// Inference-Header-Content-Length so many bytes of JSON and behind them the bytes of tensors, in the inputs' order.
// Pure. Faults name their place, never a value; nothing of the bytes is kept.
import { type InputFault, type Rejection, reject } from '../errors.js'
import type { Limits } from '../limits.js'
import { holdsCardData } from './card-data.js'
import { InferRequestBody } from './inference.js'
import { type Elements, elementsOfBytes, elementsOfJson, isElements, type Datatype } from './inference-tensor.js'
import { childPath, parseJson } from './json.js'
import { isRejection } from './problem.js'
import { shapeFaults } from './shape.js'
import { ID_CHARS_MAX, ID_PATTERN } from './transaction-schema.js'

export interface Tensor {
  readonly name: string
  readonly datatype: Datatype
  readonly shape: readonly number[]
  /** Row-major; NaN where nothing is known. */
  readonly elements: Float64Array
}

/** One text for every row, one for each of several rows, or null where none is given. */
export type Texts = string | readonly string[] | null

export interface InferRequest {
  readonly id: string | null
  readonly transactionIds: Texts
  readonly entities: Texts
  /** In the order of the request, so that `/inputs/0` is the first. */
  readonly inputs: readonly Tensor[]
  /** Outputs that are asked for, each as bytes or as JSON; null: all, as JSON or as bytes. */
  readonly outputs: readonly { readonly name: string; readonly isBinary: boolean }[] | null
  readonly isBinary: boolean
}

export type RequestLimits = Pick<
  Limits,
  'jsonDepthMax' | 'faultsMax' | 'inferRowsMax' | 'featuresMax' | 'stringCharsMax'
>

/** `jsonBytes`: of the JSON text that the body begins with; null where it is all of it. */
export function parseInferRequest(
  bytes: Uint8Array,
  jsonBytes: number | null,
  limits: RequestLimits,
): InferRequest | Rejection {
  if (jsonBytes !== null && jsonBytes > bytes.length) {
    const message = `at most the ${bytes.length} bytes of the body`
    return reject('ASSAY_HEADER_INVALID', `Inference-Header-Content-Length: ${message}`, [
      { path: '/headers/inference-header-content-length', message },
    ])
  }
  const parsed = parseJson(jsonBytes === null ? bytes : bytes.subarray(0, jsonBytes), limits)
  if (isRejection(parsed)) return parsed
  const faults = shapeFaults(InferRequestBody, parsed.value).slice(0, limits.faultsMax)
  if (faults.length > 0) return refused('ASSAY_SCHEMA_INVALID', faults.map(shown))
  const body = parsed.value as InferRequestBody
  const { id = null, parameters = {}, outputs = null } = body
  const {
    transaction_id: transactionIds = null,
    entity: entities = null,
    binary_data_output: isBinary = false,
  } = parameters
  const textFault = [
    ...textFaults(transactionIds, 'transaction_id', ID_CHARS_MAX),
    ...textFaults(entities, 'entity', limits.stringCharsMax),
  ]
  if (textFault.length > 0) return refused('ASSAY_SCHEMA_INVALID', textFault)
  if ([id ?? [], transactionIds ?? [], entities ?? []].flat().some(holdsCardData)) {
    return refused('ASSAY_CARD_DATA_REFUSED', [{ path: '/parameters', message: 'never a card number' }])
  }
  const inputs = readTensors(body, bytes.subarray(jsonBytes ?? bytes.length), limits)
  if (isRejection(inputs)) return inputs
  const wished =
    outputs?.map(({ name, parameters: of = {} }) => ({ name, isBinary: of.binary_data ?? isBinary })) ?? null
  return { id, transactionIds, entities, inputs, outputs: wished, isBinary }
}

function refused(
  code: 'ASSAY_SCHEMA_INVALID' | 'ASSAY_TENSOR_INVALID' | 'ASSAY_CARD_DATA_REFUSED',
  errors: InputFault[],
): Rejection {
  const detail = errors.map(({ path, message }) => `${path === '' ? 'the body' : path}: ${message}`).join('; ')
  return reject(code, detail, errors)
}

/** A name that the client made up may itself hold what must not be shown; a place in a list does not. */
function shown({ path, message }: InputFault): InputFault {
  const steps = path.split('/').slice(1)
  const step = (to: string, name: string): string => (/^\d{1,6}$/.test(name) ? `${to}/${name}` : childPath(to, name))
  return { path: steps.reduce(step, ''), message }
}

const PRINTABLE = new RegExp(ID_PATTERN)

function textFaults(texts: Texts, name: string, charsMax: number): InputFault[] {
  const isText = (text: string): boolean => text.length <= charsMax && PRINTABLE.test(text)
  if (texts === null || [texts].flat().every(isText)) return []
  return [{ path: `/parameters/${name}`, message: `a text of 1 to ${charsMax} printable characters` }]
}

function readTensors(body: InferRequestBody, rest: Uint8Array, limits: RequestLimits): Tensor[] | Rejection {
  const valuesMax = limits.inferRowsMax * limits.featuresMax
  const tensors: Tensor[] = []
  let at = 0
  for (const [index, { name, datatype, shape, data, parameters }] of body.inputs.entries()) {
    const fault = (path: string, message: string): Rejection =>
      refused('ASSAY_TENSOR_INVALID', [{ path: `/inputs/${index}${path}`, message }])
    // Multiplied with a stop: a product of large dimensions would not be exact.
    const count = shape.reduce((product, length) => (product > valuesMax ? product : product * length), 1)
    if (count < 1 || count > valuesMax) return fault('/shape', `1 to ${valuesMax} elements`)
    const size = parameters?.binary_data_size
    if ((size === undefined) === (data === undefined)) return fault('', 'either data, or binary_data_size')
    let elements: Elements
    if (data !== undefined) elements = elementsOfJson(datatype, data, { shape, count })
    else {
      const end = at + (size ?? 0)
      if (end > rest.length)
        return fault('/parameters/binary_data_size', `the body has ${rest.length} bytes of tensors`)
      elements = elementsOfBytes(datatype, rest.subarray(at, end), count)
      at = end
    }
    if (!isElements(elements)) {
      const place = data === undefined ? '/parameters/binary_data_size' : '/data'
      return fault(elements.at < 0 ? place : `/data/${elements.at}`, elements.message)
    }
    tensors.push({ name, datatype, shape, elements })
  }
  if (at < rest.length) {
    return refused('ASSAY_TENSOR_INVALID', [
      { path: '/inputs', message: `${rest.length - at} bytes of the body belong to none` },
    ])
  }
  return tensors
}
