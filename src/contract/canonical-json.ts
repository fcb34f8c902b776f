// Canonical JSON by RFC 8785 (JCS): what every digest and fingerprint is taken over.
// Keys are sorted by UTF-16 code units, numbers are written as ECMAScript does, nothing is added between tokens.
// Refuses what JSON cannot say: NaN and infinities, lone surrogates, functions, symbols, bigints, undefined in lists.
import { createHash } from 'node:crypto'

const LONE_SURROGATE = /\p{Surrogate}/u

/** The RFC 8785 text of a JSON value. Object members that are undefined are left out. Throws a TypeError otherwise. */
export function canonicalJson(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object') return canonicalObject(value)
  if (typeof value === 'boolean') return value ? 'true' : 'false'
  if (typeof value === 'string' && !LONE_SURROGATE.test(value)) return JSON.stringify(value)
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value)
  throw new TypeError(`a ${typeof value} such as this has no canonical form`)
}

function canonicalObject(value: object): string {
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([left], [right]) => (left < right ? -1 : 1))
  return `{${members.map(([key, member]) => `${canonicalJson(key)}:${canonicalJson(member)}`).join(',')}}`
}

/** SHA-256 over the canonical text, 32 bytes. */
export function canonicalDigest(value: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(value), 'utf8').digest()
}

/** The digest as `sha256:` and 64 hexadecimal digits. */
export function digestText(digest: Uint8Array): string {
  const buffer = Buffer.isBuffer(digest) ? digest : Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength)
  return `sha256:${buffer.toString('hex')}`
}

/**
 * `digestText` that remembers the texts of arrays it has seen: the digests of policy and models come again and again.
 */
export function createDigestTexts(): (digest: Uint8Array) => string {
  const texts = new WeakMap<Uint8Array, string>()
  return (digest) => {
    let text = texts.get(digest)
    if (text === undefined) texts.set(digest, (text = digestText(digest)))
    return text
  }
}
