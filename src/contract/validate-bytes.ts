// The fast path of validation: one pass over the bytes of a flat JSON object, plain ASCII, into a Transaction.
// It accepts only what the general path accepts, with the same result, and knows no faults: for anything it does not
// expect (escapes, other characters, faults, unknown fields, numbers with an exponent, card-like digits) it returns
// null and the general path decides. Proven equal by fuzzing; bench/validate.ts has the figures.
import { Buffer } from 'node:buffer'
import type { Limits } from '../limits.js'
import { CARD_DIGITS_MIN, holdsCardData } from './card-data.js'
import type { ToBase } from './money.js'
import type { Policy } from './policy.js'
import { createInstant, isEpochMs, parseRfc3339 } from './time.js'
import type { FieldSpec, FieldValue, Transaction } from './transaction.js'
import { CORE_FIELDS, ID_CHARS_MAX } from './transaction-schema.js'

/** What validation needs of a policy. */
export type TransactionPolicy = Pick<Policy, 'schema' | 'currencies' | 'clock'>

export interface ByteParserParts {
  readonly policy: TransactionPolicy
  readonly limits: Limits
  readonly toBase: ReadonlyMap<string, ToBase>
}

/** One expected key. Slots 0 to 3 are the core, in the order of CORE_FIELDS; the declared fields follow. */
interface Slot {
  readonly key: Buffer
  readonly field: FieldSpec | null
  readonly pattern: RegExp | null
}

const TRANSACTION_ID = 0
const OCCURRED_AT = 1
const AMOUNT_MINOR = 2
const CURRENCY = 3
const CORE = 4

const QUOTE = 34
const COMMA = 44
const COLON = 58
const OPEN = 123
const CLOSE = 125

/** Compiles the parser of a policy; null from it means: ask the general path. */
export function compileByteParser(parts: ByteParserParts): (bytes: Uint8Array, nowMs: number) => Transaction | null {
  const parser = new ByteParser(parts)
  return (bytes, nowMs) => parser.parse(bytes, nowMs)
}

class ByteParser {
  private readonly slots: readonly Slot[]
  private readonly required: readonly number[]
  private readonly currencies: readonly { code: string; key: number; toBase: ToBase }[]
  /** Round of the parse that last saw a slot: no clearing between parses. */
  private readonly seen: Float64Array
  private round = 0
  private readonly aheadMsMax: number
  private readonly instant = createInstant()

  private bytes: Buffer = Buffer.alloc(0)
  private source: Uint8Array = this.bytes
  private at = 0
  /** Digits in the text last read: below CARD_DIGITS_MIN there is no card number to search for. */
  private digits = 0
  private transactionId = ''
  private amountMinor = 0
  private currency = -1
  private fields: FieldValue[] = []

  constructor(private readonly parts: ByteParserParts) {
    const { policy, limits, toBase } = parts
    const core = CORE_FIELDS.map((name) => ({ key: Buffer.from(name), field: null, pattern: null }))
    this.slots = [...core, ...policy.schema.fields.map(slotOf)]
    const declared = policy.schema.fields.flatMap(({ required }, index) => (required === true ? [index + CORE] : []))
    this.required = [TRANSACTION_ID, OCCURRED_AT, AMOUNT_MINOR, CURRENCY, ...declared]
    this.seen = new Float64Array(this.slots.length)
    this.currencies = [...toBase].map(([code, convert]) => ({
      code,
      key: currencyKey(Buffer.from(code), 0),
      toBase: convert,
    }))
    this.aheadMsMax = policy.clock === 'live' ? limits.clockAheadMsMax : Infinity
  }

  parse(bytes: Uint8Array, nowMs: number): Transaction | null {
    // The texts of so short a body cannot be longer together than a record can hold.
    if (bytes.length > this.parts.limits.transactionTextBytesMax) return null
    this.source = bytes
    this.at = 0
    this.round++
    this.fields = new Array<FieldValue>(this.slots.length - CORE).fill(null)
    if (!this.readObject()) return null
    for (const slot of this.required) if (this.seen[slot] !== this.round) return null
    const { occurredAtMs, offsetMinutes } = this.instant
    if (occurredAtMs > nowMs + this.aheadMsMax) return null
    const { code, toBase } = this.currencies[this.currency]
    const amountBaseMinor = toBase(this.amountMinor)
    if (Number.isNaN(amountBaseMinor)) return null
    return {
      transactionId: this.transactionId,
      occurredAtMs,
      offsetMinutes,
      amountMinor: this.amountMinor,
      currency: code,
      amountBaseMinor,
      fields: this.fields,
    }
  }

  private readObject(): boolean {
    const { source } = this
    if (this.next() !== OPEN) return false
    let expected = 0
    for (;;) {
      if (this.next() !== QUOTE) return false
      const slot = this.readKey(expected)
      if (slot < 0 || this.seen[slot] === this.round) return false
      this.seen[slot] = this.round
      expected = slot + 1
      if (this.next() !== COLON || !this.readValue(slot)) return false
      const after = this.next()
      if (after === CLOSE) break
      if (after !== COMMA) return false
    }
    while (this.at < source.length && isSpace(source[this.at])) this.at++
    return this.at === source.length
  }

  /** The next byte that is not white space; NaN-safe: undefined at the end equals nothing. */
  private next(): number {
    const { source } = this
    let byte = source[this.at++]
    while (isSpace(byte)) byte = source[this.at++]
    return byte
  }

  /** The slot of the key that starts here, its closing quote taken; first the one that follows in the usual order. */
  private readKey(expected: number): number {
    const { slots } = this
    for (let step = 0; step < slots.length; step++) {
      const slot = expected + step < slots.length ? expected + step : expected + step - slots.length
      const { key } = slots[slot]
      if (this.matches(key)) {
        this.at += key.length + 1
        return slot
      }
    }
    return -1
  }

  private matches(key: Buffer): boolean {
    const { source, at } = this
    const { length } = key
    if (source[at + length] !== QUOTE) return false
    for (let index = 0; index < length; index++) if (source[at + index] !== key[index]) return false
    return true
  }

  private readValue(slot: number): boolean {
    switch (slot) {
      case TRANSACTION_ID:
        return this.readId()
      case OCCURRED_AT:
        return this.readTime()
      case AMOUNT_MINOR:
        this.amountMinor = this.readDigits()
        return this.amountMinor <= this.parts.limits.amountMinorMax
      case CURRENCY:
        return this.readCurrency()
      default:
        return this.readField(this.slots[slot], slot - CORE)
    }
  }

  private readId(): boolean {
    const text = this.readText(ID_CHARS_MAX)
    if (text === null || text.length === 0) return false
    this.transactionId = text
    return this.digits < CARD_DIGITS_MIN || !holdsCardData(text)
  }

  private readTime(): boolean {
    if (this.source[this.at] !== QUOTE) {
      const value = this.readDigits()
      this.instant.occurredAtMs = value
      this.instant.offsetMinutes = 0
      return isEpochMs(value)
    }
    const text = this.readText(35)
    return text !== null && parseRfc3339(text, this.instant)
  }

  private readCurrency(): boolean {
    const { source, at, currencies } = this
    if (source[at] !== QUOTE || source[at + 4] !== QUOTE) return false
    const key = currencyKey(source, at + 1)
    this.at = at + 5
    for (let index = 0; index < currencies.length; index++) {
      if (currencies[index].key === key) {
        this.currency = index
        return true
      }
    }
    return false
  }

  private readField(slot: Slot, index: number): boolean {
    const { field, pattern } = slot
    if (field === null) return false
    if (field.type !== 'string') return this.readScalar(field, index)
    const text = this.readText(this.parts.limits.stringCharsMax)
    if (text === null) return false
    this.fields[index] = text
    if (pattern !== null) return pattern.test(text)
    return this.digits < CARD_DIGITS_MIN || !holdsCardData(text)
  }

  private readScalar(field: FieldSpec, index: number): boolean {
    if (field.type === 'boolean') {
      const value = this.takes('true')
      this.fields[index] = value
      return value || this.takes('false')
    }
    const value = this.readDigits()
    this.fields[index] = value
    return value < 10 ** (CARD_DIGITS_MIN - 1)
  }

  private takes(word: string): boolean {
    this.skipSpace()
    for (let index = 0; index < word.length; index++) {
      if (this.source[this.at + index] !== word.charCodeAt(index)) return false
    }
    this.at += word.length
    return true
  }

  private skipSpace(): void {
    while (isSpace(this.source[this.at])) this.at++
  }

  /** A whole number of at most 15 digits, as JSON writes it; NaN otherwise. */
  private readDigits(): number {
    this.skipSpace()
    const { source } = this
    const start = this.at
    let at = start
    let value = 0
    for (;;) {
      const digit = source[at] - 48
      if (!(digit >= 0 && digit <= 9)) break
      value = value * 10 + digit
      at++
    }
    const count = at - start
    this.at = at
    return count === 0 || count > 15 || (count > 1 && source[start] === 48) ? NaN : value
  }

  /** A text of printable ASCII without escapes and of at most so many characters; null otherwise. Counts its digits. */
  private readText(charsMax: number): string | null {
    this.skipSpace()
    const { source } = this
    if (source[this.at] !== QUOTE) return null
    const start = this.at + 1
    let at = start
    let digits = 0
    for (;;) {
      const byte = source[at]
      if (byte === QUOTE) break
      if (!(byte >= 32 && byte < 127 && byte !== 92)) return null
      if (byte >= 48 && byte <= 57) digits++
      at++
    }
    if (at - start > charsMax) return null
    this.at = at + 1
    this.digits = digits
    return textOf(source, start, at)
  }
}

function slotOf(field: FieldSpec): Slot {
  return {
    key: Buffer.from(field.name),
    field,
    pattern: field.identifier === undefined ? null : new RegExp(field.identifier),
  }
}

function currencyKey(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2]
}

function isSpace(byte: number | undefined): boolean {
  return byte === 32 || byte === 10 || byte === 13 || byte === 9
}

/** One native call, which Node's types leave out; adding up characters would make ropes to be flattened later. */
const { latin1Slice } = Buffer.prototype as unknown as {
  latin1Slice: (this: Uint8Array, start: number, end: number) => string
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return latin1Slice.call(bytes, start, end)
}
