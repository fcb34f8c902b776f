// Follows the decision log: batches of decoded records in the order of the log, each with what held when it was
// written. Invariants: a batch is bounded in records and bytes, however far the log is ahead; after a fault the tail
// goes on at the end of the last batch handed over, so nothing is skipped or handed over twice; whatever cannot be read
// or decoded is a finding with its place. Writes nothing, and waits for a log that is not there yet.
import { existsSync } from 'node:fs'
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import { parseControlState, stateAfter } from '../contract/control-state.js'
import { codecsFromSchemas, type RecordDecoder } from '../contract/record.js'
import type { DecodedRecord, RecordType } from '../contract/record-types.js'
import { readHead } from '../decision-log/chain.js'
import { createDisk } from '../decision-log/disk.js'
import type { Finding } from '../decision-log/finding.js'
import { HEAD_NAME } from '../decision-log/head.js'
import { type LogReader, type LogRecord, openLogReader, type Position } from '../decision-log/reader.js'
import type { SegmentHeader } from '../decision-log/segment.js'
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import type { Batch, Control, TailRecord } from './port.js'

export interface TailOptions {
  readonly directory: string
  /** Where to go on, and what held there; null for the beginning. */
  readonly from: { readonly position: Position; readonly control: Control | null } | null
  readonly limits: Pick<
    Limits,
    'tailBatchRecordsMax' | 'tailBatchBytesMax' | 'tailTurnRecordsMax' | 'tailGatherMs' | 'tailPollMsMax'
  >
  /** Called after each record (pace.ts). */
  readonly rest?: () => void
}

export interface Tail {
  /**
   * The next batch; waits until there is one. Null once closed. Throws ASSAY_INPUT_INVALID where the position belongs
   * to another log.
   */
  next(): Promise<Batch | null>
  /** Makes `next` hand over a batch soon, an empty one if need be: something else wants to be written. */
  nudge(): void
  /** What holds after the last batch. */
  control(): Control | null
  /** The last sequence that can be read now; 0 where there is none. */
  end(): number
  /** Up to which sequence of which epoch the log is durable; null where that cannot be read. */
  durable(): { readonly epoch: number; readonly sequence: number } | null
  /** Why the log could not be read just now; null while it can. */
  fault(): AssayError | null
  close(): void
}

/** What a batch gathers, and the state that counts only once it is handed over. */
interface Gathering {
  readonly records: TailRecord[]
  readonly findings: Finding[]
  bytes: number
  control: Control | null
  takenBackTo: number | null
}

const EMPTY: Batch = { records: [], findings: [], position: null, takenBackTo: null }

export function createTail(options: TailOptions): Tail {
  const { directory, limits, rest = () => undefined } = options
  const stop = new AbortController()
  let at = options.from
  /** What holds where the reader stands: it may have entered a segment that has no record yet. */
  let held = at?.control ?? null
  let reader: LogReader | null = null
  let fault: AssayError | null = null
  let isGrowing = false
  let isHeadReported = false
  let isNudged = false
  let idleMs = 0
  const decoding = createDecoding()

  /** What there is now, up to the bounds; null where there is nothing. */
  async function gather(): Promise<Batch | null> {
    reader ??= openLogReader(directory, { live: true, ...(at !== null && { from: at.position }) })
    const batch: Gathering = {
      ...{ records: [], findings: [], bytes: 0, control: held, takenBackTo: null },
    }
    const visitor = visit(batch, decoding, { last: at?.position.sequence ?? -1, rest })
    let read = 0
    while (read < limits.tailBatchRecordsMax && batch.bytes < limits.tailBatchBytesMax && !stop.signal.aborted) {
      const wanted = Math.min(limits.tailTurnRecordsMax, limits.tailBatchRecordsMax - read)
      const got = reader.read(visitor, wanted)
      read += got
      if (got < wanted || batch.takenBackTo !== null) break
      await turn()
    }
    const position = reader.position()
    if (position === null && !isHeadReported) {
      batch.findings.push(...unreadableHead(directory))
      isHeadReported = batch.findings.length > 0
    }
    isGrowing = read < limits.tailBatchRecordsMax && batch.bytes < limits.tailBatchBytesMax
    held = batch.control
    if (batch.records.length === 0 && batch.findings.length === 0) return null
    if (position !== null) at = { position, control: batch.control }
    const { findings, takenBackTo } = batch
    return { records: takenBackTo === null ? batch.records : [], findings, position, takenBackTo }
  }

  async function attempt(): Promise<Batch | null> {
    try {
      const batch = existsSync(directory) ? await gather() : null
      fault = null
      return batch
    } catch (error) {
      reader?.close()
      reader = null
      held = at?.control ?? null
      if (error instanceof AssayError && !error.retryable) throw error
      fault = error instanceof AssayError ? error : ioFault(error)
      return null
    }
  }

  return {
    async next() {
      if (isGrowing) await pause(limits.tailGatherMs, stop.signal)
      for (;;) {
        if (stop.signal.aborted) return null
        const batch = (await attempt()) ?? (isNudged ? EMPTY : null)
        if (batch !== null) {
          isNudged = false
          idleMs = 0
          return batch
        }
        idleMs = Math.min(limits.tailPollMsMax, Math.max(1, 2 * idleMs))
        await pause(idleMs, stop.signal)
      }
    },
    nudge: () => void (isNudged = true),
    control: () => at?.control ?? null,
    end: () => (existsSync(directory) ? (readHead(createDisk(directory)).head?.writtenSequence ?? 0) : 0),
    durable() {
      const head = existsSync(directory) ? readHead(createDisk(directory)).head : null
      return head === null ? null : { epoch: head.epoch, sequence: head.syncedSequence }
    },
    fault: () => fault,
    close() {
      stop.abort()
      reader?.close()
      reader = null
    },
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined)
}

function ioFault(cause: unknown): AssayError {
  return new AssayError('ASSAY_LOG_IO', 'the decision log cannot be read', { cause })
}

/** Both slots hold something and neither is a head: no torn write does that. A later release may have written them. */
function unreadableHead(directory: string): Finding[] {
  const { head, damaged } = readHead(createDisk(directory))
  if (head !== null || damaged.length < 2) return []
  const detail = 'the head is damaged, or of a format that this release does not read: the log cannot be followed'
  return [{ kind: 'head_damaged', segment: HEAD_NAME, offset: 0, sequence: 0, epoch: 0, detail }]
}

/** The decoder of the segment being read; null where its schemas or control state are of a later release. */
interface Decoding {
  /** Under the schemas of this segment, and the policy that holds from here on. */
  begin(header: SegmentHeader): void
  /** Fields come in the order of the policy that holds. */
  decode(type: RecordType, body: Buffer, control: Control): DecodedRecord
}

/** Remembers decoders: there are as many as policies changed. */
function createDecoding(): Decoding {
  const decoders = new Map<string, RecordDecoder>()
  let schemas = ''
  let current: { readonly schema: Control['policy']['schema']; readonly decoder: RecordDecoder } | null = null
  return {
    begin(header) {
      schemas = header.schemas.toString('utf8')
      current = null
    },
    decode(type, body, control) {
      const { schema } = control.policy
      if (current?.schema !== schema) {
        const key = `${schemas}\n${JSON.stringify(schema)}`
        const decoder = decoders.get(key) ?? codecsFromSchemas(schemas, schema)
        if (decoders.size >= DECODERS_MAX) decoders.clear()
        decoders.set(key, decoder)
        current = { schema, decoder }
      }
      return current.decoder.decode(type, body)
    },
  }
}

/** Policies whose decoders are kept. */
const DECODERS_MAX = 16

function visit(
  batch: Gathering,
  decoding: Decoding,
  from: { readonly last: number; readonly rest: () => void },
): Parameters<LogReader['read']>[0] {
  let { last } = from
  const report = (place: Pick<LogRecord, 'segment' | 'offset' | 'sequence' | 'epoch'>, detail: string): void => {
    const { segment, offset, sequence, epoch } = place
    batch.findings.push({ kind: 'damage', segment, offset, sequence, epoch, detail })
  }
  return {
    onSegment(segment, header) {
      decoding.begin(header)
      // A segment that begins before the position: what held there is known better than its head.
      if (header.firstSequence <= last && batch.control !== null) return
      const state = attemptText(() => parseControlState(header.controlState.toString('utf8')))
      if (typeof state === 'string') {
        const place = { segment, offset: 0, sequence: header.firstSequence, epoch: header.epoch }
        report(place, `the control state of this segment cannot be read: ${state}`)
      } else batch.control = state
    },
    onRecord(record) {
      last = record.sequence
      batch.bytes += record.end - record.start
      from.rest()
      const { type } = record
      if (type === null) return report(record, 'a record of a type that this release does not know')
      const { control } = batch
      if (control === null) return report(record, 'a record without a control state before it')
      // A copy: the reader's window is used again, and every digest and vector in a record is a view of its bytes.
      const body = Buffer.from(record.buffer.subarray(record.start, record.end))
      const decoded = attemptText(() => decoding.decode(type, body, control))
      if (typeof decoded === 'string') return report(record, `a record cannot be decoded: ${decoded}`)
      if (decoded.type === 'control') {
        const next = attemptText(() => stateAfter(control, decoded.control.state))
        if (typeof next === 'string') report(record, `the state of a control record cannot be read: ${next}`)
        else batch.control = next
      }
      if ('personal' in decoded) decoded.personal.vector = Uint8Array.from(decoded.personal.vector)
      const { epoch, sequence } = record
      batch.records.push({ epoch, sequence, record: decoded, control: batch.control ?? control, shadows: [] })
    },
    onFinding(finding) {
      batch.findings.push(finding)
      if (finding.kind === 'reader_ahead') batch.takenBackTo = finding.sequence
    },
  }
}

/** What `read` gives, or in words why it cannot: bytes of a log are input, not faults of this program. */
function attemptText<T extends object>(read: () => T): T | string {
  try {
    return read()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
