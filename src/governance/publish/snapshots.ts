// Keeps the newest snapshot of the server's state near the end of the log, so that a start has little to fold. The work
// is `assay features snapshot`'s, in a process of its own: the state of a server can be large, and goes with it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { listSnapshots } from '../../decision-log/snapshot-files.js'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import type { Publisher } from '../pipeline.js'

export interface SnapshotsDeps {
  readonly dataDir: string
  /** Records that may stand behind the newest snapshot. */
  readonly records: number
  /** The command that makes one, and its arguments. */
  readonly command: readonly [string, ...string[]]
  readonly clock: Clock
  readonly limits: Pick<Limits, 'snapshotEveryMs'>
}

/** One command at a time, and not too often; how it ends is shown as trouble, and tried again. */
export function createSnapshots({ dataDir, records, command, clock, limits }: SnapshotsDeps): Publisher {
  let failed: string | null = null
  let lastMs = -Infinity
  let running: AbortController | null = null
  let ended: Promise<void> = Promise.resolve()

  async function make(stop: AbortController): Promise<void> {
    const [file, ...args] = command
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], signal: stop.signal })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-1_000)))
    const code = await once(child, 'close').then(
      ([code]: unknown[]) => code,
      (error: unknown) => String(error),
    )
    failed = code === 0 ? null : `no snapshot of the state was made: ${said.trim() || String(code)}`
    running = null
  }

  return {
    name: 'snapshots',
    publish({ batch }) {
      const sequence = batch.position?.sequence ?? 0
      if (running !== null || clock.monoMs() - lastMs < limits.snapshotEveryMs) return
      if (sequence - (listSnapshots(dataDir).at(0)?.sequence ?? 0) < records) return
      lastMs = clock.monoMs()
      running = new AbortController()
      ended = make(running)
    },
    trouble: () => failed,
    async close() {
      running?.abort()
      await ended
    },
  }
}
