// What the JSON Schema of a policy cannot say: names that clash, patterns that do not compile, fields that would hold
// card data, a base currency without a rate, segments of values that no transaction has. Pure; the catalogue's own
// sense is checked where it is compiled.
import type { InputFault } from '../errors.js'
import { LIMITS } from '../limits.js'
import { holdsCardData, isCardDataName } from './card-data.js'
import { compileCurrencies } from './money.js'
import type { Policy, Segment } from './policy.js'
import { rulesFaults } from './rules-check.js'
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
  faults.push(...routesFaults(policy), ...segmentsFaults(policy), ...rulesFaults(policy))
  if (Buffer.byteLength(JSON.stringify(policy)) > LIMITS.policyBytesMax) {
    faults.push({ path: '/policy', message: `a policy of at most ${LIMITS.policyBytesMax} bytes as JSON` })
  }
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

function segmentsFaults(policy: Policy): InputFault[] {
  const faults: InputFault[] = []
  const seen = new Set<string>()
  const segments = policy.governance?.segments ?? []
  segments.forEach((segment, index) => {
    const path = `/policy/governance/segments/${index}`
    if (seen.has(segment.name)) faults.push({ path: `${path}/name`, message: 'declared once' })
    seen.add(segment.name)
    faults.push(...segmentFaults(segment, policy, path))
  })
  return faults
}

function segmentFaults({ field, values }: Segment, policy: Policy, path: string): InputFault[] {
  const spec = policy.schema.fields.find(({ name }) => name === field)
  if (spec === undefined && field !== 'currency')
    return [{ path: `${path}/field`, message: 'a declared field, or currency' }]
  // The policy stands in the log in clear and for ever: a person's own value could not be erased there.
  if (spec?.sensitive === true) return [{ path: `${path}/field`, message: 'a field that is not sensitive' }]
  const faults: InputFault[] = []
  values.forEach((value, index) => {
    const message = spec === undefined ? currencyFault(value, policy) : valueFault(value, spec)
    if (message !== null) faults.push({ path: `${path}/values/${index}`, message })
  })
  return faults
}

function currencyFault(value: Segment['values'][number], { currencies }: Policy): string | null {
  if (typeof value !== 'string' || !/^[A-Z]{3}$/.test(value)) return 'three capital letters by ISO 4217'
  return currencies.unlisted === 'refuse' && !Object.hasOwn(currencies.list, value) ? 'a currency of the list' : null
}

function valueFault(value: Segment['values'][number], { type, identifier }: FieldSpec): string | null {
  const isOfType = type === 'integer' ? Number.isInteger(value) : typeof value === type
  if (!isOfType) return `of the type of the field: ${type}`
  return typeof value === 'string' && identifier === undefined && holdsCardData(value) ? 'never card data' : null
}
