// Canonical JSON by RFC 8785 (JCS): one text for one value, so that a digest of it names the value.
// Member names are sorted by UTF-16 code units, numbers and strings are written as ECMAScript does.
// Refuses what JSON cannot say: NaN, infinities, undefined, functions, bigint, lone surrogates.
import { createHash } from 'node:crypto'

/** The canonical text of a JSON value. Object members that are undefined are left out; throws TypeError on what JSON cannot say. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError('a number in canonical JSON must be finite')
    return JSON.stringify(value)
  }
  if (typeof value === 'string') {
    if (/\p{Surrogate}/u.test(value)) throw new TypeError('a string in canonical JSON must be well-formed Unicode')
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(',')}]`
  if (typeof value === 'object') {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      // The default order of strings is by UTF-16 code units, which is what RFC 8785 section 3.2.3 asks for.
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    return `{${members.map(([name, member]) => `${canonicalJson(name)}:${canonicalJson(member)}`).join(',')}}`
  }
  throw new TypeError(`canonical JSON has no ${typeof value}`)
}

/** `sha256:<hex>` over the canonical text of a JSON value. */
export function canonicalDigest(value: unknown): string {
  return `sha256:${createHash('sha256').update(canonicalJson(value), 'utf8').digest('hex')}`
}
