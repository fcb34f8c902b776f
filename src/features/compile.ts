// From a catalogue to what the state runs: checked, numbered, digested.
import type { Catalogue } from '../contract/catalogue.js'
import type { Currencies } from '../contract/policy.js'
import type { TransactionSchema } from '../contract/transaction.js'

export type Dtype = 'float32' | 'float64' | 'int64'

export interface CompiledCatalogue {
  readonly names: readonly string[]
  readonly dtypes: readonly Dtype[]
  /** sha256:<hex> of each definition; of a ratio or difference with the definitions that it refers to. */
  readonly featureDigests: readonly string[]
  readonly digest: string
  readonly size: number
  /** Bytes of one encoded vector. */
  readonly vectorBytes: number
  /** Place of a feature in the vector, or -1. */
  indexOf(name: string): number
  /** Writes vector[at, at + size) as fed, each column in its dtype, little-endian; returns the end, or -1 if it does not fit. */
  encodeVector(vector: Float64Array, at: number, buffer: Buffer, pos: number): number
  /** The vector that `encodeVector` wrote. */
  decodeVector(bytes: Uint8Array): Float64Array
}

/** Checks and compiles; throws ASSAY_CATALOGUE_INVALID that names every fault with its path. */
export declare function compileCatalogue(
  catalogue: Catalogue,
  schema: TransactionSchema,
  currencies: Currencies,
): CompiledCatalogue
