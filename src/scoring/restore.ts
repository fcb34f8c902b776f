// Reads the decision log at a start: the control state that it ends with, and the state that it folds into.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { codecsFromSchemas, type RecordDecoder } from '../contract/record.js'
import type { DecodedRecord } from '../contract/record-types.js'
import type { TransactionSchema } from '../contract/transaction.js'
import { readChain, readHead, readHeader } from '../decision-log/chain.js'
import { createDisk } from '../decision-log/disk.js'
import type { Finding } from '../decision-log/finding.js'
import { type LogRecord, openLogReader, type Position } from '../decision-log/reader.js'
import type { SegmentHeader } from '../decision-log/segment.js'
import { AssayError } from '../errors.js'
import { type ControlState, parseControlState, stateAfter } from '../contract/control-state.js'

/** Records between two turns of the event loop, so that probes are answered meanwhile: about 30 ms of work. */
const CHUNK_RECORDS = 2_000

export interface LogVisitor {
  /** A record of a type that this release knows. */
  onRecord(record: DecodedRecord, at: LogRecord): void
  /** Before the records of a segment. */
  onSegment?(header: SegmentHeader, state: ControlState): void
  onFinding?(finding: Finding): void
  /** After each chunk: records handed over so far. */
  onProgress?(records: number): void
  /** Between chunks: the reading waits for it. `lag`: records that are there and not read yet. */
  onChunk?(chunk: { readonly records: number; readonly lag: number }): Promise<void>
}

/** The decision log under a data directory. Throws ASSAY_INPUT_INVALID where there is none. */
export function logDirectory(dataDir: string): string {
  const directory = join(dataDir, 'decision-log')
  if (existsSync(directory)) return directory
  throw new AssayError(
    'ASSAY_INPUT_INVALID',
    `there is no decision log at ${directory}: name its data directory by --data`,
  )
}

export interface ReadRecords {
  /** Declared fields come in its order, or in that of the writer. */
  readonly schema?: TransactionSchema | undefined
  /** Only as far as the log's head says, of a log that a server writes. */
  readonly live?: boolean
  /** Only what follows this place. */
  readonly from?: Position | null
  /** Made before for the same `schema`, by the schemas of segments; those that are missing are added. */
  readonly decoders?: Map<string, RecordDecoder>
}

/**
 * Hands over every record of the log, decoded under the schemas of its segment; resolves to the place of the last.
 * Throws ASSAY_LOG_IO, and ASSAY_LOG_DAMAGED where a whole frame holds a body that its schema does not fit.
 */
export async function readDecisionLog(
  directory: string,
  visitor: LogVisitor,
  options: ReadRecords = {},
): Promise<Position | null> {
  const records = openRecords(directory, options)
  try {
    let total = 0
    for (let read = CHUNK_RECORDS; read === CHUNK_RECORDS;) {
      read = records.read(visitor, CHUNK_RECORDS)
      total += read
      visitor.onProgress?.(total)
      await visitor.onChunk?.({ records: read, lag: records.lag() })
      await turn()
    }
    return records.position()
  } finally {
    records.close()
  }
}

/** A reader of the log that decodes. */
export interface RecordReader {
  /** Hands over the next records, at most so many; returns the number of all that were read. */
  read(visitor: Pick<LogVisitor, 'onRecord' | 'onSegment' | 'onFinding'>, recordsMax: number): number
  /** Of the last record read; null before the first. */
  position(): Position | null
  /** Records that are there and not read yet. */
  lag(): number
  close(): void
}

export function openRecords(directory: string, options: ReadRecords = {}): RecordReader {
  const { schema, live = false, from, decoders = new Map<string, RecordDecoder>() } = options
  const reader = openLogReader(directory, { live, ...(from && { from }) })
  let decoder: RecordDecoder | null = null
  return {
    read(visitor, recordsMax) {
      const onSegment = (_name: string, header: SegmentHeader): void => {
        const schemas = header.schemas.toString('utf8')
        decoder = decoders.get(schemas) ?? codecsFromSchemas(schemas, schema)
        decoders.set(schemas, decoder)
        visitor.onSegment?.(header, parseControlState(header.controlState.toString('utf8')))
      }
      const onRecord = (record: LogRecord): void => {
        if (record.type === null || decoder === null) return
        visitor.onRecord(decoder.decode(record.type, record.buffer.subarray(record.start, record.end)), record)
      }
      const onFinding = (finding: Finding): void => visitor.onFinding?.(finding)
      return reader.read({ onRecord, onSegment, onFinding }, recordsMax)
    },
    position: () => reader.position(),
    lag: () => reader.lag(),
    close: () => reader.close(),
  }
}

/** The control state at a place of the log. */
export interface ControlAt {
  readonly state: ControlState
  readonly position: Position | null
}

/**
 * The control state that the log ends with: that at the head of the newest segment which can be read, after the control
 * records behind it; null where there is no log yet. Reads one segment at most, and of that only what follows `known`.
 */
export function lastControlState(
  directory: string,
  { known = null, live = false }: { readonly known?: ControlAt | null; readonly live?: boolean } = {},
): ControlAt | null {
  const disk = createDisk(directory)
  const chain = readChain(disk, live ? (readHead(disk).head?.segment ?? 0) : Infinity)
  const last = chain.entries.findLast((entry) => entry.header !== null)
  if (last === undefined) return null
  const header = readHeader(disk, last.name)
  if (typeof header === 'string') return null
  const isKnown = known?.position?.place?.segment === last.index
  const { logId, epoch, firstSequence } = header
  let state = isKnown ? known.state : parseControlState(header.controlState.toString('utf8'))
  // Control records are rare, and the schemas take 20 ms to compile while requests may be held.
  let decoder: RecordDecoder | null = null
  const from = (isKnown ? known.position : null) ?? { logId, epoch, sequence: firstSequence - 1 }
  const reader = openLogReader(disk, { from, live })
  const onRecord = ({ type, buffer, start, end }: LogRecord): void => {
    if (type !== 'control') return
    decoder ??= codecsFromSchemas(header.schemas.toString('utf8'))
    const record = decoder.decode(type, buffer.subarray(start, end))
    if (record.type === 'control') state = stateAfter(state, record.control.state)
  }
  try {
    while (reader.read({ onRecord }, CHUNK_RECORDS) === CHUNK_RECORDS);
    return { state, position: reader.position() }
  } finally {
    reader.close()
  }
}
