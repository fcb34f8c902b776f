// reference-profile.json of a bundle: how its features, its score and its actions were distributed in training
// (models/training/README.md). Read as text, checked in full; one that does not hold is refused as a whole.
import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { createNumberBins, type NumberBins } from '../../stats/bins.js'

const Count = Type.Integer({ minimum: 0 })

const Bins = {
  null: Count,
  negative_infinity: Count,
  positive_infinity: Count,
  singles: Type.Array(Type.Object({ value: Type.Number(), count: Count })),
  edges: Type.Array(Type.Number()),
  counts: Type.Array(Count, { minItems: 1 }),
}

const ProfileFile = Type.Object({
  format: Type.Literal(1),
  features: Type.Array(Type.Object({ name: Type.String(), digest: Type.String(), ...Bins })),
  score: Type.Object(Bins),
  actions: Type.Record(Type.String(), Count),
  /** Categorical fields of the transaction; optional, since features do not need them. */
  fields: Type.Optional(
    Type.Array(Type.Object({ name: Type.String(), null: Count, counts: Type.Record(Type.String(), Count) })),
  ),
})
type ProfileFile = Static<typeof ProfileFile>

const check = TypeCompiler.Compile(ProfileFile)

/** A number that a model reads or gives, over its frozen bins. */
export interface ProfiledNumber {
  readonly name: string
  /** Of the feature's definition; empty for the score. */
  readonly digest: string
  readonly bins: NumberBins
  /** By cell of `bins`. */
  readonly counts: Float64Array
}

export interface ProfiledField {
  readonly name: string
  readonly nulls: number
  readonly counts: Readonly<Record<string, number>>
}

export interface ReferenceProfile {
  readonly features: readonly ProfiledNumber[]
  readonly score: ProfiledNumber
  readonly actions: Readonly<Record<string, number>>
  readonly fields: readonly ProfiledField[]
}

/** The profile, or null where the text is none of this format. */
export function parseProfile(text: string): ReferenceProfile | null {
  try {
    const file: unknown = JSON.parse(text)
    if (!check.Check(file)) return null
    return {
      features: file.features.map((each) => profiled(each.name, each.digest, each)),
      score: profiled('score', '', file.score),
      actions: file.actions,
      fields: (file.fields ?? []).map((each) => ({ name: each.name, nulls: each.null, counts: each.counts })),
    }
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return null
    throw error
  }
}

function profiled(name: string, digest: string, from: ProfileFile['score']): ProfiledNumber {
  if (from.counts.length !== from.edges.length + 1) throw new RangeError(`${name}: counts do not fit the edges`)
  const singles = from.singles.map((single) => single.value)
  const bins = createNumberBins(singles, from.edges)
  const infinite = [from.negative_infinity, from.positive_infinity]
  const single = from.singles.map(({ count }) => count)
  return { name, digest, bins, counts: Float64Array.of(from.null, ...infinite, ...single, ...from.counts) }
}
