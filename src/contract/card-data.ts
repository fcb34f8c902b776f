// Finds card data in text: card numbers, and track data of the magnetic stripe. Says where nothing may be kept, never
// what was found. A card number is a token of digits with single spaces or hyphens, no letter beside it, Luhn-valid, of
// a known scheme's prefix and length. Canonical UUIDs are exempt by shape. A clean value costs one pass over its
// characters (bench/card-data.ts has the figures and the proof over generated ids).

interface Range {
  /** First six digits, inclusive. */
  readonly from: number
  readonly to: number
  /** Bit n set: numbers of n digits are issued. */
  readonly lengths: number
}

function range(from: number, to: number, lengths: readonly number[]): Range {
  const scale = 10 ** (6 - String(from).length)
  return {
    from: from * scale,
    to: (to + 1) * scale - 1,
    lengths: lengths.reduce((bits, length) => bits | (1 << length), 0),
  }
}

const TO_19 = [16, 17, 18, 19]

/**
 * Issuer prefixes and lengths, from the public tables of ISO/IEC 7812 issuer identification numbers: Wikipedia,
 * "Payment card number", section "Issuer identification number (IIN)", and the schemes' own published BIN ranges
 * (Mastercard 2-series bulletin 2014; Discover network BIN ranges, which carry Diners, JCB and UnionPay).
 */
const RANGES: readonly Range[] = [
  range(4, 4, [13, 16, 19]), // Visa
  range(51, 55, [16]), // Mastercard
  range(2221, 2720, [16]), // Mastercard 2-series
  range(34, 34, [15]), // American Express
  range(37, 37, [15]),
  range(6011, 6011, TO_19), // Discover
  range(644, 649, TO_19),
  range(65, 65, TO_19),
  range(36, 36, [14, ...TO_19]), // Diners Club International
  range(300, 305, [14, ...TO_19]),
  range(3095, 3095, [14, ...TO_19]),
  range(38, 39, [14, ...TO_19]),
  range(3528, 3589, TO_19), // JCB
  range(62, 62, TO_19), // UnionPay
  range(81, 81, TO_19), // UnionPay, RuPay
  range(5018, 5018, [12, 13, 14, 15, ...TO_19]), // Maestro
  range(5020, 5020, [12, 13, 14, 15, ...TO_19]),
  range(5038, 5038, [12, 13, 14, 15, ...TO_19]),
  range(5893, 5893, [12, 13, 14, 15, ...TO_19]),
  range(6304, 6304, [12, 13, 14, 15, ...TO_19]),
  range(6759, 6759, [12, 13, 14, 15, ...TO_19]),
  range(6761, 6763, [12, 13, 14, 15, ...TO_19]),
  range(676770, 676770, [12, 13, 14, 15, ...TO_19]),
  range(676774, 676774, [12, 13, 14, 15, ...TO_19]),
  range(2200, 2204, [16]), // Mir: 16 to 19 by the standard, only 16 is issued; snowflakes of 2027 have 19
  range(60, 60, [16]), // RuPay
  range(82, 82, [16]),
  range(508, 508, [16]),
  range(9792, 9792, [16]), // Troy
  range(506699, 506778, [16]), // Verve, Elo
  range(509000, 509999, [16]), // Elo
]

/** Digits of the shortest number any scheme issues. Fewer digits in a text than that: nothing to find. */
export const CARD_DIGITS_MIN = 12
const CARD_DIGITS_MAX = 19

const UUID = /(?<![0-9A-Za-z])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9A-Za-z])/gi
const ONE_UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
/** Track 1 (%B number ^ name) and track 2 (; number = expiry): no Luhn needed, the shape alone is enough. */
const TRACK = /[%;]?[Bb][0-9 ]{12,23}\^|;[0-9]{12,19}=|(?<![0-9A-Za-z])[0-9]{12,19}[=D][0-9]{7,}/
const LETTER = /\p{L}/u

/** True where the text holds a card number or track data. Never throws, linear in the length. */
export function holdsCardData(text: string): boolean {
  const { length } = text
  let digits = 0
  for (let index = 0; index < length; index++) {
    const unit = text.charCodeAt(index)
    if (unit >= 48 && unit <= 57) digits++
  }
  return digits >= CARD_DIGITS_MIN && search(text)
}

/** The search proper, for text that has enough digits. A text that is one UUID is the most common such. */
function search(text: string): boolean {
  if (text.length === 36 && ONE_UUID.test(text)) return false
  if ((text.includes('^') || text.includes('=') || text.includes('D')) && TRACK.test(text)) return true
  const clear = text.length >= 36 && text.includes('-') ? text.replace(UUID, 'x') : text
  for (let at = 0; at < clear.length; at++) {
    if (!isDigit(clear, at)) continue
    const end = runEnd(clear, at)
    if (searchRun(clear, at, end)) return true
    at = end
  }
  return false
}

/** One past the last digit of the run of digits and single separators that starts at `at`. */
function runEnd(text: string, at: number): number {
  let end = at + 1
  for (;;) {
    if (isDigit(text, end)) end++
    else if (isSeparator(text, end) && isDigit(text, end + 1)) end += 2
    else return end
  }
}

/** Groups of a run that together make a card number; a group with a letter beside it is out. */
function searchRun(text: string, start: number, end: number): boolean {
  const letterAfter = isLetter(text, end)
  const letterBefore = isLetter(text, start - 1)
  for (let from = start; from < end; from++) {
    if (from > start && isDigit(text, from - 1)) continue
    if (!isDigit(text, from) || (from === start && letterBefore)) continue
    let count = 0
    for (let at = from; at < end && count <= CARD_DIGITS_MAX; at++) {
      if (!isDigit(text, at)) continue
      count++
      const groupEnds = at + 1 === end ? !letterAfter : !isDigit(text, at + 1)
      if (groupEnds && count >= CARD_DIGITS_MIN && isCardNumber(text, from, count)) return true
    }
  }
  return false
}

/** `count` digits from `from`, separators skipped: prefix and length of a scheme, and Luhn. */
function isCardNumber(text: string, from: number, count: number): boolean {
  if (count > CARD_DIGITS_MAX) return false
  let prefix = 0
  let sum = 0
  let index = 0
  for (let at = from; index < count; at++) {
    const digit = text.charCodeAt(at) - 48
    if (!(digit >= 0 && digit <= 9)) continue
    if (index < 6) prefix = prefix * 10 + digit
    const doubled = (count - index) % 2 === 0 ? digit * 2 : digit
    sum += doubled > 9 ? doubled - 9 : doubled
    index++
  }
  return sum % 10 === 0 && isIssued(prefix, count)
}

function isIssued(prefix: number, count: number): boolean {
  for (let index = 0; index < RANGES.length; index++) {
    const { from, to, lengths } = RANGES[index]
    if (prefix >= from && prefix <= to && ((lengths >>> count) & 1) === 1) return true
  }
  return false
}

function isDigit(text: string, at: number): boolean {
  const unit = text.charCodeAt(at)
  return unit >= 48 && unit <= 57
}

/** A space or hyphen, plain or as typesetters write them. */
function isSeparator(text: string, at: number): boolean {
  const unit = text.charCodeAt(at)
  return unit === 32 || unit === 45 || unit === 0xa0 || unit === 0x202f || (unit >= 0x2010 && unit <= 0x2015)
}

function isLetter(text: string, at: number): boolean {
  const unit = text.charCodeAt(at)
  if (unit < 128) return (unit >= 65 && unit <= 90) || (unit >= 97 && unit <= 122)
  return at >= 0 && at < text.length && LETTER.test(text.charAt(at))
}

const CARD_NAME =
  /^(card)?(cvv2?|cvc2?|cvn2?|csc|cav2|cvv2?code|cvc2?code|verificationcode|verificationvalue|securitycode|pin|pinblock|encryptedpin|track[123]?(data)?|magstripe(data)?|magneticstripe(data)?)(code|value|number)?$/

/**
 * True for a field name that by itself says CVV, PIN or track data, in any spelling with case, `_`, `-`, `.`, space.
 */
export function isCardDataName(name: string): boolean {
  return name.length <= 64 && CARD_NAME.test(name.toLowerCase().replace(/[^a-z0-9]/g, ''))
}

const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** A W3C traceparent that may be kept, or null: one that is malformed or looks like card data is left out. */
export function keepTraceparent(value: string): string | null {
  return TRACEPARENT.test(value) && !holdsCardData(value) ? value : null
}
