// Checks a decision log as far as bytes go: every checksum, every sequence, every link between segments. What the
// records mean is checked elsewhere.
import type { Disk } from './disk.js'
import { isDamage } from './finding.js'
import type { Finding } from './finding.js'
import { openLogReader } from './reader.js'

export interface EpochCount {
  readonly epoch: number
  readonly firstSequence: number
  readonly lastSequence: number
  /** Records per type name; `unknown` for types of a later release. */
  readonly records: Readonly<Record<string, number>>
}

export interface Verification {
  /** Hex; null for a directory without a log. */
  readonly logId: string | null
  readonly segments: number
  readonly records: number
  readonly epochs: readonly EpochCount[]
  readonly findings: readonly Finding[]
  /** True where a finding means lost or changed evidence. */
  readonly damaged: boolean
}

interface OpenCount {
  epoch: number
  firstSequence: number
  lastSequence: number
  records: Record<string, number>
}

/** Reads the whole log at rest. */
export function verifyLog(source: string | Disk): Verification {
  const reader = openLogReader(source)
  const findings: Finding[] = []
  const epochs: OpenCount[] = []
  let logId: string | null = null
  let segments = 0
  const records = reader.read({
    onSegment(_name, header) {
      segments++
      logId = header.logId.toString('hex')
    },
    onFinding: (finding) => void findings.push(finding),
    onRecord({ epoch, sequence, type }) {
      let count = epochs.at(-1)
      if (count?.epoch !== epoch) {
        count = { epoch, firstSequence: sequence, lastSequence: sequence, records: {} }
        epochs.push(count)
      }
      const name = type ?? 'unknown'
      count.lastSequence = sequence
      count.records[name] = (count.records[name] ?? 0) + 1
    },
  })
  reader.close()
  return { logId, segments, records, epochs, findings, damaged: findings.some(isDamage) }
}
