// Bytes → a JSON value, strictly: UTF-8 without errors, no duplicate keys, bounded depth. Faults are told with their
// place, never with the text around them. Linear in the length; what JSON.parse refuses is refused.
import { Buffer, isUtf8 } from 'node:buffer'
import { type InputFault, reject, type Rejection } from '../errors.js'
import type { Limits } from '../limits.js'
import { holdsCardData } from './card-data.js'

export type Parsed = { readonly value: unknown } | Rejection

/** Reads one JSON text. ASSAY_BODY_MALFORMED for anything that is not one. */
export function parseJson(bytes: Uint8Array, limits: Pick<Limits, 'jsonDepthMax' | 'faultsMax'>): Parsed {
  if (bytes.length === 0) return malformed('The body is empty')
  if (!isUtf8(bytes)) return malformed('The body is not UTF-8')
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  const faults = new FaultList(limits.faultsMax)
  if (!scanStructure(text, limits.jsonDepthMax, faults)) {
    return malformed(`The body is nested deeper than ${limits.jsonDepthMax} levels`, faults.list)
  }
  try {
    const value: unknown = JSON.parse(text)
    return faults.list.length === 0 ? { value } : malformed('A key stands twice in one object', faults.list)
  } catch (error) {
    return malformed(`The body is not JSON${placeOf(error)}`)
  }
}

function malformed(detail: string, errors: readonly InputFault[] = []): Rejection {
  return reject('ASSAY_BODY_MALFORMED', detail, errors.length > 0 ? errors : [{ path: '', message: detail }])
}

/** The position that the engine names; nothing else of its message, which quotes the input. */
function placeOf(error: unknown): string {
  const match = error instanceof Error ? /at position (\d+)/.exec(error.message) : null
  return match === null ? '' : `, at character ${match[1]}`
}

/** Faults of one input, one for each path, at most so many. */
export class FaultList {
  readonly list: InputFault[] = []
  private readonly paths = new Set<string>()

  constructor(private readonly max: number) {}

  /** False once the list is full. */
  add(path: string, message: string): boolean {
    if (this.list.length < this.max && !this.paths.has(path)) {
      this.paths.add(path)
      this.list.push({ path, message })
    }
    return this.list.length < this.max
  }
}

const NAME_SHOWN = /^[A-Za-z_$@][A-Za-z0-9_.$@-]{0,63}$/

/** A JSON pointer with one more step; a name that might itself hold what must not be shown is left out as `?`. */
export function childPath(path: string, name: string): string {
  return `${path}/${NAME_SHOWN.test(name) && !holdsCardData(name) ? name : '?'}`
}

interface Level {
  /** Keys seen in an object; null for an array. */
  readonly keys: Set<string> | null
  /** Key or index of the member being read. */
  member: string | number
}

const QUOTE = 34
const BACKSLASH = 92

/**
 * Notes duplicate keys; false where the depth is over its bound. Text that is not JSON passes: JSON.parse refuses it.
 */
function scanStructure(text: string, depthMax: number, faults: FaultList): boolean {
  const levels: Level[] = []
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    const level = levels.at(-1)
    if (unit === QUOTE) {
      const end = stringEnd(text, at)
      if (level?.keys && isKey(text, end)) noteKey(level, { raw: text.slice(at, end), levels }, faults)
      at = end - 1
    } else if (unit === 123 || unit === 91) {
      if (levels.length === depthMax) {
        faults.add(pathOf(levels), `at most ${depthMax} levels`)
        return false
      }
      levels.push({ keys: unit === 123 ? new Set() : null, member: 0 })
    } else if (unit === 125 || unit === 93) levels.pop()
    else if (unit === 44 && level && typeof level.member === 'number') level.member++
  }
  return true
}

/** One past the closing quote. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit === BACKSLASH) at++
    else if (unit === QUOTE) return at + 1
  }
  return text.length
}

/** True where a colon follows: the string is a key. */
function isKey(text: string, at: number): boolean {
  for (let index = at; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit === 58) return true
    if (unit !== 32 && unit !== 10 && unit !== 13 && unit !== 9) return false
  }
  return false
}

function noteKey(level: Level, key: { raw: string; levels: readonly Level[] }, faults: FaultList): void {
  const name = unescaped(key.raw)
  level.member = name
  if (level.keys!.has(name)) faults.add(pathOf(key.levels), 'a key may stand only once')
  else level.keys!.add(name)
}

/** The key as it is meant, so that an escaped spelling is seen to be the same. */
function unescaped(raw: string): string {
  if (!raw.includes('\\')) return raw.slice(1, -1)
  try {
    return String(JSON.parse(raw))
  } catch {
    return raw
  }
}

function pathOf(levels: readonly Level[]): string {
  return levels.reduce(
    (path, { member }) => (typeof member === 'number' ? `${path}/${member}` : childPath(path, member)),
    '',
  )
}
