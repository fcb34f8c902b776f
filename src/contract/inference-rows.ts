// Tensors of a request → rows as a model takes them: one row-major block of doubles, the model's input tensors side by
// side. Pure. Invariant: a value goes in only where it loses nothing on the way into the type that the model is fed.
import { type InputFault, type Rejection, reject } from '../errors.js'
import { CARD_DIGITS_MIN, holdsCardData } from './card-data.js'
import type { InferRequest, Tensor, Texts } from './inference-request.js'
import type { Datatype } from './inference-tensor.js'

/** What one column takes. */
export interface ColumnSpec {
  readonly type: 'float32' | 'float64' | 'int64'
  /** Of float32: what it does not hold is rounded, as the server rounds features of its own. */
  readonly isRounded?: boolean
  /** Whether it may be NaN: nothing is known. */
  readonly takesNan: boolean
}

/** An input tensor [rows, columns] as a model takes it. */
export interface TensorSpec {
  readonly name: string
  readonly datatype: Datatype
  readonly columns: readonly ColumnSpec[]
}

export interface Rows {
  readonly count: number
  readonly columns: number
  /** Row-major. */
  readonly values: Float64Array
}

/** Puts the inputs of a request side by side. Every input must be there, once, with as many rows as the others. */
export function layRows(request: InferRequest, specs: readonly TensorSpec[], rowsMax: number): Rows | Rejection {
  const { inputs } = request
  const known = specs.map(({ name }) => name).join(', ')
  const columns = specs.reduce((sum, spec) => sum + spec.columns.length, 0)
  const count = inputs[0].shape[0]
  const seen = new Set<string>()
  for (const [index, tensor] of inputs.entries()) {
    const path = `/inputs/${index}`
    const spec = specs.find(({ name }) => name === tensor.name)
    if (spec === undefined) return refused(`${path}/name`, `the inputs are ${known}`)
    if (seen.has(tensor.name)) return refused(`${path}/name`, 'each input once')
    seen.add(tensor.name)
    const fault = shapeFault(tensor, spec, { count, rowsMax })
    if (fault !== null) return refused(`${path}/shape`, fault)
  }
  const missing = specs.filter(({ name }) => !seen.has(name)).map(({ name }) => name)
  if (missing.length > 0) return refused('/inputs', `${missing.join(', ')} missing`)
  const values = new Float64Array(count * columns)
  let at = 0
  for (const spec of specs) {
    const index = inputs.findIndex(({ name }) => name === spec.name)
    const fault = place(inputs[index], spec, { values, columns, at })
    if (fault !== null) return fault(`/inputs/${index}`)
    at += spec.columns.length
  }
  return { count, columns, values }
}

function refused(path: string, message: string): Rejection {
  return reject('ASSAY_TENSOR_INVALID', `${path}: ${message}`, [{ path, message }])
}

function shapeFault({ shape }: Tensor, spec: TensorSpec, rows: { count: number; rowsMax: number }): string | null {
  const { length } = spec.columns
  if (shape.length !== 2 || shape[1] !== length) return `[rows, ${length}]`
  if (shape[0] > rows.rowsMax) return `at most ${rows.rowsMax} rows`
  return shape[0] === rows.count ? null : `${rows.count} rows, as the first input has`
}

type Fault = (path: string) => Rejection

/** Copies a tensor to its place in the rows; null, or why an element is refused. */
function place(
  { elements }: Tensor,
  { columns }: TensorSpec,
  into: { readonly values: Float64Array; readonly columns: number; readonly at: number },
): Fault | null {
  const width = columns.length
  for (let index = 0, row = 0; index < elements.length; row++) {
    for (let column = 0; column < width; column++, index++) {
      const value = elements[index]
      const message = misfit(value, columns[column])
      if (message !== null) return (path) => refused(`${path}/data/${index}`, message)
      if (isCardNumber(value)) return (path) => cardRefused(`${path}/data/${index}`)
      into.values[row * into.columns + into.at + column] = value
    }
  }
  return null
}

function misfit(value: number, { type, takesNan, isRounded = false }: ColumnSpec): string | null {
  if (Number.isNaN(value)) return takesNan ? null : 'a number: this input takes no missing values'
  if (type === 'float32') {
    const narrow = Math.fround(value)
    if (isRounded) return Math.abs(narrow) < Infinity ? null : 'a number in the range of float32'
    return narrow === value ? null : 'a number that float32 holds without loss'
  }
  if (type === 'int64') return Number.isSafeInteger(value) ? null : 'an integer'
  return null
}

/** Only a whole number of so many digits can be one. */
function isCardNumber(value: number): boolean {
  return value >= 10 ** (CARD_DIGITS_MIN - 1) && Number.isSafeInteger(value) && holdsCardData(String(value))
}

function cardRefused(path: string): Rejection {
  const errors: InputFault[] = [{ path, message: 'never a card number' }]
  return reject('ASSAY_CARD_DATA_REFUSED', `${path}: never a card number`, errors)
}

/** The text of each row, null where there is none; a rejection where there are not as many as rows. */
export function textOfEach(
  texts: Texts,
  count: number,
  { path, isShared }: { readonly path: string; readonly isShared: boolean },
): readonly (string | null)[] | Rejection {
  if (texts === null) return new Array<null>(count).fill(null)
  if (typeof texts === 'string' && (isShared || count === 1)) return new Array<string>(count).fill(texts)
  if (typeof texts !== 'string' && texts.length === count) return texts
  const message = `a list of ${count}, one for each row`
  return reject('ASSAY_SCHEMA_INVALID', `${path}: ${message}`, [{ path, message }])
}
