// Amounts into the base currency: exact decimal arithmetic on minor units, rounded half to even.
// A rate is read as the decimal that it is written as (0.92 is 92/100), so no binary fraction decides a tie.
import type { Currencies } from './policy.js'

/** Minor units in one major unit of the base currency. */
export function minorPerMajor({ base, list }: Currencies): number {
  return 10 ** (list[base]?.exponent ?? 2)
}

/** Amount in minor units of a currency → integer minor units of the base; NaN where it is beyond 2^53 − 1. */
export type ToBase = (amountMinor: number) => number

/**
 * The conversion of each listed currency. Throws a RangeError where the base is not listed or a rate has no decimal.
 */
export function compileCurrencies(currencies: Currencies): ReadonlyMap<string, ToBase> {
  const base = currencies.list[currencies.base]
  if (base === undefined) throw new RangeError(`the base currency ${currencies.base} is not in the list`)
  return new Map(
    Object.entries(currencies.list).map(([code, { exponent, rate }]) => [
      code,
      conversion(rate, base.exponent - exponent),
    ]),
  )
}

/** amount × rate × 10^shift. */
function conversion(rate: number, shift: number): ToBase {
  const { digits, scale } = decimal(rate)
  const places = shift - scale
  const numerator = digits * 10n ** BigInt(Math.max(places, 0))
  const denominator = 10n ** BigInt(Math.max(-places, 0))
  if (numerator === denominator) return (amount) => amount
  const whole = Number(numerator)
  const parts = Number(denominator)
  const fastMax = Math.floor(Number.MAX_SAFE_INTEGER / whole)
  const isFast = Number.isSafeInteger(whole) && Number.isSafeInteger(parts)
  return (amount) =>
    isFast && amount <= fastMax ? divide(amount * whole, parts) : divideBig(amount, numerator, denominator)
}

/** Half to even; both are safe integers ≥ 0. The quotient of doubles may be one too high at the top of the range. */
function divide(product: number, parts: number): number {
  let quotient = Math.floor(product / parts)
  let rest = product - quotient * parts
  if (rest < 0) {
    quotient--
    rest += parts
  }
  const left = parts - rest
  return rest > left || (rest === left && quotient % 2 === 1) ? quotient + 1 : quotient
}

function divideBig(amount: number, numerator: bigint, denominator: bigint): number {
  const product = BigInt(amount) * numerator
  const quotient = product / denominator
  const twice = (product % denominator) * 2n
  const up = twice > denominator || (twice === denominator && quotient % 2n === 1n)
  const result = Number(up ? quotient + 1n : quotient)
  return Number.isSafeInteger(result) ? result : NaN
}

/** rate = digits / 10^scale, from the shortest decimal that names the double. */
function decimal(rate: number): { digits: bigint; scale: number } {
  const match = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(rate))
  if (match === null) throw new RangeError('a rate is a finite number above 0')
  const [, whole = '', fraction = '', power = '0'] = match
  const scale = fraction.length - Number(power)
  const digits = BigInt(whole + fraction)
  return scale < 0 ? { digits: digits * 10n ** BigInt(-scale), scale: 0 } : { digits, scale }
}
