// Everything that the decision log folds into, and how far it was folded: made of nothing or of a snapshot, and brought
// on by reading. The server holds one; `assay features snapshot` makes one to write it down.
import type { Policy } from '../contract/policy.js'
import type { RecordCodecs, RecordDecoder } from '../contract/record.js'
import type { Position } from '../decision-log/reader.js'
import type { CompiledCatalogue } from '../features/compile.js'
import { createFeatureState, type FeatureState } from '../features/state.js'
import type { Limits } from '../limits.js'
import type { Image } from '../runtime/image.js'
import type { Pace } from '../runtime/pace.js'
import { type Audit, createAudit } from './audit.js'
import { createDecidedOffsets, type DecidedOffsets } from './decided.js'
import { createFold, type Fold } from './fold.js'
import { IdIndex } from './id-index.js'
import { createIdentity, type Identity } from './identity.js'
import { type LogVisitor, readDecisionLog } from './restore.js'

export interface LogStateDeps {
  readonly policy: Policy
  readonly limits: Limits
  readonly catalogue: CompiledCatalogue
  readonly codecs: RecordCodecs
}

/** Of the hashes that state is held under, 16 bytes each. */
export interface StateKeys {
  readonly features: Buffer
  readonly ids: Buffer
}

export interface LogState {
  readonly keys: StateKeys
  readonly features: FeatureState
  readonly index: IdIndex
  readonly identity: Identity
  readonly decided: DecidedOffsets
  readonly audit: Audit
  readonly fold: Fold
  /** Of the schemas that were met: making one takes some 25 ms. */
  readonly decoders: Map<string, RecordDecoder>
  /** Of the last record that was read; null before the first. */
  position: Position | null
}

export function createLogState({ policy, limits, catalogue, codecs }: LogStateDeps, keys: StateKeys): LogState {
  const features = createFeatureState(catalogue, { limits, hashKey: keys.features })
  const { ids_max: idsMax, window_ms: windowMs } = policy.idempotency
  const index = new IdIndex({ idsMax, windowMs, factsBytesMax: limits.factsBytesMax })
  const identity = createIdentity(policy.schema, keys.ids, limits.recordBytesMax)
  const audit = createAudit(limits.auditHeldMax)
  const decided = createDecidedOffsets(limits)
  const indexed = { index, identity, codecs }
  const onControl = audit.add.bind(audit)
  const fold = createFold({ limits, features, vectorSize: catalogue.size, indexed, decided, onControl })
  return { keys, features, index, identity, audit, decided, fold, decoders: new Map(), position: null }
}

/** Puts the state into an image, or takes it from that of one made with the same deps and keys. */
export async function serializeLogState(state: LogState, image: Image): Promise<void> {
  await state.fold.serialize(image)
  await state.audit.serialize(image)
  await state.decided.serialize(image)
  await state.index.serialize(image)
  await state.features.serialize(image)
}

/** Folds what the log at rest holds behind the state's position. Throws as `readDecisionLog`. */
export async function foldRest(
  state: LogState,
  directory: string,
  { policy, ...visitor }: Pick<LogVisitor, 'onFinding' | 'onProgress'> & { readonly policy: Policy },
): Promise<void> {
  const onRecord: LogVisitor['onRecord'] = (record, at) => state.fold.take(record, at.sequence)
  const options = { schema: policy.schema, from: state.position, decoders: state.decoders }
  state.position = await readDecisionLog(directory, { ...visitor, onRecord }, options)
  state.fold.end()
}

/** Folds what a server that runs has written behind the state's position, and gives way to it. Throws likewise. */
export async function foldLive(state: LogState, directory: string, policy: Policy, pace: Pace): Promise<void> {
  let read = state.position?.sequence ?? 0
  const visitor: LogVisitor = {
    onRecord(record, at) {
      state.fold.take(record, at.sequence)
      pace.rest()
    },
    onChunk({ records, lag }) {
      read += records
      return pace.follow({ records, end: read + lag, lag })
    },
  }
  const options = { schema: policy.schema, live: true, from: state.position, decoders: state.decoders }
  state.position = await readDecisionLog(directory, visitor, options)
}
