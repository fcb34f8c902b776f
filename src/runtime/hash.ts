// Keyed hashing without allocation: SipHash-2-4 (Aumasson, Bernstein 2012) with 64 or 128 bits of output, on 32-bit
// halves. Keyed, so that nobody outside can choose values that fall on one place of a table. Results stand in `a b c d`
// until the next call. Not for signatures or for digests that others compare: those are SHA-256.

export interface Hasher {
  /**
   * The low and high word of the 64-bit hash; after a 128-bit hash `a b c d` are its four words, lowest first. All
   * uint32.
   */
  a: number
  b: number
  c: number
  d: number
  /** 64 bits over the UTF-8 bytes of `text`, into `a` and `b`. */
  string(text: string): void
  /** 64 bits over bytes[from, to), into `a` and `b`. */
  bytes(bytes: Uint8Array, from: number, to: number): void
  /** 128 bits over bytes[from, to), into `a b c d`: for content, where a collision would join two transactions. */
  bytes128(bytes: Uint8Array, from: number, to: number): void
}

/** A hasher under a 16-byte key. Keep one per use: its result fields are overwritten by each call. */
export function createHasher(key: Uint8Array): Hasher {
  if (key.length !== 16) throw new RangeError('a SipHash key has 16 bytes')
  return new SipHasher(key)
}

// A class: the state of a round lives in fields of one hidden class and nothing is allocated per hash.
class SipHasher implements Hasher {
  a = 0
  b = 0
  c = 0
  d = 0
  readonly #k0: number
  readonly #k1: number
  readonly #k2: number
  readonly #k3: number
  #scratch = Buffer.alloc(1024)

  constructor(key: Uint8Array) {
    this.#k0 = word(key, 0)
    this.#k1 = word(key, 4)
    this.#k2 = word(key, 8)
    this.#k3 = word(key, 12)
  }

  string(text: string): void {
    const length = text.length
    if (length * 3 > this.#scratch.length) this.#scratch = Buffer.alloc(length * 6)
    const scratch = this.#scratch
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 127) {
        this.#run(scratch, 0, scratch.write(text, 0, 'utf8'), false)
        return
      }
      scratch[i] = code
    }
    this.#run(scratch, 0, length, false)
  }

  bytes(bytes: Uint8Array, from: number, to: number): void {
    this.#run(bytes, from, to, false)
  }

  bytes128(bytes: Uint8Array, from: number, to: number): void {
    this.#run(bytes, from, to, true)
  }

  // One function, locals only: the rounds are written out in `roundN` order by the loop below, so that V8 keeps the
  // eight halves in registers or on the stack. Longer than our aim for that reason.
  #run(bytes: Uint8Array, from: number, to: number, wide: boolean): void {
    let v0l = this.#k0 ^ 0x70736575
    let v0h = this.#k1 ^ 0x736f6d65
    let v1l = this.#k2 ^ 0x6e646f6d
    let v1h = this.#k3 ^ 0x646f7261
    let v2l = this.#k0 ^ 0x6e657261
    let v2h = this.#k1 ^ 0x6c796765
    let v3l = this.#k2 ^ 0x79746573
    let v3h = this.#k3 ^ 0x74656462
    if (wide) v1l ^= 0xee
    const length = to - from
    const words = length >>> 3
    // Steps: each word costs 2 rounds; then the last word 2; then 4 to finish, and 4 more for the second 64 bits.
    const rounds = (words + 1) * 2
    const total = rounds + (wide ? 8 : 4)
    let ml = 0
    let mh = 0
    let at = from
    for (let step = 0; step < total; step++) {
      if (step < rounds) {
        if ((step & 1) === 0) {
          if (step >>> 1 < words) {
            ml = word(bytes, at)
            mh = word(bytes, at + 4)
            at += 8
          } else {
            ml = tail(bytes, at, Math.min(to, at + 4))
            mh = tail(bytes, at + 4, to) | (length << 24)
          }
          v3l ^= ml
          v3h ^= mh
        }
      } else if (step === rounds) {
        v2l ^= wide ? 0xee : 0xff
      } else if (step === rounds + 4) {
        this.a = (v0l ^ v1l ^ v2l ^ v3l) >>> 0
        this.b = (v0h ^ v1h ^ v2h ^ v3h) >>> 0
        v1l ^= 0xdd
      }
      // SipRound. A carry out of the low half shows as an unsigned sum smaller than a summand.
      let low = (v0l + v1l) | 0
      v0h = (v0h + v1h + (low >>> 0 < v1l >>> 0 ? 1 : 0)) | 0
      v0l = low
      let high = (v1h << 13) | (v1l >>> 19)
      v1l = ((v1l << 13) | (v1h >>> 19)) ^ v0l
      v1h = high ^ v0h
      low = v0l
      v0l = v0h
      v0h = low
      low = (v2l + v3l) | 0
      v2h = (v2h + v3h + (low >>> 0 < v3l >>> 0 ? 1 : 0)) | 0
      v2l = low
      high = (v3h << 16) | (v3l >>> 16)
      v3l = ((v3l << 16) | (v3h >>> 16)) ^ v2l
      v3h = high ^ v2h
      low = (v0l + v3l) | 0
      v0h = (v0h + v3h + (low >>> 0 < v3l >>> 0 ? 1 : 0)) | 0
      v0l = low
      high = (v3h << 21) | (v3l >>> 11)
      v3l = ((v3l << 21) | (v3h >>> 11)) ^ v0l
      v3h = high ^ v0h
      low = (v2l + v1l) | 0
      v2h = (v2h + v1h + (low >>> 0 < v1l >>> 0 ? 1 : 0)) | 0
      v2l = low
      high = (v1h << 17) | (v1l >>> 15)
      v1l = ((v1l << 17) | (v1h >>> 15)) ^ v2l
      v1h = high ^ v2h
      low = v2l
      v2l = v2h
      v2h = low
      if (step < rounds && (step & 1) === 1) {
        v0l ^= ml
        v0h ^= mh
      }
    }
    const low = (v0l ^ v1l ^ v2l ^ v3l) >>> 0
    const high = (v0h ^ v1h ^ v2h ^ v3h) >>> 0
    if (wide) {
      this.c = low
      this.d = high
    } else {
      this.a = low
      this.b = high
    }
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24) | 0
  )
}

function tail(bytes: Uint8Array, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) value |= (bytes[i] ?? 0) << ((i - from) * 8)
  return value
}
