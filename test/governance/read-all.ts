// Reads a whole log into a store inside the test's process: tail, a monitor, store, until nothing is left. No test.
import type { Finding } from '../../src/decision-log/finding.js'
import { WITHOUT_REST } from '../../src/runtime/pace.js'
import { runPipeline } from '../../src/governance/pipeline.js'
import type { Monitor } from '../../src/governance/port.js'
import { openStore, type Store, type StoreOptions } from '../../src/governance/store/open.js'
import { createTail } from '../../src/governance/tail.js'
import { type Limits, LIMITS } from '../../src/limits.js'
import { createWindowMonitor } from './window-monitor.js'

export interface ReadAllOptions {
  readonly logDir: string
  /** Of the store. */
  readonly directory: string
  readonly limits?: Limits
  readonly monitors?: readonly Monitor[]
  /** Ends after so many batches instead. */
  readonly batchesMax?: number
}

export interface ReadAll {
  readonly ended: 'closed' | 'taken_back'
  readonly batches: readonly { readonly records: number; readonly findings: readonly Finding[] }[]
}

/** Options of a store for tests, with the tables of these monitors. */
export function storeOptions(directory: string, monitors: readonly Monitor[] = [createWindowMonitor()]): StoreOptions {
  const tables = Object.fromEntries(monitors.flatMap((monitor) => Object.entries(monitor.tables)))
  return { directory, tables, memoryBytesMax: 256 << 20, threads: 1 }
}

/** Goes on where the store ends, until the log has no more; closes the store. */
export async function readAll(options: ReadAllOptions): Promise<ReadAll> {
  const limits = options.limits ?? LIMITS
  const monitors = options.monitors ?? [createWindowMonitor()]
  const store: Store = await openStore(storeOptions(options.directory, monitors))
  const batches: { records: number; findings: readonly Finding[] }[] = []
  try {
    const tail = createTail({ directory: options.logDir, from: store.resume(), limits: { ...limits, tailGatherMs: 1 } })
    const isDone = (): boolean =>
      batches.length >= (options.batchesMax ?? Infinity) ||
      (tail.end() > 0 && (store.resume()?.position.sequence ?? 0) >= tail.end())
    const ended = await runPipeline({
      ...{ tail, store, monitors, shadows: null, alerter: null, publishers: [] },
      upkeep: { follow: () => Promise.resolve() },
      pace: WITHOUT_REST,
      room: () => Promise.resolve(!isDone()),
      onCommitted: ({ batch }) => void batches.push({ records: batch.records.length, findings: batch.findings }),
    })
    tail.close()
    return { ended: ended.kind, batches }
  } finally {
    await store.close()
  }
}
