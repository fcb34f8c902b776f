// Faults of a value against a schema, in words: one for each path, of a union those of the variant that fits best, of
// an unknown key with the nearest known one. Never with the value itself.
import type { TSchema } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { Value, type ValueError, ValueErrorType } from '@sinclair/typebox/value'
import type { InputFault } from '../errors.js'

const FAULTS_MAX = 64

/** Every fault, at most so many; empty where the value fits. Paths are JSON pointers behind `prefix`. */
export function shapeFaults(schema: TSchema, value: unknown, prefix = ''): InputFault[] {
  if (checkerOf(schema).Check(value)) return []
  const faults: InputFault[] = []
  for (const error of Value.Errors(schema, value)) {
    faults.push(...faultsOf(error, prefix))
    if (faults.length >= FAULTS_MAX) break
  }
  return [...new Map(faults.slice(0, FAULTS_MAX).map((fault) => [fault.path, fault])).values()]
}

const checkers = new WeakMap<TSchema, TypeCheck<TSchema>>()

/** Compiled once: what fits is known ten times sooner than what does not. */
function checkerOf(schema: TSchema): TypeCheck<TSchema> {
  const checker = checkers.get(schema) ?? TypeCompiler.Compile(schema)
  checkers.set(schema, checker)
  return checker
}

/** One fault in words; of a union the faults of the variant that fits best. */
function faultsOf(error: ValueError, prefix: string): InputFault[] {
  const at = prefix + error.path
  if (error.type === ValueErrorType.Union) {
    const variants = error.errors.map((iterator) => [...iterator]).filter((list) => list.length > 0)
    // Of those that are of the kind of the value: a text is no better a fit for an object than null.
    const alike = variants.filter((list) => list.every((inner) => inner.path !== error.path))
    const best = alike.sort((left, right) => left.length - right.length)[0]
    if (best !== undefined && isTree(error.value)) return best.flatMap((inner) => faultsOf(inner, prefix))
    return [{ path: at, message: `one of: ${allowed(error.schema)}` }]
  }
  if (error.type === ValueErrorType.ObjectAdditionalProperties) {
    const key = error.path.slice(error.path.lastIndexOf('/') + 1)
    const near = nearest(key, Object.keys((error.schema as { properties?: object }).properties ?? {}))
    return [{ path: at, message: `an unknown key${near === null ? '' : `; the nearest known is ${near}`}` }]
  }
  return [{ path: at, message: error.message.replace(/^Expected/, 'expected') }]
}

function allowed(schema: TSchema): string {
  const variants = (schema.anyOf as TSchema[] | undefined) ?? []
  return variants.map((variant) => String(variant.const ?? variant.type)).join(', ')
}

/** The known key at the smallest edit distance, or null where all are far. */
export function nearest(key: string, known: readonly string[]): string | null {
  const ranked = known.map((name) => ({ name, distance: editDistance(key.slice(0, 64), name) }))
  ranked.sort((left, right) => left.distance - right.distance)
  const first = ranked[0]
  return first !== undefined && first.distance <= Math.max(2, key.length / 2) ? first.name : null
}

function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let row = 1; row <= left.length; row++) {
    const current = [row]
    for (let column = 1; column <= right.length; column++) {
      const change = previous[column - 1] + (left[row - 1] === right[column - 1] ? 0 : 1)
      current.push(Math.min(change, previous[column] + 1, current[column - 1] + 1))
    }
    previous = current
  }
  return previous[right.length]
}

function isTree(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
