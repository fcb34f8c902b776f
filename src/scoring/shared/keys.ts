// The names under which the shared state stands. A hash tag keeps what one script touches in one slot of a cluster, and
// spreads all else. No value of a transaction is in a name: entities and ids are keyed hashes.
import type { EntityAsked } from '../../features/shared-windows.js'

export interface Keys {
  /** What the servers of a fleet agree on. */
  readonly fleet: string
  entity(asked: Pick<EntityAsked, 'field' | 'hash'>): string
  transaction(idHash: Buffer): string
  /** Words of labels that wait for the transaction; in its slot. */
  words(idHash: Buffer): string
}

/** `catalogue` is the digest of the catalogue: another has windows of its own. */
export function createKeys(prefix: string, catalogue: string): Keys {
  const layout = catalogue.replace(/^sha256:/, '').slice(0, 12)
  return {
    fleet: `${prefix}:fleet`,
    entity: ({ field, hash }) => `${prefix}:e:${layout}:{${field}:${hash}}`,
    transaction: (idHash) => `${prefix}:t:{${idHash.toString('hex')}}`,
    words: (idHash) => `${prefix}:w:{${idHash.toString('hex')}}`,
  }
}
