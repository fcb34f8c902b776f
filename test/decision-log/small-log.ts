// Opens real logs in a directory of the test, with tiny limits, and appends to them.
import { openDecisionLog } from '../../src/decision-log/open.js'
import type { OpenDecisionLog, OpenDeps, OpenOptions } from '../../src/decision-log/open.js'
import { openLogReader } from '../../src/decision-log/reader.js'
import type { ReadOptions } from '../../src/decision-log/reader.js'
import type { Finding } from '../../src/decision-log/finding.js'

/** So small that rings fill and segments end within a test. */
const LIMITS = { recordBytesMax: 4 << 10, controlBytesMax: 7 << 10, logRingBytes: 32 << 10, segmentBytes: 64 << 10 }

export interface OpenLog {
  readonly log: OpenDecisionLog
  /** Resolves when `ready` holds; looked at whenever the log says that something moved. */
  readonly until: (ready: () => boolean) => Promise<void>
  /** Appends one record under a reservation, or returns -1 where the log takes none. */
  readonly put: (body: string) => number
  readonly faults: string[]
}

/** Opens a log with tiny limits. */
export async function openSmallLog(
  directory: string,
  options: Partial<OpenOptions> = {},
  deps: OpenDeps = {},
): Promise<OpenLog> {
  const waiting = new Set<() => void>()
  const faults: string[] = []
  const lookAll = (): void => {
    for (const look of waiting) look()
  }
  const log = await openDecisionLog(
    {
      ...{
        directory,
        durability: 'synced',
        limits: LIMITS,
        diskBytesMax: Infinity,
        schemas: Buffer.from('{"decision":1}'),
      },
      controlState: () => Buffer.from('control'),
      onProgress: lookAll,
      onFault: (fault) => {
        faults.push(fault)
        lookAll()
      },
      ...options,
    },
    deps,
  )
  return {
    log,
    faults,
    until: (ready) =>
      new Promise((done) => {
        const look = (): void => {
          if (!ready()) return
          waiting.delete(look)
          done()
        }
        waiting.add(look)
        look()
      }),
    put: (body) => (log.reserve() ? log.append('decision', (buffer, at) => at + buffer.write(body, at)) : -1),
  }
}

/** All bodies of a log, with what was found beside them. */
export function readBodies(directory: string, options: ReadOptions = {}): { bodies: string[]; findings: Finding[] } {
  const bodies: string[] = []
  const findings: Finding[] = []
  const reader = openLogReader(directory, options)
  reader.read({
    onRecord: ({ buffer, start, end }) => void bodies.push(buffer.toString('utf8', start, end)),
    onFinding: (finding) => void findings.push(finding),
  })
  reader.close()
  return { bodies, findings }
}
