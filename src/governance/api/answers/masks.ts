// Stands in for sensitive values: a mask shows that two values are equal, and nothing else.
// Invariant: masks are keyed hashes under a key that never leaves the store's directory, so that they cannot be tried
// out from outside; they can be used as a filter while the process remembers them, at most `masksMax` of them.
import { createHmac, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import type { ControlState } from '../../../contract/control-state.js'
import { AssayError } from '../../../errors.js'

export interface Masks {
  mask(value: string): string
  /** The value behind a mask that was given out, or the text itself. */
  unmask(text: string): string
}

const MASK = /^m_[0-9a-f]{12}$/
const KEY_FILE = 'mask-key'
const KEY_BYTES = 32

/**
 * The key in the store's directory, made by whoever needs it first: a mask is the same after a restart and a rebuild.
 * Throws ASSAY_STORE_IO.
 */
export function readMaskKey(directory: string): Uint8Array {
  const file = join(directory, KEY_FILE)
  try {
    const held = existsSync(file) ? readFileSync(file) : null
    if (held?.length === KEY_BYTES) return held
    // One that was cut off while it was made has masked nothing.
    const made = randomBytes(KEY_BYTES)
    mkdirSync(directory, { recursive: true, mode: 0o750 })
    writeFileSync(file, made, { mode: 0o600, flush: true })
    return made
  } catch (cause) {
    throw new AssayError('ASSAY_STORE_IO', `the key of the masks, ${file}, cannot be read or made`, { cause })
  }
}

export function createMasks(masksMax: number, key: Uint8Array): Masks {
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

/** Names of the fields that a policy declares, and not as sensitive. What it no longer declares is not among them. */
export function openFields(control: ControlState | null): ReadonlySet<string> {
  const fields = control?.policy.schema.fields ?? []
  return new Set(fields.filter(({ sensitive }) => sensitive !== true).map(({ name }) => name))
}
