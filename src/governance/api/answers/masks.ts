// Stands in for sensitive values: a mask shows that two values are equal, and nothing else.
// Invariant: masks are keyed hashes under a key of this process, so that they cannot be tried out from outside; they
// can be used as a filter while the process remembers them, at most `masksMax` of them.
import { createHmac, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { ControlState } from '../../../contract/control-state.js'

export interface Masks {
  mask(value: string): string
  /** The value behind a mask that was given out, or the text itself. */
  unmask(text: string): string
}

const MASK = /^m_[0-9a-f]{12}$/

export function createMasks(masksMax: number): Masks {
  const key = randomBytes(32)
  const given = new LRUCache<string, string>({ max: masksMax })
  return {
    mask(value) {
      const mask = `m_${createHmac('sha256', key).update(value).digest('hex').slice(0, 12)}`
      given.set(mask, value)
      return mask
    },
    unmask: (text) => (MASK.test(text) ? (given.get(text) ?? text) : text),
  }
}

/** Names of the fields that a policy declares sensitive. */
export function sensitiveFields(control: ControlState | null): ReadonlySet<string> {
  const fields = control?.policy.schema.fields ?? []
  return new Set(fields.filter(({ sensitive }) => sensitive === true).map(({ name }) => name))
}
