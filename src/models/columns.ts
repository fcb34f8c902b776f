// Which columns of the catalogue's vector a model reads, in the model's own order. Pure.
// A feature is the same only if its name and the digest of its definition are: a feature that was redefined under
// its old name is refused, since the model learned another quantity.
import type { Catalogue } from '../contract/catalogue.js'
import type { Manifest } from '../contract/manifest.js'
import type { InputFault } from '../errors.js'

export type FeatureDtype = 'float32' | 'float64' | 'int64'

/** Column types that lose nothing on the way into a model of that type, so that what is logged is what was fed. */
export const TYPES_FOR: Record<FeatureDtype, readonly FeatureDtype[]> = {
  float32: ['float32', 'float64', 'int64'],
  float64: ['float64', 'int64'],
  int64: ['int64'],
}

/** What the gate must know of a compiled catalogue, by position. */
export interface CatalogueFacts {
  readonly names: readonly string[]
  /** sha256:… of each definition. */
  readonly featureDigests: readonly string[]
  /** The type in which each column is logged. */
  readonly dtypes: readonly FeatureDtype[]
  /** The value for "nothing known"; null for a feature that always has a value. */
  readonly missing: readonly ('nan' | number | null)[]
}

/** A compiled catalogue with the missing values of its definitions, which stand in the same order. */
export function catalogueFacts(compiled: Omit<CatalogueFacts, 'missing'>, catalogue: Catalogue): CatalogueFacts {
  const { names, featureDigests, dtypes } = compiled
  const missing = catalogue.features.map((spec) => ('missing' in spec ? spec.missing : null))
  return { names, featureDigests, dtypes, missing }
}

/** A model of columns that no catalogue has: nobody but its callers knows what they are. */
export function takesOwnColumns({ features }: Pick<Manifest, 'features'>): boolean {
  return features.every(({ digest }) => digest === undefined)
}

/** What such a model is good for. */
export const OWN_COLUMNS =
  'its columns are its own, not features of the catalogue: it answers inference calls, no payments'

export type Binding = { readonly columns: Int32Array } | { readonly faults: readonly InputFault[] }

/** Catalogue indexes in the order of the manifest, or one fault per feature that is unknown or defined differently. */
export function bindColumns(
  manifest: Pick<Manifest, 'features'>,
  catalogueNames: readonly string[],
  featureDigests: readonly string[],
): Binding {
  const indexByName = new Map(catalogueNames.map((name, index) => [name, index]))
  const columns = new Int32Array(manifest.features.length)
  const faults: InputFault[] = []
  const seen = new Set<string>()
  manifest.features.forEach((feature, position) => {
    const path = `/features/${position}`
    if (seen.has(feature.name)) faults.push({ path, message: `feature ${feature.name} is named twice` })
    seen.add(feature.name)
    const index = indexByName.get(feature.name)
    if (index === undefined) {
      faults.push({ path, message: `feature ${feature.name} is not in the catalogue` })
      return
    }
    columns[position] = index
    const digest = featureDigests[index]
    if (digest === feature.digest) return
    const both = `trained on ${feature.digest}, catalogue has ${digest}`
    faults.push({ path, message: `feature ${feature.name} is defined differently: ${both}` })
  })
  return faults.length === 0 ? { columns } : { faults }
}
