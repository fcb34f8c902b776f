// Canonical JSON by RFC 8785 (JCS): what every digest and fingerprint is taken over.
// Keys are sorted by UTF-16 code units, numbers are written as ECMAScript does, nothing is added between tokens.
// Refuses what JSON cannot say: NaN and infinities, lone surrogates, functions, symbols, bigints, undefined in lists.
import { createHash } from 'node:crypto'

const SURROGATE = /[\ud800-\udfff]/
const LONE_SURROGATE = /\p{Surrogate}/u

/** The RFC 8785 text of a JSON value. Object members that are undefined are left out. Throws a TypeError otherwise. */
export function canonicalJson(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value === 'string' && !(SURROGATE.test(value) && LONE_SURROGATE.test(value))) return JSON.stringify(value)
  if (Array.isArray(value)) return canonicalList(value)
  if (typeof value === 'object') return canonicalObject(value)
  if (typeof value === 'boolean') return value ? 'true' : 'false'
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value)
  throw new TypeError(`a ${typeof value} such as this has no canonical form`)
}

function canonicalList(list: readonly unknown[]): string {
  let text = '['
  for (const [at, item] of list.entries()) text += `${at === 0 ? '' : ','}${canonicalJson(item)}`
  return `${text}]`
}

/** A policy of 400 KB is digested beside payments: in a few milliseconds. */
function canonicalObject(value: object): string {
  const members: Readonly<Record<string, unknown>> = { ...value }
  let text = ''
  // Without an order of its own, sort compares by code units.
  for (const key of Object.keys(members).sort()) {
    if (members[key] !== undefined)
      text += `${text === '' ? '' : ','}${canonicalJson(key)}:${canonicalJson(members[key])}`
  }
  return `{${text}}`
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
