// What a policy decides by beside the score: conditions, rules, lists of values, and segments with cuts of their own.
// Shapes alone; `rules-check.ts` says what makes sense of them, `decision/` compiles them.
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { LIMITS } from '../limits.js'
import { type Action, ACTIONS } from './decision.js'
import { Thresholds } from './manifest.js'

/** Of rules, lists and segments. */
export const PolicyName = Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,63}$' })

/** Tests in the words of the catalogue's `where`, and three more. */
export const OPS = ['eq', 'ne', 'in', 'lt', 'le', 'gt', 'ge', 'in_list', 'present', 'absent'] as const
export type Op = (typeof OPS)[number]

/** What is known of the answer when rules are looked at. */
export const ANSWER_FACTS = ['score', 'role', 'degraded', 'model'] as const
export type AnswerFact = (typeof ANSWER_FACTS)[number]

export type Scalar = string | number | boolean
const Scalar = Type.Union([Type.String({ maxLength: LIMITS.stringCharsMax }), Type.Number(), Type.Boolean()])

const asked = {
  op: Type.Union(OPS.map((op) => Type.Literal(op))),
  value: Type.Optional(
    Type.Union([Scalar, Type.Array(Scalar, { minItems: 1, maxItems: LIMITS.segmentValuesMax })], {
      description: 'of the type of what is tested; a list for `in`, the name of one for `in_list`',
    }),
  ),
}

/** One test. On a value that is absent it does not hold, whatever it asks, but for `absent`. */
export type Test = { readonly op: Op; readonly value?: Scalar | readonly Scalar[] } & (
  { readonly field: string } | { readonly feature: string } | { readonly answer: AnswerFact }
)

export type Condition =
  { readonly all: readonly Condition[] } | { readonly any: readonly Condition[] } | { readonly not: Condition } | Test

function oneKey(key: string, schema: TSchema): TSchema {
  return Type.Object({ [key]: schema }, { additionalProperties: false })
}

function test(key: string, schema: TSchema): TSchema {
  return Type.Object({ [key]: schema, ...asked }, { additionalProperties: false })
}

/**
 * Tests joined by `all`, `any` and `not`. `field`: `amount` (major units of the base currency), `amount_minor`,
 * `currency`, or a declared field. `feature`: one of the catalogue, as fed to the models. `answer`: of the model's
 * answer.
 */
export const Condition = Type.Unsafe<Condition>(
  Type.Recursive((This) => {
    const several = Type.Array(This, { minItems: 1, maxItems: LIMITS.conditionTestsMax })
    return Type.Union([
      test('field', Type.String()),
      test('feature', Type.String()),
      test('answer', Type.Union(ANSWER_FACTS.map((fact) => Type.Literal(fact)))),
      ...[oneKey('all', several), oneKey('any', several), oneKey('not', This)],
    ])
  }),
)

const ReasonCode = Type.String({ pattern: '^[a-z][a-z0-9_]{0,63}$' })

/** Decides where it matches, the first of them; `shadow`: is only noted. */
export const Rule = Type.Object(
  {
    id: PolicyName,
    when: Condition,
    action: Type.Unsafe<Action>(Type.Union(ACTIONS.map((action) => Type.Literal(action)))),
    reason: ReasonCode,
    /** What the caller reads beside the code. */
    detail: Type.Optional(Type.String({ minLength: 1, maxLength: LIMITS.ruleDetailCharsMax })),
    state: Type.Union([Type.Literal('enforce'), Type.Literal('shadow')]),
  },
  { additionalProperties: false },
)
export type Rule = Static<typeof Rule>

export const ListEntry = Type.Object(
  {
    value: Type.Union([Type.String({ minLength: 1, maxLength: LIMITS.stringCharsMax }), Type.Number()]),
    /** RFC 3339: from then on it is not on the list any more. Absent: it stays. */
    until: Type.Optional(Type.String({ maxLength: 35 })),
  },
  { additionalProperties: false },
)
export type ListEntry = Static<typeof ListEntry>

/**
 * Values that rules ask for by `in_list`. `sha256`: the values are the 64 hexadecimal digits of SHA-256 over the UTF-8
 * bytes of the value: the only lists that sensitive fields are held against, since a policy stands in the log in clear.
 */
export const ValueList = Type.Object(
  {
    values: Type.Array(ListEntry, { maxItems: LIMITS.listValuesMax }),
    hashed: Type.Optional(Type.Literal('sha256')),
  },
  { additionalProperties: false },
)
export type ValueList = Static<typeof ValueList>

export const ValueLists = Type.Record(PolicyName, ValueList, { additionalProperties: false })

/** Transactions that may have cuts of their own, by their fields alone; the first that matches and has some counts. */
export const ThresholdSegment = Type.Object({ name: PolicyName, when: Condition }, { additionalProperties: false })
export type ThresholdSegment = Static<typeof ThresholdSegment>

/** Cuts of a model version: its own, in place of its manifest's where one is stated, and those of segments. */
export const ModelThresholds = Type.Object(
  { ...Thresholds.properties, by_segment: Type.Optional(Type.Record(PolicyName, Thresholds)) },
  { additionalProperties: false },
)
export type ModelThresholds = Static<typeof ModelThresholds>
