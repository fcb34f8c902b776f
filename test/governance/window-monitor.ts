// A monitor for tests with an open window in memory: every hundred decisions become a row with sums over them, so that
// a record lost, repeated or taken twice into a window changes a row for good.
import type { DerivedRow, Monitor, TailRecord } from '../../src/governance/port.js'

const WINDOW = 100

interface Open {
  window: number
  first: number
  n: number
  sequences: number
  amount: number
  lastVectorByte: number
}

export function createWindowMonitor(): Monitor {
  let open: Open = { window: 0, first: 0, n: 0, sequences: 0, amount: 0, lastVectorByte: 0 }
  let rows: DerivedRow[] = []
  return {
    name: 'test-windows',
    tables: {
      test_windows: {
        ...{ window_number: 'BIGINT', first_sequence: 'BIGINT', n: 'INTEGER', sequences: 'BIGINT', amount: 'BIGINT' },
        counts: 'BIGINT[]',
      },
    },
    take({ record, sequence }: TailRecord) {
      if (record.type !== 'decision') return
      if (open.n === 0) open.first = sequence
      open.n += 1
      open.sequences += sequence
      open.amount += record.personal.transaction.amountMinor
      open.lastVectorByte = record.personal.vector.at(-1) ?? 0
      if (open.n < WINDOW) return
      const { window, first, n, sequences, amount, lastVectorByte } = open
      const row = { window_number: window, first_sequence: first, n, sequences, amount, counts: [n, lastVectorByte] }
      rows.push({ table: 'test_windows', row })
      open = { window: window + 1, first: 0, n: 0, sequences: 0, amount: 0, lastVectorByte: 0 }
    },
    drain() {
      const drained = rows
      rows = []
      return drained
    },
    checkpoint: () => Buffer.from(JSON.stringify(open)),
    restore(checkpoint) {
      open = JSON.parse(Buffer.from(checkpoint).toString()) as Open
    },
  }
}
