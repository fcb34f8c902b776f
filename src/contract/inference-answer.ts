// An answer of the Open Inference Protocol as bytes: one JSON text, and behind it the outputs that were asked for as
// bytes (FP64, little-endian) in their order. Pure.
import { type Rejection, reject } from '../errors.js'
import type { InferRequest } from './inference-request.js'

/** One number a row, as a tensor [rows, 1]. */
export interface OutputSpec {
  readonly name: string
}

export interface InferAnswer {
  readonly modelName: string
  /** Null for the route, which has none. */
  readonly modelVersion: string | null
  /** Of the decisions that a route has made. */
  readonly parameters: Readonly<Record<string, unknown>> | null
  /** By the names of the outputs; infinite where a model gave no number (null in JSON). */
  readonly outputs: ReadonlyMap<string, Float64Array>
}

export interface EncodedAnswer {
  readonly body: string | Uint8Array
  /** Bytes of the JSON text that the body begins with; null where it is all of it. */
  readonly jsonBytes: number | null
}

/** What is refused of the outputs that a request asks for: names that there are not, or twice. */
export function outputFault({ outputs }: InferRequest, specs: readonly OutputSpec[]): Rejection | null {
  const seen = new Set<string>()
  for (const [index, { name }] of (outputs ?? []).entries()) {
    const isKnown = specs.some((spec) => spec.name === name)
    const message = isKnown ? 'each output once' : `the outputs are ${specs.map((spec) => spec.name).join(', ')}`
    if (isKnown && !seen.has(name)) seen.add(name)
    else
      return reject('ASSAY_TENSOR_INVALID', `/outputs/${index}/name: ${message}`, [
        { path: `/outputs/${index}/name`, message },
      ])
  }
  return null
}

/** Renders what the request asked for. */
export function encodeAnswer(answer: InferAnswer, request: InferRequest): EncodedAnswer {
  const { modelName, modelVersion, parameters } = answer
  const binary: Uint8Array[] = []
  const all = [...answer.outputs.keys()].map((name) => ({ name, isBinary: request.isBinary }))
  const wished = request.outputs === null || request.outputs.length === 0 ? all : request.outputs
  const outputs = wished.map(({ name, isBinary }) => {
    const values = answer.outputs.get(name) ?? new Float64Array(0)
    const tensor = { name, datatype: 'FP64', shape: [values.length, 1] }
    if (!isBinary) return { ...tensor, data: Array.from(values) }
    const bytes = littleEndian(values)
    binary.push(bytes)
    return { ...tensor, parameters: { binary_data_size: bytes.length } }
  })
  const json = JSON.stringify({
    model_name: modelName,
    ...(modelVersion !== null && { model_version: modelVersion }),
    ...(request.id !== null && { id: request.id }),
    ...(parameters !== null && { parameters }),
    outputs,
  })
  if (binary.length === 0) return { body: json, jsonBytes: null }
  const text = Buffer.from(json)
  return { body: Buffer.concat([text, ...binary]), jsonBytes: text.length }
}

function littleEndian(values: Float64Array): Uint8Array {
  const bytes = Buffer.alloc(values.length * 8)
  values.forEach((value, at) => bytes.writeDoubleLE(value, at * 8))
  return bytes
}
