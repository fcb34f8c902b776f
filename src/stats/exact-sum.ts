// Sums of many large integers, exact and in any order: what a double would round after 2^53. Two limbs of 2^40, since a
// BigInt per addition would be an allocation per addition. Refuses nothing: values are integers with |v| ≤ 2^52.

const LIMB = 2 ** 40

/** An exact integer: `high` × 2^40 + `low`, with 0 ≤ low < 2^40. Plain data, so that it can be stored and merged. */
export interface ExactSum {
  high: number
  low: number
}

export function emptySum(): ExactSum {
  return { high: 0, low: 0 }
}

/** Adds an integer, in place. */
export function addExact(sum: ExactSum, value: number): void {
  const carry = Math.floor(value / LIMB)
  sum.low += value - carry * LIMB
  sum.high += carry
  if (sum.low >= LIMB) {
    sum.low -= LIMB
    sum.high++
  }
}

/** Adds another sum, in place. */
export function mergeExact(sum: ExactSum, other: ExactSum): void {
  addExact(sum, other.low)
  sum.high += other.high
}

/** The value; exact. */
export function bigOf(sum: ExactSum): bigint {
  return BigInt(sum.high) * BigInt(LIMB) + BigInt(sum.low)
}

/** The value as the nearest double. */
export function numberOf(sum: ExactSum): number {
  return Number(bigOf(sum))
}
