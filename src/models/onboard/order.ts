// What a model is fed with: its inputs as they are declared, and which feature stands in which column. The order is
// never guessed: it is said, or stands in the names of the inputs, or somebody at a terminal has confirmed it.
import { nearest } from '../../contract/shape.js'
import { AssayError } from '../../errors.js'
import { type CatalogueFacts, TYPES_FOR } from '../columns.js'
import { dtypesOf, type InputDtype, type ModelInput } from '../inputs.js'
import type { Declared } from './native.js'

/** An input as declared; its columns are null where the model leaves them open. */
export interface DeclaredInput extends Omit<ModelInput, 'columns'> {
  readonly columns: number | null
}

/** Where an order comes from. */
export type OrderSource = 'features' | 'rows' | 'catalogue' | 'inputs' | 'confirmed' | 'own'

export interface FeatureOrder {
  readonly names: readonly string[]
  readonly from: OrderSource
  readonly inputs: readonly ModelInput[]
  /** What is known of these names: by the catalogue, or by the model alone. */
  readonly facts: CatalogueFacts
}

export interface OrderOptions {
  readonly features: readonly string[] | null
  readonly fromRows: boolean
  readonly catalogueOrder: boolean
  /** The columns are the model's own, whatever they are called. */
  readonly ownColumns: boolean
}

export interface OrderDeps {
  readonly facts: CatalogueFacts
  /** Names of the columns of the rows; null without rows. */
  readonly header: readonly string[] | null
  /** Asks somebody at a terminal; null where there is none. */
  readonly confirm: ((question: string) => Promise<boolean>) | null
}

const DTYPES: readonly string[] = ['float32', 'float64', 'int64'] satisfies InputDtype[]

function isDtype(type: string): type is InputDtype {
  return DTYPES.includes(type)
}

/** The inputs that rows can be fed into. Throws ASSAY_BUNDLE_REFUSED naming each that cannot, and what to export. */
export function declaredInputs(declared: readonly Declared[]): DeclaredInput[] {
  const faults: string[] = []
  const inputs: DeclaredInput[] = []
  for (const each of declared) {
    const { name } = each
    if (!each.isTensor) faults.push(`input ${name} is no tensor`)
    else if (!isDtype(each.type)) {
      const how = each.type === 'string' ? 'encode it before: a category feature gives numbers' : 'export one of these'
      faults.push(`input ${name} is ${each.type}; ${DTYPES.join(', ')} are allowed: ${how}`)
    } else {
      const [rows, width, ...more] = each.shape
      const shape = `[${each.shape.join(', ')}]`
      if (each.shape.length > 0 && (each.shape.length === 1 || more.length > 0 || width === 0)) {
        faults.push(`input ${name} has shape ${shape}; [N, features] is allowed`)
      } else if (typeof rows === 'number') {
        faults.push(`input ${name} has shape ${shape}: it takes ${rows} rows; export it with N free (dynamic axes)`)
      } else inputs.push({ name, dtype: each.type, columns: typeof width === 'number' ? width : null })
    }
  }
  if (declared.length === 0) faults.push('it has no input')
  if (faults.length > 0) throw new AssayError('ASSAY_BUNDLE_REFUSED', faults.join('; '))
  return inputs
}

/** Decides the order. Throws ASSAY_USAGE where nothing says it, or what says it does not fit the model. */
export async function decideOrder(
  inputs: readonly DeclaredInput[],
  options: OrderOptions,
  deps: OrderDeps,
): Promise<FeatureOrder> {
  const width = inputs.reduce((sum, { columns }) => (columns === null ? NaN : sum + columns), 0)
  if (options.ownColumns) return ownOrder(inputs, options.features, width)
  const { names, from } = statedOrder(inputs, options, deps) ?? (await confirmedOrder(width, deps))
  checkNames(names, deps.facts.names)
  const filled = fillColumns(inputs, names, width)
  checkTypes(filled, names, deps.facts)
  return { names, from, inputs: filled, facts: deps.facts }
}

/** Columns that no catalogue knows, under the names given or numbered. */
function ownOrder(inputs: readonly DeclaredInput[], given: readonly string[] | null, width: number): FeatureOrder {
  if (given === null && Number.isNaN(width)) {
    throw new AssayError('ASSAY_USAGE', 'the model does not say how many columns it takes; --features names them')
  }
  const names = given ?? Array.from({ length: width }, (_, at) => `column_${at}`)
  const twice = names.find((name, at) => names.indexOf(name) < at)
  if (twice !== undefined) throw new AssayError('ASSAY_USAGE', `${twice} is named twice`)
  const filled = fillColumns(inputs, names, width)
  const facts = { names, featureDigests: [], dtypes: dtypesOf(filled), missing: names.map(() => null) }
  return { names, from: 'own', inputs: filled, facts }
}

/** Types that would lose digits are the gate's question as well; here they can be answered with what to do. */
function checkTypes(inputs: readonly ModelInput[], names: readonly string[], facts: CatalogueFacts): void {
  const dtypes = dtypesOf(inputs)
  const groups = new Map<string, string[]>()
  for (const [at, name] of names.entries()) {
    const has = facts.dtypes[facts.names.indexOf(name)]
    if (TYPES_FOR[dtypes[at]].includes(has)) continue
    const group = `of type ${has}, the model takes ${dtypes[at]}`
    groups.set(group, [...(groups.get(group) ?? []), name])
  }
  if (groups.size === 0) return
  const faults = [...groups].map(([group, members]) => `${members.join(', ')}: ${group}`)
  const how = 'declare that dtype in the catalogue, or export the model with float32 inputs'
  throw new AssayError('ASSAY_BUNDLE_REFUSED', `features would lose digits on the way in: ${faults.join('; ')}; ${how}`)
}

interface Stated {
  readonly names: readonly string[]
  readonly from: OrderSource
}

function statedOrder(inputs: readonly DeclaredInput[], options: OrderOptions, deps: OrderDeps): Stated | null {
  const own = inputs.map(({ name }) => name)
  const isNamed = inputs.every(({ name, columns }) => (columns ?? 1) === 1 && deps.facts.names.includes(name))
  const said = saidOrder(options, deps)
  if (said !== null && isNamed && said.names.join() !== own.join()) {
    throw new AssayError('ASSAY_USAGE', `the inputs are named ${own.join(', ')}; the order said is another`)
  }
  if (said !== null) return said
  // Several inputs of one column are named after what they take, even where a name is wrong.
  const isOfOne = inputs.length > 1 && inputs.every(({ columns }) => (columns ?? 1) === 1)
  return isNamed || isOfOne ? { names: own, from: 'inputs' } : null
}

function saidOrder({ features, catalogueOrder, fromRows }: OrderOptions, { facts, header }: OrderDeps): Stated | null {
  if (features !== null) return { names: features, from: 'features' }
  if (catalogueOrder) return { names: facts.names, from: 'catalogue' }
  return fromRows ? { names: inCatalogue(header ?? [], facts), from: 'rows' } : null
}

function inCatalogue(header: readonly string[], { names }: CatalogueFacts): string[] {
  return header.filter((name) => names.includes(name))
}

async function confirmedOrder(width: number, { facts, header, confirm }: OrderDeps): Promise<Stated> {
  const ofRows = header === null ? [] : inCatalogue(header, facts)
  const offered = ofRows.length === width ? ofRows : facts.names.length === width ? facts.names : null
  const takes = Number.isNaN(width) ? 'The model does not say how many features it takes' : `The model takes ${width}`
  if (offered !== null && confirm !== null) {
    const source = offered === ofRows ? 'the rows' : 'the catalogue'
    const listed = offered.map((name, at) => `  ${String(at).padStart(3)} ${name}`).join('\n')
    if (await confirm(`The model takes ${width} features. In the order of ${source}:\n${listed}\nWas it trained so?`)) {
      return { names: offered, from: 'confirmed' }
    }
  }
  const others = [
    ...(ofRows.length === width ? ['--features-from-rows takes the order of the columns of the rows'] : []),
    ...(facts.names.length === width ? ['--catalogue-order takes that of the catalogue'] : []),
  ]
  const detail = [`${takes}; --features a,b,c or --features-file FILE say which, in its order`, ...others].join('; ')
  throw new AssayError('ASSAY_USAGE', `${detail}; features: ${facts.names.join(', ')}`)
}

function checkNames(names: readonly string[], known: readonly string[]): void {
  const faults = names.flatMap((name, at) => {
    if (names.indexOf(name) < at) return [`${name} is named twice`]
    if (known.includes(name)) return []
    const near = nearest(name, known)
    return [`${name} is no feature of the catalogue${near === null ? '' : `, the nearest is ${near}`}`]
  })
  if (faults.length === 0) return
  throw new AssayError('ASSAY_USAGE', `${faults.join('; ')}; known are ${known.join(', ')}`)
}

function fillColumns(inputs: readonly DeclaredInput[], names: readonly string[], width: number): ModelInput[] {
  const open = inputs.filter(({ columns }) => columns === null).length
  const rest = names.length - inputs.reduce((sum, { columns }) => sum + (columns ?? 0), 0)
  const each = open > 0 ? rest / open : 0
  if (open === 0 ? rest !== 0 : open > 1 ? each !== 1 : each < 1) {
    const takes = Number.isNaN(width) ? `${inputs.length} inputs` : `${width} features`
    throw new AssayError('ASSAY_USAGE', `the model takes ${takes}, ${names.length} are named: ${names.join(', ')}`)
  }
  return inputs.map(({ columns, ...input }) => ({ ...input, columns: columns ?? each }))
}
