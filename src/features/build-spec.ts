// The spec of a replay: a policy file (schema, catalogue, currencies taken from it), a configuration that holds one, or
// a catalogue alone, for which schema and currency are inferred. JSON or YAML. Refuses what does not fit.
import { readFile } from 'node:fs/promises'
import { type Static, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { parse as parseYaml } from 'yaml'
import { type Environment, loadConfig } from '../config.js'
import { Catalogue } from '../contract/catalogue.js'
import { Currencies } from '../contract/policy.js'
import { type FieldSpec, TransactionSchema } from '../contract/transaction.js'
import { AssayError } from '../errors.js'
import { isLabelTest } from './marks.js'

export interface BuildSpec {
  readonly catalogue: Catalogue
  readonly schema: TransactionSchema
  readonly currencies: Currencies
  /** What was inferred, for the report; null where the file said it. */
  readonly inferred: string | null
}

/** That of the configuration in force: the file that ASSAY_CONFIG names, else the defaults. */
export function effectiveSpec(env: Environment): BuildSpec {
  const { catalogue, schema, currencies } = loadConfig({ env }).policy
  return { catalogue, schema, currencies, inferred: null }
}

/**
 * Reads a spec; `currency` is the base where the file is a catalogue alone. Throws ASSAY_INPUT_INVALID with every
 * fault.
 */
export async function readSpec(path: string, currency: string): Promise<BuildSpec> {
  let value: unknown
  try {
    // YAML 1.2 holds JSON.
    value = parseYaml(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new AssayError('ASSAY_INPUT_INVALID', `${path} cannot be read as JSON or YAML`, { cause })
  }
  const whole = member(value, 'policy') ?? value
  const catalogue = member(whole, 'catalogue')
  if (catalogue === undefined) return inferSpec(fit(Catalogue, whole, path), currency)
  return {
    catalogue: fit(Catalogue, catalogue, path),
    schema: fit(TransactionSchema, member(whole, 'schema'), path),
    currencies: fit(Currencies, member(whole, 'currencies'), path),
    inferred: null,
  }
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return Object.entries(value).find(([key]) => key === name)?.[1]
}

function fit<T extends TSchema>(type: T, value: unknown, path: string): Static<T> {
  if (Value.Check(type, value)) return value
  const faults = [...Value.Errors(type, value)].slice(0, 20).map(({ path: at, message }) => ({ path: at, message }))
  const named = faults.map((fault) => `${fault.path || '/'}: ${fault.message}`).join('; ')
  throw new AssayError('ASSAY_INPUT_INVALID', `${path} does not fit: ${named}`, { errors: faults })
}

/** Every field that the catalogue names, with the type that its use asks for. */
function inferSpec(catalogue: Catalogue, currency: string): BuildSpec {
  const fields = new Map<string, FieldSpec>()
  const note = (name: string, type: FieldSpec['type'], entity = false): void => {
    if (name === 'amount' || name === 'currency') return
    const known = fields.get(name)
    if (known === undefined || entity) fields.set(name, { name, type, ...(entity ? { entity } : {}) })
  }
  for (const spec of catalogue.features) {
    if (spec.kind === 'field') note(spec.field, 'number')
    if (spec.kind === 'category') note(spec.field, 'string')
    if (spec.kind !== 'aggregate') continue
    note(spec.entity, 'string', true)
    for (const test of spec.where ?? []) {
      if (isLabelTest(test)) continue
      const sample = Array.isArray(test.value) ? test.value[0] : test.value
      note(test.field, typeof sample === 'boolean' ? 'boolean' : typeof sample === 'number' ? 'number' : 'string')
    }
    if (spec.of !== undefined) note(spec.of, spec.function === 'distinct' ? 'string' : 'number')
  }
  const list = { [currency]: { exponent: 2, rate: 1 } }
  return {
    catalogue,
    schema: { unknown_fields: 'refuse', fields: [...fields.values()] },
    currencies: { base: currency, unlisted: 'refuse', list },
    inferred: `fields ${[...fields.keys()].join(', ')} and ${currency} with two decimals were inferred from the catalogue`,
  }
}
