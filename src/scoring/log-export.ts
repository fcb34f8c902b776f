// Records as rows for people and other engines: JSON lines of any record, Parquet and Avro of decisions.
// Fields that the policy declares `sensitive` are masked unless the caller asks for them. A file takes its name only
// when it is whole: until then it is `<name>.partial`.
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import avsc from 'avsc'
import { fileWriter, ParquetWriter, schemaFromColumnData } from 'hyparquet-writer'
import { shownControl } from '../contract/control-state.js'
import { decisionId, featureFlagNames } from '../contract/decision.js'
import type { Policy } from '../contract/policy.js'
import {
  type DecisionFacts,
  type DecisionPersonal,
  type DecodedRecord,
  inferenceVector,
} from '../contract/record-types.js'
import type { TransactionSchema } from '../contract/transaction.js'
import { AssayError } from '../errors.js'
import { type CompiledCatalogue, compileCatalogue } from '../features/compile.js'
import { readDecisionLog } from './restore.js'

export type ExportFormat = 'jsonl' | 'parquet' | 'avro'

export interface ExportOptions {
  readonly directory: string
  readonly file: string
  readonly format: ExportFormat
  /** Record types to take; null for all that the format holds. */
  readonly types: ReadonlySet<string> | null
  /** Shows fields declared `sensitive`. */
  readonly reveal: boolean
}

const MASK = '***'
const GROUP_ROWS = 20_000

/** One row per decision, flat; what is a list or a structure is JSON text. */
const DECISION_COLUMNS = [
  ['decision_id', 'STRING'],
  ['epoch', 'INT64'],
  ['ordinal', 'INT64'],
  ['sequence', 'INT64'],
  ['mode', 'STRING'],
  ['transaction_id', 'STRING'],
  ['occurred_at_ms', 'INT64'],
  ['decided_at_ms', 'INT64'],
  ['amount_minor', 'INT64'],
  ['currency', 'STRING'],
  ['fields', 'STRING'],
  ['action', 'STRING'],
  ['score', 'DOUBLE'],
  ['score_raw', 'DOUBLE'],
  ['model', 'STRING'],
  ['role', 'STRING'],
  ['prescribed_model', 'STRING'],
  ['bucket', 'INT32'],
  ['routes_revision', 'INT64'],
  ['degraded', 'BOOLEAN'],
  ['fallback', 'STRING'],
  ['reasons', 'STRING'],
  ['feature_flags', 'STRING'],
  ['features', 'STRING'],
  ['policy', 'STRING'],
] as const
type Column = (typeof DECISION_COLUMNS)[number][0]
type Cell = string | number | bigint | boolean | null
export type DecisionRow = Record<Column, Cell>

function shownFacts(facts: DecisionFacts): object {
  const model = facts.model === null ? null : { ...facts.model, digest: hex(facts.model.digest) }
  return { ...facts, model, policy: hex(facts.policy), features: featureFlagNames(facts.features) }
}

/** Makes rows of the records of one log. */
export interface RowMaker {
  /** The policy and log that the next records were written under. */
  under(logId: Buffer, policy: Policy): void
  /** Any record as plain values for JSON. */
  plain(record: DecodedRecord, sequence: number): object
  /** A decision or observed record as a flat row; null for other types. */
  decision(record: DecodedRecord, sequence: number): DecisionRow | null
}

/** `reveal` shows fields declared `sensitive`. */
export function createRowMaker(reveal: boolean): RowMaker {
  let logId: Buffer = Buffer.alloc(8)
  let schema: TransactionSchema = { unknown_fields: 'refuse', fields: [] }
  let catalogue: CompiledCatalogue | null = null
  let policyText = ''

  const fields = (personal: DecisionPersonal): Record<string, unknown> =>
    Object.fromEntries(
      schema.fields.map(({ name, sensitive }, at) => {
        const value = personal.transaction.fields[at]
        return [name, sensitive === true && value !== null && !reveal ? MASK : value]
      }),
    )
  const vector = ({ vector }: DecisionPersonal): Record<string, number> => {
    const values = catalogue?.decodeVector(vector) ?? []
    return Object.fromEntries((catalogue?.names ?? []).map((name, at) => [name, values[at]]))
  }
  const idOf = ({ epoch, ordinal, unfolded }: DecisionFacts): string => decisionId(logId, epoch, ordinal, unfolded)

  return {
    under(id, policy) {
      logId = id
      const text = JSON.stringify([policy.schema, policy.catalogue, policy.currencies])
      if (text === policyText) return
      policyText = text
      schema = policy.schema
      catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
    },
    plain(record, sequence) {
      if (record.type === 'decision' || record.type === 'observed') {
        const { facts, personal } = record
        const transaction = { ...personal.transaction, fields: fields(personal) }
        const rest = {
          transaction,
          traceparent: personal.traceparent,
          source: personal.source,
          vector: vector(personal),
        }
        return { type: record.type, sequence, decision_id: idOf(facts), ...shownFacts(facts), ...rest }
      }
      if (record.type === 'control') {
        const { state, ...control } = record.control
        return { sequence, type: record.type, control: { ...control, state: shownControl(state) } }
      }
      if (record.type !== 'inference') return { sequence, ...record }
      const { facts, personal } = record
      const { transactionId, entity, traceparent } = personal
      const asked = { transaction_id: transactionId, entity: entity === null || reveal ? entity : MASK, traceparent }
      const own = Array.from(inferenceVector(personal))
      return { type: record.type, sequence, decision_id: idOf(facts), ...shownFacts(facts), ...asked, vector: own }
    },
    decision(record, sequence) {
      if (record.type !== 'decision' && record.type !== 'observed') return null
      const { facts, personal } = record
      const { transaction } = personal
      return {
        decision_id: idOf(facts),
        epoch: BigInt(facts.epoch),
        ordinal: BigInt(facts.ordinal),
        sequence: BigInt(sequence),
        mode: facts.mode,
        transaction_id: transaction.transactionId,
        occurred_at_ms: BigInt(transaction.occurredAtMs),
        decided_at_ms: BigInt(facts.decidedAtMs),
        amount_minor: BigInt(transaction.amountMinor),
        currency: transaction.currency,
        fields: JSON.stringify(fields(personal)),
        action: facts.action,
        score: facts.score,
        score_raw: facts.scoreRaw,
        model: facts.model === null ? null : `${facts.model.name}@${facts.model.version}`,
        role: facts.model?.role ?? null,
        prescribed_model: facts.prescribedModel,
        bucket: facts.bucket,
        routes_revision: BigInt(facts.routesRevision),
        degraded: facts.degraded,
        fallback: JSON.stringify(facts.fallback),
        reasons: JSON.stringify(facts.reasons),
        feature_flags: featureFlagNames(facts.features).join(','),
        features: JSON.stringify(vector(personal)),
        policy: hex(facts.policy),
      }
    },
  }
}

function hex(bytes: Uint8Array): string {
  return `sha256:${Buffer.from(bytes).toString('hex')}`
}

/** Writes the log's records to `file`; resolves to their number. Throws ASSAY_INPUT_INVALID where it cannot write. */
export async function exportLog(options: ExportOptions): Promise<number> {
  const partial = `${options.file}.partial`
  try {
    const written = await writeRows(options, partial)
    await rename(partial, options.file)
    return written
  } catch (cause) {
    await rm(partial, { force: true }).catch(() => undefined)
    if (!(cause instanceof Error) || !('syscall' in cause)) throw cause
    throw new AssayError('ASSAY_INPUT_INVALID', `cannot write ${options.file}: ${cause.message}`, { cause })
  }
}

async function writeRows(options: ExportOptions, partial: string): Promise<number> {
  const rows = createRowMaker(options.reveal)
  const sink = { jsonl: jsonSink, parquet: parquetSink, avro: avroSink }[options.format](partial, rows)
  let written = 0
  await readDecisionLog(options.directory, {
    onSegment: (header, { policy }) => rows.under(header.logId, policy),
    onRecord(record, at) {
      if (options.types !== null && !options.types.has(record.type)) return
      if (sink.add(record, at.sequence)) written++
    },
    onChunk: () => sink.flush(),
  })
  await sink.close()
  return written
}

interface Sink {
  /** False where this format does not hold the record's type. */
  add(record: DecodedRecord, sequence: number): boolean
  /** Called between chunks, so that memory stays bounded. */
  flush(): Promise<void>
  close(): Promise<void>
}

/** Waits until what was written to `stream` is taken; throws what `file`, at its end, failed with. */
async function taken(stream: Writable, file: Writable): Promise<void> {
  const fail = (): void => {
    const { errored } = file
    if (errored !== null) throw new AssayError('ASSAY_INPUT_INVALID', errored.message, { cause: errored })
  }
  fail()
  if (!stream.writableNeedDrain) return
  const { signal, ...ended } = endable()
  try {
    await Promise.race([once(stream, 'drain', { signal }), once(file, 'close', { signal })])
  } finally {
    ended.end()
  }
  fail()
}

/** A signal that takes the listeners of a race away once it is over. */
function endable(): { signal: AbortSignal; end(): void } {
  const controller = new AbortController()
  return { signal: controller.signal, end: () => controller.abort() }
}

/** A file whose failure is thrown by `taken` and `finished`, never as an event that nobody hears. */
function openFile(path: string): Writable {
  return createWriteStream(path).on('error', () => undefined)
}

function jsonSink(path: string, rows: RowMaker): Sink {
  const file = openFile(path)
  return {
    add(record, sequence) {
      file.write(`${JSON.stringify(rows.plain(record, sequence))}\n`)
      return true
    },
    flush: () => taken(file, file),
    async close() {
      file.end()
      await finished(file)
    },
  }
}

function parquetSink(path: string, rows: RowMaker): Sink {
  let waiting: DecisionRow[] = []
  const columnData = () =>
    DECISION_COLUMNS.map(([name, type]) => ({ name, data: waiting.map((row) => row[name]), type, nullable: true }))
  const parquet = new ParquetWriter({
    writer: fileWriter(path),
    schema: schemaFromColumnData({ columnData: columnData() }),
  })
  const write = async (): Promise<void> => {
    if (waiting.length > 0) await parquet.write({ columnData: columnData(), rowGroupSize: GROUP_ROWS })
    waiting = []
  }
  return {
    add(record, sequence) {
      const row = rows.decision(record, sequence)
      if (row !== null) waiting.push(row)
      return row !== null
    },
    flush: async () => (waiting.length >= GROUP_ROWS ? write() : undefined),
    async close() {
      await write()
      await parquet.finish()
    },
  }
}

const AVRO_TYPES = { STRING: 'string', INT64: 'long', INT32: 'int', DOUBLE: 'double', BOOLEAN: 'boolean' } as const

function avroSink(path: string, rows: RowMaker): Sink {
  const fields = DECISION_COLUMNS.map(([name, type]) => ({ name, type: ['null', AVRO_TYPES[type]], default: null }))
  const schema: avsc.Schema = { type: 'record', name: 'Decision', namespace: 'assay', fields }
  const file = openFile(path)
  const encoder = new avsc.streams.BlockEncoder(avsc.Type.forSchema(schema), { codec: 'deflate' })
  encoder.pipe(file)
  return {
    add(record, sequence) {
      const row = rows.decision(record, sequence)
      if (row === null) return false
      const cells = Object.entries(row).map(([name, cell]) => [name, typeof cell === 'bigint' ? Number(cell) : cell])
      encoder.write(Object.fromEntries(cells))
      return true
    },
    flush: () => taken(encoder, file),
    async close() {
      encoder.end()
      await finished(file)
    },
  }
}
