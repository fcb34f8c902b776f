// What an operator asks of a running server: other routes, a ramp, a rollback, models taken out or given back.
// Every fault is named with its path and what is allowed there. It refuses card data in every text, since all of it
// stands in the decision log for good.
import { type Static, type TProperties, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { type InputFault, reject, type Rejection } from '../errors.js'
import { LIMITS } from '../limits.js'
import { holdsCardData } from './card-data.js'
import { childPath, FaultList } from './json.js'
import { Digest } from './manifest.js'
import { ExperimentName, ModelRef, Share } from './policy.js'
import { TIME_MS_MAX, TIME_MS_MIN } from './time.js'

export const Reason = Type.String({
  pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$',
  maxLength: LIMITS.stringCharsMax,
  description: `1 to ${LIMITS.stringCharsMax} characters that say why`,
})

const optional = <Schema extends TSchema>(schema: Schema, description: string) =>
  Type.Optional({ ...schema, description })

/** `PUT /v1/routes`: what is absent stays as it is. */
export const RoutesChange = Type.Object(
  {
    champion: optional(ModelRef, 'name@version of a loaded model'),
    challenger: optional(Type.Union([ModelRef, Type.Null()]), 'name@version of a loaded model, or null for none'),
    share: optional(Share, 'the share of the challenger, an integer from 0 to 10000 (1/10,000)'),
    experiment: optional(ExperimentName, 'letters, digits, . _ -: a new name deals the entities anew'),
    ramp: optional(
      Type.Object(
        {
          then: Type.Array(Share, { minItems: 1, maxItems: LIMITS.rampStepsMax }),
          every_ms: Type.Integer({ minimum: 1_000, maximum: 604_800_000 }),
        },
        { additionalProperties: false },
      ),
      `then: 1 to ${LIMITS.rampStepsMax} rising shares above the first; every_ms: from 1000 to a week`,
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)
export type RoutesChange = Static<typeof RoutesChange>

/** `POST /v1/routes:rollback` and `:resume`, `POST /v1/models/{name}/{version}:load` and `:unload`. */
export const PlainChange = Type.Object({ reason: Reason }, { additionalProperties: false })
export type PlainChange = Static<typeof PlainChange>

/** `POST /v1/routes:force` and `:release`: one model, or everything. */
export const ForceChange = Type.Object(
  {
    model: optional(ModelRef, 'name@version of a loaded model; absent: every model, so that the baseline answers'),
    reason: Reason,
  },
  { additionalProperties: false },
)
export type ForceChange = Static<typeof ForceChange>

/** `POST /v1/models/{name}/{version}:approve`: of the very bundle that was looked at. */
export const ApprovalChange = Type.Object(
  { digest: { ...Digest, description: 'sha256:… as GET /v1/models shows it' }, reason: Reason },
  { additionalProperties: false },
)
export type ApprovalChange = Static<typeof ApprovalChange>

const Fingerprint = Type.String({ pattern: '^[0-9a-f]{32}$', description: '32 hexadecimal digits' })
const Count = Type.Integer({ minimum: 0, description: 'an integer from 0' })
const Instant = Type.Integer({ minimum: TIME_MS_MIN, maximum: TIME_MS_MAX, description: 'epoch milliseconds' })

/**
 * `POST /v1/history`: history was taken in as observed, all of it. `source` names its transactions, as in the header
 * Assay-History; `digest` its labels too.
 */
export const HistoryChange = Type.Object(
  {
    ...{ source: Fingerprint, digest: Fingerprint, transactions: Count, labels: Count },
    /** Event times of the first and the last transaction; between them nothing is missing. */
    ...{ from_ms: Instant, until_ms: Instant },
    reason: Reason,
  },
  { additionalProperties: false },
)
export type HistoryChange = Static<typeof HistoryChange>

/** What a request for a change may carry. */
export type ChangeBody = TSchema & { readonly properties: TProperties; readonly static: { readonly reason: string } }

/** The value as what the schema says, or a rejection that names every fault. */
export function checkChange<Schema extends ChangeBody>(schema: Schema, value: unknown): Static<Schema> | Rejection {
  const faults = new FaultList(LIMITS.faultsMax)
  const members = new Map<string, TSchema>(Object.entries(schema.properties))
  for (const error of Value.Errors(schema, value)) {
    const name = error.path.split('/')[1]
    const known = members.get(name ?? '')
    if (name === undefined) faults.add('', 'a JSON object')
    else if (known === undefined) faults.add(childPath('', name), `one of ${[...members.keys()].join(', ')}`)
    else if (!faults.add(error.path, known.description ?? 'a fit value')) break
  }
  if (faults.list.length > 0) return reject('ASSAY_SCHEMA_INVALID', detailOf(faults.list), faults.list)
  const cards = Object.entries(value as Record<string, unknown>)
    .filter(([, text]) => typeof text === 'string' && holdsCardData(text))
    .map(([name]) => ({ path: `/${name}`, message: 'never a card number' }))
  if (cards.length > 0) return reject('ASSAY_CARD_DATA_REFUSED', detailOf(cards), cards)
  return value as Static<Schema>
}

function detailOf(faults: readonly InputFault[]): string {
  return faults.map(({ path, message }) => `${path === '' ? 'the body' : path}: ${message}`).join('; ')
}
