// What becomes of keys and of those who present them, for events, metrics and the audit: one in each process.
// Invariant: nothing of a key stands in it, and nothing in it grows: counts stand under closed sets of labels.
import type { Logger } from '../telemetry/logger.js'
import type { ReadMetric } from '../telemetry/metrics.js'
import type { ReadOutcome } from './held-keys.js'

export type ListenerName = 'score' | 'operations' | 'governance'

export interface Ledger {
  /** A changed file of keys was read. */
  keysRead(listener: ListenerName, file: string, outcome: ReadOutcome): void
  readonly counters: readonly ReadMetric[]
  readonly gauges: readonly ReadMetric[]
}

/** Makes an empty one. */
export function createLedger({ logger }: { readonly logger: Logger }): Ledger {
  const reads = { taken: new Map<ListenerName, number>(), refused: new Map<ListenerName, number>() }
  const stale = new Map<ListenerName, number>()
  return {
    keysRead(listener, file, outcome) {
      const isRefused = 'refused' in outcome
      const counts = isRefused ? reads.refused : reads.taken
      counts.set(listener, (counts.get(listener) ?? 0) + 1)
      stale.set(listener, isRefused ? 1 : 0)
      if (isRefused) logger.event('KeysRefused', { listener, file, detail: outcome.refused })
      else logger.event('KeysReplaced', { listener, file, keys: outcome.keys })
    },
    counters: [
      {
        name: 'assay_keys_reads_total',
        help: 'Changed files of keys that were read, by listener and result (taken, refused)',
        labels: ['listener', 'result'],
        read: () =>
          Object.entries(reads).flatMap(([result, counts]) =>
            [...counts].map(([listener, value]) => ({ labels: { listener, result }, value })),
          ),
      },
    ],
    gauges: [
      {
        name: 'assay_keys_stale',
        help: '1 while a file of keys is gone or not valid, and the keys before it stand',
        labels: ['listener'],
        read: () => [...stale].map(([listener, value]) => ({ labels: { listener }, value })),
      },
    ],
  }
}
