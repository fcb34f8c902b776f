// What the JSON Schema of a policy cannot say: names that clash, patterns that do not compile, fields that would hold
// card data, a base currency without a rate. Pure; the catalogue's own sense is checked where it is compiled.
import type { InputFault } from '../errors.js'
import { isCardDataName } from './card-data.js'
import { compileCurrencies } from './money.js'
import type { Policy } from './policy.js'
import type { FieldSpec } from './transaction.js'
import { CORE_FIELDS } from './transaction-schema.js'

/** Names that mean something else wherever a field may be named. */
const RESERVED = new Set<string>([
  ...CORE_FIELDS,
  'amount',
  'amount_base',
  'fraud',
  'approved',
  'source',
  'kind',
  'known_at',
  'labels',
])

/** Every fault of a policy that fits its schema. */
export function policyFaults(policy: Policy): InputFault[] {
  const faults: InputFault[] = []
  const seen = new Set<string>()
  policy.schema.fields.forEach((field, index) => {
    const path = `/policy/schema/fields/${index}`
    if (seen.has(field.name)) faults.push({ path: `${path}/name`, message: 'declared once' })
    seen.add(field.name)
    faults.push(...fieldFaults(field, path))
  })
  try {
    compileCurrencies(policy.currencies)
  } catch (error) {
    faults.push({
      path: '/policy/currencies',
      message: error instanceof Error ? error.message : 'currencies that compile',
    })
  }
  faults.push(...routesFaults(policy))
  return faults
}

function fieldFaults(field: FieldSpec, path: string): InputFault[] {
  const faults: InputFault[] = []
  const add = (key: string, message: string) => faults.push({ path: `${path}/${key}`, message })
  if (RESERVED.has(field.name)) add('name', 'a name that is not taken by the core')
  if (isCardDataName(field.name)) add('name', 'never CVV, PIN or track data')
  if (field.entity === true && field.type !== 'string') add('entity', 'only for strings')
  if (field.identifier !== undefined) {
    if (field.type !== 'string') add('identifier', 'only for strings')
    if (!isWholePattern(field.identifier)) add('identifier', 'a regular expression from ^ to $')
  }
  return faults
}

function isWholePattern(pattern: string): boolean {
  if (!pattern.startsWith('^') || !pattern.endsWith('$')) return false
  try {
    return new RegExp(pattern) instanceof RegExp
  } catch {
    return false
  }
}

function routesFaults(policy: Policy): InputFault[] {
  const { sticky_by: stickyBy, share, challenger } = policy.routes
  const faults: InputFault[] = []
  const isField = policy.schema.fields.some((field) => field.name === stickyBy && field.entity === true)
  if (!isField && stickyBy !== 'transaction_id') {
    faults.push({ path: '/policy/routes/sticky_by', message: 'a declared entity field, or transaction_id' })
  }
  if (share > 0 && challenger === null)
    faults.push({ path: '/policy/routes/share', message: '0 where there is no challenger' })
  return faults
}
