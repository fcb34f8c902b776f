// Files of a bundle: confined to its folder, bounded, hashed, parsed. Faults are values here, so that a bundle's reader
// can name all of them at once.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, realpath, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { TSchema } from '@sinclair/typebox'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import { AssayError, type InputFault } from '../errors.js'

/** A file that the manifest names, found and hashed. */
export interface Found {
  /** Real path. */
  readonly path: string
  readonly digest: string
  readonly bytes: number
}

/** Parses a JSON file of at most `bytesMax` bytes. */
export async function readJson(path: string, bytesMax: number): Promise<{ value: unknown } | { fault: string }> {
  try {
    const { size } = await stat(path)
    if (size > bytesMax) return { fault: `has ${size} bytes, at most ${bytesMax} are allowed` }
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return { value }
  } catch (error) {
    return {
      fault: error instanceof SyntaxError ? `is not JSON: ${error.message}` : `cannot be read: ${codeOf(error)}`,
    }
  }
}

/** Finds, bounds and hashes a file that the manifest names; null where it does not fit, with the faults added. */
export async function findFile(
  root: string,
  named: { readonly path: string; readonly digest: string; readonly bytes?: number },
  context: { readonly pointer: string; readonly bytesMax: number; readonly faults: InputFault[] },
): Promise<Found | null> {
  const { pointer, bytesMax, faults } = context
  const fault = (key: string, message: string): null => {
    faults.push({ path: `${pointer}/${key}`, message: `${named.path} ${message}` })
    return null
  }
  const place = await confine(root, named.path)
  if ('fault' in place) return fault('path', place.fault)
  const { size } = await stat(place.real)
  if (size > bytesMax) return fault('path', `has ${size} bytes, at most ${bytesMax} are allowed`)
  if (named.bytes !== undefined && named.bytes !== size) {
    fault('bytes', `has ${size} bytes, the manifest says ${named.bytes}`)
  }
  const digest = await digestFile(place.real)
  if (digest !== named.digest) return fault('digest', `has digest ${digest}, the manifest says ${named.digest}`)
  return { path: place.real, digest, bytes: size }
}

async function confine(root: string, relative: string): Promise<{ real: string } | { fault: string }> {
  const parts = relative.split('/') // an absolute path has an empty first part
  if (relative.includes('\\') || parts.some((part) => part === '' || part === '..')) {
    return { fault: 'is not a plain path inside the bundle' }
  }
  try {
    const real = await realpath(join(root, relative))
    if (!real.startsWith(root + sep)) return { fault: 'leads out of the bundle' }
    return (await stat(real)).isFile() ? { real } : { fault: 'is not a file' }
  } catch (error) {
    return { fault: `cannot be read: ${codeOf(error)}` }
  }
}

async function digestFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return `sha256:${hash.digest('hex')}`
}

/** Every fault of a value against its schema. */
export function schemaFaults<T extends TSchema>(check: TypeCheck<T>, value: unknown): InputFault[] {
  return [...check.Errors(value)].map(({ path, message }) => ({ path, message }))
}

/** The refusal of a bundle, its misfits named. */
export function refusal(directory: string, faults: readonly InputFault[], cause?: unknown): AssayError {
  const listed = faults
    .map((fault) => (fault.path === '' ? fault.message : `${fault.path}: ${fault.message}`))
    .join('; ')
  return new AssayError('ASSAY_BUNDLE_REFUSED', `bundle ${directory}: ${listed}`, { cause, errors: faults })
}

/** The system's code of a failed file operation, such as ENOENT. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : String(error)
}
