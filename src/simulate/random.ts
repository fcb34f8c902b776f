// Seeded random numbers for the simulator: sfc32 (Chris Doty-Humphrey's PractRand, public domain) and a stateless mix.
// Invariant: the same seed gives the same numbers on every machine and Node version; nothing here reads a clock.
// Refuses nothing; not for secrets or keys.

export interface Random {
  /** Uniform in [0, 1), 32 bits. */
  uniform(): number
  /** Integer in [0, below). */
  integer(below: number): number
  /** Exponential with mean 1. */
  exponential(): number
  /** Normal with mean 0 and standard deviation 1 (Box–Muller, one of the pair). */
  normal(): number
  /** Poisson with a small mean (Knuth's product method; cost grows with the mean). */
  poisson(mean: number): number
}

/** A generator of its own state; streams of different `seed` are independent for every use here. */
export function createRandom(seed: number): Random {
  let a = mix(seed, 1)
  let b = mix(seed, 2)
  let c = mix(seed, 3)
  let counter = 1
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + sum) | 0
    return sum >>> 0
  }
  for (let round = 0; round < 12; round++) next()
  const uniform = (): number => next() / 4294967296
  return {
    uniform,
    integer: (below) => Math.floor(uniform() * below),
    exponential: () => -Math.log(1 - uniform()),
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    poisson(mean) {
      const bound = Math.exp(-mean)
      let count = 0
      for (let product = uniform(); product > bound; product *= uniform()) count++
      return count
    },
  }
}

/** A stateless 32-bit hash of two integers (the finalizer of MurmurHash3): traits are derived from it, not stored. */
export function mix(left: number, right: number): number {
  let hash = Math.imul(left | 0, 0x9e3779b1) ^ Math.imul((right + 0x7f4a7c15) | 0, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

/** `mix` as a number in [0, 1). */
export function mixUniform(left: number, right: number): number {
  return (mix(left, right) >>> 0) / 4294967296
}
