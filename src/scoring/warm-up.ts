// Runs the whole path before readiness, so that the first payment does not meet cold code. Nothing of it stays: the
// windows, the index and the log it writes to are thrown away, only the lanes and the compiled code are the real ones.
import type { Policy } from '../contract/policy.js'
import type { FieldSpec, FieldValue } from '../contract/transaction.js'
import type { DecisionLog } from '../decision-log/port.js'

/** A decision log that keeps nothing and is durable as soon as it is flushed. */
export function createScratchLog(recordBytesMax: number, onProgress: () => void): DecisionLog {
  const scratch = Buffer.alloc(recordBytesMax)
  let sequence = 0
  let durable = 0
  return {
    logId: Buffer.alloc(8),
    epoch: 0,
    reserve: () => true,
    release: () => undefined,
    append(_type, encode) {
      encode(scratch, 0)
      return ++sequence
    },
    flush() {
      if (durable === sequence) return
      durable = sequence
      setImmediate(onProgress)
    },
    durableSequence: () => durable,
    healthy: () => true,
    close: () => Promise.resolve(),
  }
}

/** Strings tried against an identifier's pattern; a field that takes none of them is left out. */
const SAMPLES = ['1', 'a1', 'A1', '0001', '00000001', 'abcdefgh', '1234567']

/** Bodies of POST /v1/score that fit the policy's schema: `entities` different values per entity field. */
export function sampleBodies(policy: Policy, count: number, nowMs: number): string[] {
  const [currency] = Object.keys(policy.currencies.list)
  return Array.from({ length: count }, (_, at) => {
    const fields = policy.schema.fields.flatMap((field) => {
      const value = sampleOf(field, at)
      return value === null ? [] : [[field.name, value] as const]
    })
    return JSON.stringify({
      transaction_id: `warm-up-${at}`,
      occurred_at: new Date(nowMs - count + at).toISOString(),
      amount_minor: 100 + ((at * 7919) % 20_000),
      currency,
      ...Object.fromEntries(fields),
    })
  })
}

function sampleOf(field: FieldSpec, at: number): FieldValue {
  switch (field.type) {
    case 'boolean':
      return at % 2 === 0
    case 'integer':
    case 'number':
      return at % 50
    case 'string': {
      const pattern = new RegExp(field.identifier ?? '')
      const samples = [`${at % 50}`, ...SAMPLES]
      return samples.find((sample) => pattern.test(sample)) ?? null
    }
  }
}
