// How far two values of a column lie apart as a model is fed with them, counted in steps: the numbers of that type that
// lie between them, one of the two counted. No value and no value are equal; a value and none are infinitely far apart.
import type { Dtype } from './vector.js'

export type CountSteps = (ours: number, theirs: number) => number

/** The counter of a type. No rounding explains a step of int64: two such values are equal, or Infinity apart. */
export function createStepCounter(dtype: Dtype): CountSteps {
  const apart = dtype === 'float32' ? singleSteps() : dtype === 'float64' ? doubleSteps() : wholeSteps
  return (ours, theirs) => {
    if (ours === theirs || (Number.isNaN(ours) && Number.isNaN(theirs))) return 0
    return Number.isNaN(ours) || Number.isNaN(theirs) ? Infinity : apart(ours, theirs)
  }
}

/** Bits of a float read as an integer ascend with its value, once those of negative numbers are turned round. */
function singleSteps(): CountSteps {
  const float = new Float32Array(1)
  const bits = new Int32Array(float.buffer)
  const place = (value: number): number => {
    float[0] = value
    return bits[0] < 0 ? -(bits[0] & 0x7fffffff) : bits[0]
  }
  return (ours, theirs) => Math.abs(place(ours) - place(theirs))
}

function doubleSteps(): CountSteps {
  const float = new Float64Array(1)
  const bits = new BigInt64Array(float.buffer)
  const place = (value: number): bigint => {
    float[0] = value
    return bits[0] < 0n ? -BigInt.asUintN(63, bits[0]) : bits[0]
  }
  return (ours, theirs) => Math.abs(Number(place(ours) - place(theirs)))
}

function wholeSteps(ours: number, theirs: number): number {
  return Math.trunc(ours) === Math.trunc(theirs) ? 0 : Infinity
}
