// What became known about a transaction later: chargebacks, analysts' verdicts, issuers' answers.
// One label or many in one body; either all are taken or every fault of all of them is named. Entities stand beside the
// label under their declared names. Refuses card data as a transaction does.
import { type TProperties, type TSchema, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { reject, type Rejection } from '../errors.js'
import type { Limits } from '../limits.js'
import { holdsCardData, isCardDataName } from './card-data.js'
import { childPath, FaultList } from './json.js'
import { createInstant, isEpochMs, parseRfc3339, TIME_ALLOWED } from './time.js'
import type { TransactionSchema } from './transaction.js'
import { idSchema, TimeSchema } from './transaction-schema.js'

/** A validated label. Key is (transactionId, source, knownAtMs); `kind` fraud or authorisation. */
export interface Label {
  transactionId: string
  kind: 'fraud' | 'authorisation'
  /** fraud: true = fraud, false reverses. authorisation: true = approved by the issuer. */
  value: boolean
  source: string
  knownAtMs: number
  /** Event time and entities where the sender gives them, so that it counts for a transaction no longer held. */
  occurredAtMs: number | null
  /** Values of declared entity fields in the order of the schema's entity fields; null where absent. */
  entities: (string | null)[]
}

export interface LabelValidator {
  /** One label, a list of them, or `{"labels":[…]}`, parsed from JSON. */
  check(value: unknown, nowMs: number): Label[] | Rejection
  /** The JSON Schema of one label, for OpenAPI. */
  readonly schema: TSchema
}

const SOURCE_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$'

/** Compiles the validator; a body holds at most `batchRowsMax` labels. */
export function compileLabels(transaction: TransactionSchema, limits: Limits): LabelValidator {
  const entities = transaction.fields.filter((field) => field.entity === true)
  const schema = labelJsonSchema(entities, limits)
  const checker = TypeCompiler.Compile(schema)
  const names = entities.map((field) => field.name)
  const identifiers = new Map(
    entities.flatMap(({ name, identifier }) =>
      identifier === undefined ? [] : [[name, new RegExp(identifier)] as const],
    ),
  )
  const known = new Map(
    Object.entries(schema.properties).map(([name, { description }]) => [name, description ?? 'a fit value']),
  )

  const checkOne = (input: unknown, path: string, faults: LabelFaults): Label | null => {
    if (!isInput(input)) {
      faults.schema.add(path, 'a JSON object')
      return null
    }
    if (!checker.Check(input)) {
      for (const error of checker.Errors(input)) {
        const name = error.path.slice(1).split('/')[0] ?? ''
        const message = known.get(name) ?? 'a field that a label does not have'
        if (!faults.schema.add(known.has(name) ? `${path}/${name}` : childPath(path, name), message)) break
      }
    }
    searchCardData(input, { path, identifiers, known }, faults)
    return readLabel(input, { path, names, limits, nowMs: faults.nowMs }, faults)
  }
  const check = (value: unknown, nowMs: number): Label[] | Rejection => {
    const wrapped = isInput(value) && Array.isArray(value.labels) && Object.keys(value).length === 1
    const list: unknown = wrapped ? value.labels : value
    const prefix = wrapped ? '/labels' : ''
    const faults: LabelFaults = {
      schema: new FaultList(limits.faultsMax),
      cards: new FaultList(limits.faultsMax),
      nowMs,
    }
    if (!Array.isArray(list)) return finish([checkOne(value, '', faults)], faults)
    if (list.length === 0 || list.length > limits.batchRowsMax) {
      faults.schema.add(prefix, `1 to ${limits.batchRowsMax} labels`)
      return finish([], faults)
    }
    return finish(
      list.map((item, index) => checkOne(item, `${prefix}/${index}`, faults)),
      faults,
    )
  }
  return { check, schema }
}

interface LabelFaults {
  readonly schema: FaultList
  readonly cards: FaultList
  readonly nowMs: number
}

type Input = Record<string, unknown>

function isInput(value: unknown): value is Input {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function labelJsonSchema(entities: TransactionSchema['fields'], limits: Limits) {
  const properties: TProperties = {
    transaction_id: idSchema(),
    kind: Type.Optional(
      Type.Union([Type.Literal('fraud'), Type.Literal('authorisation')], {
        description: 'fraud (default) or authorisation',
      }),
    ),
    fraud: Type.Optional(Type.Boolean({ description: 'true, or false which reverses; for kind fraud only' })),
    approved: Type.Optional(Type.Boolean({ description: 'true or false; for kind authorisation only' })),
    source: Type.String({ pattern: SOURCE_PATTERN, description: 'a name of 1 to 64 letters, digits and . _ : -' }),
    known_at: Type.Union(TimeSchema.anyOf, { description: TIME_ALLOWED }),
    occurred_at: Type.Optional(Type.Union(TimeSchema.anyOf, { description: TIME_ALLOWED })),
  }
  for (const { name, identifier } of entities) {
    const pattern = identifier === undefined ? {} : { pattern: identifier }
    const text = Type.String({ maxLength: limits.stringCharsMax, ...pattern })
    const matching = identifier === undefined ? '' : ' that match the pattern of the policy'
    const description = `a text of at most ${limits.stringCharsMax} characters${matching}, or null`
    properties[name] = Type.Optional(Type.Union([text, Type.Null()], { description }))
  }
  return Type.Object(properties, { additionalProperties: false })
}

interface SearchPlace {
  readonly path: string
  readonly identifiers: ReadonlyMap<string, RegExp>
  readonly known: ReadonlyMap<string, string>
}

/** Labels are flat and refuse what is not declared, so one level is enough: nothing deeper is ever kept or shown. */
function searchCardData(input: Input, place: SearchPlace, faults: LabelFaults): void {
  for (const [name, value] of Object.entries(input)) {
    if (name === 'known_at' || name === 'occurred_at') continue
    const declared = typeof value === 'string' && place.identifiers.get(name)?.test(value) === true
    const text = typeof value === 'string' || typeof value === 'number' ? String(value) : ''
    const badName = !place.known.has(name) && (isCardDataName(name) || holdsCardData(name))
    if (badName || (!declared && holdsCardData(text))) faults.cards.add(childPath(place.path, name), 'no card data')
  }
}

interface LabelPlace {
  readonly path: string
  readonly names: readonly string[]
  readonly limits: Limits
  readonly nowMs: number
}

function readLabel(input: Input, place: LabelPlace, faults: LabelFaults): Label | null {
  const kind = input.kind === 'authorisation' ? 'authorisation' : 'fraud'
  const value = kind === 'fraud' ? input.fraud : input.approved
  const wanted = kind === 'fraud' ? 'fraud' : 'approved'
  const other = kind === 'fraud' ? 'approved' : 'fraud'
  if (typeof value !== 'boolean') faults.schema.add(`${place.path}/${wanted}`, 'true or false')
  if (input[other] !== undefined)
    faults.schema.add(`${place.path}/${other}`, `only with the other kind; this one is ${kind}`)
  const knownAtMs = readTime(input.known_at)
  if (knownAtMs === null) faults.schema.add(`${place.path}/known_at`, TIME_ALLOWED)
  else if (knownAtMs > place.nowMs + place.limits.clockAheadMsMax) {
    faults.schema.add(`${place.path}/known_at`, `at most ${place.limits.clockAheadMsMax} ms ahead of the server`)
  }
  const occurredAtMs = readTime(input.occurred_at)
  if (input.occurred_at !== undefined && occurredAtMs === null)
    faults.schema.add(`${place.path}/occurred_at`, TIME_ALLOWED)
  const { transaction_id: transactionId, source } = input
  if (typeof transactionId !== 'string' || typeof source !== 'string' || knownAtMs === null) return null
  const entities = place.names.map((name) => {
    const entity = input[name]
    return typeof entity === 'string' ? entity : null
  })
  return { transactionId, kind, value: value === true, source, knownAtMs, occurredAtMs, entities }
}

function readTime(value: unknown): number | null {
  const target = createInstant()
  if (typeof value === 'string') return parseRfc3339(value, target) ? target.occurredAtMs : null
  return typeof value === 'number' && isEpochMs(value) ? value : null
}

function finish(labels: readonly (Label | null)[], faults: LabelFaults): Label[] | Rejection {
  const errors = [...faults.cards.list, ...faults.schema.list]
  if (faults.cards.list.length > 0) {
    return reject('ASSAY_CARD_DATA_REFUSED', 'Card numbers, CVV, PIN and track data are never accepted', errors)
  }
  const whole = labels.filter((label) => label !== null)
  if (errors.length > 0 || whole.length !== labels.length) {
    return reject('ASSAY_SCHEMA_INVALID', 'The labels do not fit the schema', errors)
  }
  return whole
}
