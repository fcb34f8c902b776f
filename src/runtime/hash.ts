// Keyed hashing without allocation: SipHash (Aumasson, Bernstein 2012) on 32-bit halves. Keyed, so that nobody outside
// can choose values that fall on one place of a table. 64 bits are SipHash-1-3, what the hash tables of Rust and of
// CPython take; 128 bits, where a collision would join two transactions, are the full SipHash-2-4. Results stand in
// `a b c d` until the next call. Not for signatures or for digests that others compare: those are SHA-256.

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
  /** The message as 32-bit halves of its words, lowest first, and the same memory as bytes. */
  #halves = new Int32Array(256)
  #octets = Buffer.from(this.#halves.buffer)

  constructor(key: Uint8Array) {
    const view = new DataView(key.buffer, key.byteOffset, 16)
    this.#k0 = view.getInt32(0, true)
    this.#k1 = view.getInt32(4, true)
    this.#k2 = view.getInt32(8, true)
    this.#k3 = view.getInt32(12, true)
  }

  string(text: string): void {
    const length = text.length
    this.#reserve(length * 3)
    const halves = this.#halves
    let half = 0
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 127) {
        this.#run(this.#octets.write(text, 0, 'utf8'), false)
        return
      }
      half |= code << ((i & 3) << 3)
      if ((i & 3) === 3) {
        halves[i >>> 2] = half
        half = 0
      }
    }
    halves[length >>> 2] = half
    this.#run(length, false)
  }

  bytes(bytes: Uint8Array, from: number, to: number): void {
    this.#read(bytes, from, to)
    this.#run(to - from, false)
  }

  bytes128(bytes: Uint8Array, from: number, to: number): void {
    this.#read(bytes, from, to)
    this.#run(to - from, true)
  }

  /** Room for a message of that many bytes and its padding. */
  #reserve(bytes: number): void {
    if (bytes + 8 <= this.#octets.length) return
    this.#halves = new Int32Array(bytes)
    this.#octets = Buffer.from(this.#halves.buffer)
  }

  #read(bytes: Uint8Array, from: number, to: number): void {
    this.#reserve(to - from)
    const octets = this.#octets
    for (let i = from; i < to; i++) octets[i - from] = bytes[i]
  }

  // One function, locals only: every round is the one written out in the loop below, so that V8 keeps the eight halves
  // in registers or on the stack. Longer than our aim for that reason.
  #run(length: number, wide: boolean): void {
    const halves = this.#halves
    // The last word holds the bytes left over and, on top, the length.
    const last = (length >>> 3) << 1
    if ((length & 4) === 0) halves[last + 1] = 0
    const left = length & 3
    halves[length >>> 2] &= (1 << (left << 3)) - 1
    halves[last + 1] |= length << 24
    let v0l = this.#k0 ^ 0x70736575
    let v0h = this.#k1 ^ 0x736f6d65
    let v1l = this.#k2 ^ 0x6e646f6d
    let v1h = this.#k3 ^ 0x646f7261
    let v2l = this.#k0 ^ 0x6e657261
    let v2h = this.#k1 ^ 0x6c796765
    let v3l = this.#k2 ^ 0x79746573
    let v3h = this.#k3 ^ 0x74656462
    if (wide) v1l ^= 0xee
    // Rounds: 1 or 2 for each word; then 3 or 4 to finish, and 4 more for the second 64 bits.
    const second = wide ? 1 : 0
    const rounds = ((last >>> 1) + 1) << second
    const total = rounds + (wide ? 8 : 3)
    let ml = 0
    let mh = 0
    for (let step = 0; step < total; step++) {
      if (step < rounds) {
        if ((step & second) === 0) {
          const at = (step >>> second) << 1
          ml = halves[at]
          mh = halves[at + 1]
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
      // SipRound. A carry out of the low half is computed, not compared: a branch on it would be a coin's toss.
      let low = (v0l + v1l) | 0
      v0h = (v0h + v1h + (((v0l & v1l) | ((v0l | v1l) & ~low)) >>> 31)) | 0
      v0l = low
      let high = (v1h << 13) | (v1l >>> 19)
      v1l = ((v1l << 13) | (v1h >>> 19)) ^ v0l
      v1h = high ^ v0h
      low = v0l
      v0l = v0h
      v0h = low
      low = (v2l + v3l) | 0
      v2h = (v2h + v3h + (((v2l & v3l) | ((v2l | v3l) & ~low)) >>> 31)) | 0
      v2l = low
      high = (v3h << 16) | (v3l >>> 16)
      v3l = ((v3l << 16) | (v3h >>> 16)) ^ v2l
      v3h = high ^ v2h
      low = (v0l + v3l) | 0
      v0h = (v0h + v3h + (((v0l & v3l) | ((v0l | v3l) & ~low)) >>> 31)) | 0
      v0l = low
      high = (v3h << 21) | (v3l >>> 11)
      v3l = ((v3l << 21) | (v3h >>> 11)) ^ v0l
      v3h = high ^ v0h
      low = (v2l + v1l) | 0
      v2h = (v2h + v1h + (((v2l & v1l) | ((v2l | v1l) & ~low)) >>> 31)) | 0
      v2l = low
      high = (v1h << 17) | (v1l >>> 15)
      v1l = ((v1l << 17) | (v1h >>> 15)) ^ v2l
      v1h = high ^ v2h
      low = v2l
      v2l = v2h
      v2h = low
      if (step < rounds && (step & second) === second) {
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
