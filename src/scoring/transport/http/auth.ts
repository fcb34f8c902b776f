// Who may call a listener: keys kept as SHA-256 hashes, one a line, compared in constant time.
// Invariant: a key itself is never kept, logged or shown. It refuses a file without keys or with anything but hashes.
import { hash, timingSafeEqual } from 'node:crypto'
import { AssayError } from '../../../errors.js'
import type { UwsRequest } from './binding.js'

const HASH_LINE = /^(?:sha256:)?([0-9a-f]{64})(?:\s+\S.*)?$/
/** Keys of one file: all are compared for every request. */
const KEYS_MAX = 64
/** Characters of a key; longer ones are refused without hashing. */
const KEY_CHARS_MAX = 512

/** True where the request carries a known key. Looks at the headers alone. */
export type Authenticate = (req: UwsRequest) => boolean

/**
 * Reads the text of a keys file: `sha256:<hex>` a line, then anything as the name; `#` begins a comment.
 * `printf %s "$KEY" | sha256sum` makes a hash.
 */
export function parseKeys(text: string): Buffer[] {
  const keys: Buffer[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const content = line.replace(/#.*$/, '').trim()
    if (content === '') continue
    const match = HASH_LINE.exec(content)
    if (match === null)
      throw new AssayError('ASSAY_CONFIG_INVALID', `keys file, line ${index + 1}: not sha256:<64 hex>`)
    keys.push(Buffer.from(match[1], 'hex'))
  }
  if (keys.length === 0) throw new AssayError('ASSAY_CONFIG_INVALID', 'keys file: it holds no key')
  if (keys.length > KEYS_MAX) throw new AssayError('ASSAY_CONFIG_INVALID', `keys file: more than ${KEYS_MAX} keys`)
  return keys
}

/** Makes the check over hashes of keys: `Authorization: Bearer` or `X-API-Key`. */
export function createAuthenticate(hashes: readonly Buffer[]): Authenticate {
  return (req) => {
    const presented = presentedKey(req)
    if (presented === '' || presented.length > KEY_CHARS_MAX) return false
    const digest = hash('sha256', presented, 'buffer')
    let known = false
    for (const expected of hashes) known = timingSafeEqual(digest, expected) || known
    return known
  }
}

function presentedKey(req: UwsRequest): string {
  const direct = req.getHeader('x-api-key')
  if (direct !== '') return direct
  const authorization = req.getHeader('authorization')
  return /^bearer /i.test(authorization) ? authorization.slice(7).trim() : ''
}
