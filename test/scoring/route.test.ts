// Sticky buckets: stable, uniform and monotone over a million entities.
import { createHmac } from 'node:crypto'
import t from 'tap'
import { BUCKETS, bucketOf, createBuckets, isChallenged } from '../../src/scoring/route.js'

const key = Buffer.from('00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', 'hex')
const RAMP = [0, 100, 500, 2_500, 10_000]

void t.test('the bucket is the rule of the HMAC, computed here with integers', (t) => {
  for (const entity of ['852', 'Łódź', '', 'x'.repeat(256)]) {
    const first = createHmac('sha256', key).update(entity, 'utf8').digest().readUInt32BE(0)
    t.equal(bucketOf(key, entity), Number((BigInt(first) * 10_000n) >> 32n))
  }
  t.not(bucketOf(key, '852'), bucketOf(Buffer.alloc(32), '852'), 'another experiment deals anew')
  t.end()
})

void t.test('a ramp of 1, 5, 25, 100 % over a million ids moves nobody back and fills its shares', (t) => {
  const ids = 1_000_000
  const counts = new Uint32Array(BUCKETS)
  const challenged = RAMP.map(() => 0)
  let movedBack = 0
  for (let id = 0; id < ids; id++) {
    const bucket = bucketOf(key, `customer-${id}`)
    counts[bucket]++
    let before = false
    for (let step = 0; step < RAMP.length; step++) {
      const now = isChallenged(bucket, RAMP[step])
      if (before && !now) movedBack++
      if (now) challenged[step]++
      before = now
    }
  }
  t.equal(movedBack, 0)
  t.equal(challenged[0], 0)
  t.equal(challenged[4], ids)
  for (let step = 1; step < 4; step++) {
    const share = RAMP[step] / BUCKETS
    const deviation = Math.abs(challenged[step] - ids * share) / Math.sqrt(ids * share * (1 - share))
    t.ok(deviation < 4.5, `share ${share} lies ${deviation.toFixed(2)} standard deviations off`)
  }
  // Chi-square over 10,000 equal cells: mean 9,999, standard deviation √(2 × 9,999) = 141.4 (normal approximation).
  const expected = ids / BUCKETS
  const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
  t.ok(Math.abs(chiSquare - 9_999) < 4.5 * 141.4, `chi-square ${chiSquare.toFixed(0)} on 9,999 degrees of freedom`)
  t.end()
})

void t.test('remembered buckets equal computed ones, also after they were forgotten', (t) => {
  const bucket = createBuckets(key, 8)
  for (let round = 0; round < 3; round++) {
    for (let id = 0; id < 50; id++) t.equal(bucket(`c${id}`), bucketOf(key, `c${id}`))
  }
  t.end()
})
