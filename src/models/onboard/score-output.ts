// Which output of a model is its score: judged by what a real run gave, since declared shapes lie. Pure. A probability
// is [N, 2] (column 1), [N, 1] or [N] of floats; everything else is refused with what to export instead.
import { AssayError } from '../../errors.js'
import type { Declared, RanOutput } from './native.js'

export interface ScoreOutput {
  readonly name: string
  readonly column: number
  /** Columns of the output: 1 or more. */
  readonly width: number
}

export interface AskedOutput {
  readonly output: string | undefined
  readonly column: number | undefined
}

interface Candidate {
  readonly name: string
  readonly width: number
  /** Why it cannot be the score by itself; null where it can. */
  readonly refused: string | null
}

/**
 * The score output, named or found. `ran` is what a run of `rows` rows gave for each tensor. Throws
 * ASSAY_BUNDLE_REFUSED naming every output.
 */
export function findScoreOutput(
  declared: readonly Declared[],
  ran: readonly RanOutput[],
  { rows, asked }: { readonly rows: number; readonly asked: AskedOutput },
): ScoreOutput {
  const all = declared.map((each) => candidateOf(each, ran, rows))
  const open = all.filter(({ name, refused }) =>
    asked.output === undefined ? refused === null : name === asked.output,
  )
  const width = (each: Candidate): ScoreOutput => ({ ...each, column: asked.column ?? (each.width === 2 ? 1 : 0) })
  if (asked.output !== undefined) return checked(asked.output, open.map(width)[0], { all, asked })
  const likely = open.length > 1 ? open.filter(({ name }) => /prob/i.test(name)) : open
  if (likely.length === 1) return checked(likely[0].name, width(likely[0]), { all, asked })
  // A column makes an output of several classes usable.
  const classes = all.filter((each) => each.width > 2)
  if (open.length === 0 && asked.column !== undefined && classes.length === 1) {
    return checked(classes[0].name, width(classes[0]), { all, asked })
  }
  if (open.length > 1) {
    throw refuse(`outputs ${open.map(({ name }) => name).join(', ')} could be the score; --output NAME says which`)
  }
  throw refuse(`no output can be the score: ${reasons(all)}`)
}

function checked(
  name: string,
  found: ScoreOutput | undefined,
  { all, asked }: { readonly all: readonly Candidate[]; readonly asked: AskedOutput },
): ScoreOutput {
  if (found === undefined) throw refuse(`there is no output ${name}; it has ${all.map((each) => each.name).join(', ')}`)
  const { refused, width } = all.find((each) => each.name === name) ?? { refused: null, width: 0 }
  if (refused !== null && !(width > 2 && asked.column !== undefined)) throw refuse(`output ${name} ${refused}`)
  if (found.column >= width) throw refuse(`output ${name} has ${width} columns, from 0; there is no ${found.column}`)
  return { name, column: found.column, width }
}

function refuse(detail: string): AssayError {
  return new AssayError('ASSAY_BUNDLE_REFUSED', detail)
}

function reasons(all: readonly Candidate[]): string {
  return all.map(({ name, refused }) => `${name} ${refused}`).join('; ')
}

function candidateOf(declared: Declared, ran: readonly RanOutput[], rows: number): Candidate {
  const { name } = declared
  const none = (refused: string): Candidate => ({ name, width: 0, refused })
  if (!declared.isTensor) {
    return none("is a sequence of maps (ZipMap): export a tensor, skl2onnx with options={'zipmap': False}")
  }
  const found = ran.find((each) => each.name === name)
  const type = found?.type ?? declared.type
  if (type === 'string') return none('is text (a label): export the probabilities as a float tensor')
  if (type !== 'float32' && type !== 'float64') {
    const what = /int|bool/.test(type) ? `${type} (a label)` : type
    return none(`is ${what}: export the probabilities as a float32 or float64 tensor`)
  }
  const [first, width = 1, ...more] = found?.dims ?? []
  const dims = `[${(found?.dims ?? []).join(', ')}]`
  if (first !== rows || more.length > 0 || width === 0) {
    return none(`is ${dims} for ${rows} rows: one score a row is needed, [N], [N, 1] or [N, 2]`)
  }
  if (width > 2) {
    return { name, width, refused: `has ${width} classes: --column C says which of them is fraud, counted from 0` }
  }
  return { name, width, refused: null }
}
