// Encodes records into the caller's buffer, in the order of record-schema.ts. Written out by hand because it runs once
// per decision: bench/validate.ts has the figures; test/contract/record.test.ts proves that avsc reads every byte back.
import { AvroWriter } from './avro-writer.js'
import { ACTIONS, FALLBACK_REASONS, type Hop, type Reason, ROLES } from './decision.js'
import type {
  AnsweredBy,
  AppliedThresholds,
  ConsumedRecord,
  ControlRecord,
  DecisionFacts,
  DecisionPersonal,
  InferencePersonal,
  LabelRecord,
  ReplyRecord,
  StreamSource,
  SupersededRecord,
} from './record-types.js'
import { LABEL_KINDS, TOLD } from './record-schema.js'
import { type FieldSpec, type FieldValue, MODES, type TransactionSchema } from './transaction.js'

/** Every method writes one body from `at`, returns the position after it, or a negative number if it did not fit. */
export interface RecordEncoder {
  encodeDecision(facts: DecisionFacts, personal: DecisionPersonal, buffer: Buffer, at: number): number
  /** An observed record has the same sections as a decision; this is the same function under its own name. */
  encodeObserved(facts: DecisionFacts, personal: DecisionPersonal, buffer: Buffer, at: number): number
  encodeInference(facts: DecisionFacts, personal: InferencePersonal, buffer: Buffer, at: number): number
  encodeLabel(label: LabelRecord, buffer: Buffer, at: number): number
  encodeControl(control: ControlRecord, buffer: Buffer, at: number): number
  encodeReply(reply: ReplyRecord, buffer: Buffer, at: number): number
  encodeSuperseded(superseded: SupersededRecord, buffer: Buffer, at: number): number
  encodeConsumed(consumed: ConsumedRecord, buffer: Buffer, at: number): number
}

/** The encoders under a policy schema, sharing one cursor: they are called from one thread, one record at a time. */
export function createRecordEncoder(schema: TransactionSchema): RecordEncoder {
  const out = new AvroWriter()
  const { fields } = schema
  const entityFields = fields.filter((field) => field.entity === true)
  const encodeDecision: RecordEncoder['encodeDecision'] = (facts, personal, buffer, at) => {
    out.start(buffer, at + 4)
    writeFacts(out, facts)
    out.uint32At(at, out.at - at - 4)
    writePersonal(out, personal, fields)
    return out.end()
  }
  return {
    encodeDecision,
    encodeObserved: encodeDecision,
    encodeInference: (facts, personal, buffer, at) => {
      out.start(buffer, at + 4)
      writeFacts(out, facts)
      out.uint32At(at, out.at - at - 4)
      out.nullableString(personal.transactionId)
      out.nullableString(personal.entity)
      out.bytes(personal.vector)
      out.nullableString(personal.traceparent)
      return out.end()
    },
    encodeLabel: (label, buffer, at) => {
      out.start(buffer, at + 4)
      writeLabelFacts(out, label)
      out.uint32At(at, out.at - at - 4)
      out.string(label.label.transactionId)
      out.nullableLong(label.label.occurredAtMs)
      writeFields(out, label.label.entities, entityFields)
      return out.end()
    },
    encodeControl: (control, buffer, at) => {
      out.start(buffer, at)
      writeControl(out, control)
      return out.end()
    },
    encodeReply: (reply, buffer, at) => {
      out.start(buffer, at)
      writeReply(out, reply)
      return out.end()
    },
    encodeSuperseded: (superseded, buffer, at) => {
      out.start(buffer, at)
      writeSuperseded(out, superseded)
      return out.end()
    },
    encodeConsumed: (consumed, buffer, at) => {
      out.start(buffer, at)
      out.long(consumed.atMs)
      writeSource(out, consumed.source)
      out.nullableString(consumed.code)
      return out.end()
    },
  }
}

function writeFacts(out: AvroWriter, facts: DecisionFacts): void {
  out.long(facts.ordinal)
  out.boolean(facts.unfolded)
  out.long(facts.epoch)
  out.small(MODES.indexOf(facts.mode))
  out.long(facts.receivedAtMs)
  out.long(facts.foldedAtMs)
  out.long(facts.decidedAtMs)
  writeSymbol(out, ACTIONS, facts.action)
  out.nullableDouble(facts.score)
  out.nullableDouble(facts.scoreRaw)
  writeModel(out, facts.model)
  out.nullableString(facts.prescribedModel)
  out.long(facts.bucket)
  out.long(facts.routesRevision)
  out.nullableString(facts.experiment)
  writeSymbol(out, ROLES, facts.arm)
  out.nullableDouble(facts.propensity)
  writeStrings(out, facts.rules)
  writeStrings(out, facts.rulesShadow)
  writeThresholds(out, facts.thresholds)
  out.nullableString(facts.segment)
  writeSymbol(out, ACTIONS, facts.scoreAction)
  writeReasons(out, facts.reasons)
  out.long(facts.features)
  out.boolean(facts.degraded)
  writeHops(out, facts.fallback)
  out.fixed(facts.policy)
  out.long(facts.stages.receiveUs)
  out.long(facts.stages.validateUs)
  out.long(facts.stages.featuresUs)
  out.long(facts.stages.inferUs)
  out.long(facts.stages.decideUs)
  out.nullableString(facts.decidedElsewhere)
}

/** A union of null and an enum. */
function writeSymbol<Symbol extends string>(out: AvroWriter, symbols: readonly Symbol[], value: Symbol | null): void {
  if (value === null) out.small(0)
  else {
    out.small(1)
    out.small(symbols.indexOf(value))
  }
}

function writeModel(out: AvroWriter, model: AnsweredBy | null): void {
  if (model === null) {
    out.small(0)
    return
  }
  out.small(1)
  out.string(model.name)
  out.string(model.version)
  out.fixed(model.digest)
  out.small(ROLES.indexOf(model.role))
  out.nullableString(model.provider)
}

function writeThresholds(out: AvroWriter, thresholds: AppliedThresholds | null): void {
  if (thresholds === null) {
    out.small(0)
    return
  }
  out.small(1)
  out.nullableDouble(thresholds.challengeAt)
  out.nullableDouble(thresholds.reviewAt)
  out.nullableDouble(thresholds.declineAt)
}

/**
 * Opens a list: one block with its count. The caller writes the items and then `small(0)`; nothing for an empty list.
 */
function openList(out: AvroWriter, count: number): void {
  if (count > 0) out.long(count)
}

function writeStrings(out: AvroWriter, values: readonly string[]): void {
  openList(out, values.length)
  for (let index = 0; index < values.length; index++) out.string(values[index])
  out.small(0)
}

function writeReasons(out: AvroWriter, reasons: readonly Reason[]): void {
  openList(out, reasons.length)
  for (let index = 0; index < reasons.length; index++) {
    const reason = reasons[index]
    out.string(reason.code)
    out.nullableString(reason.detail)
    out.nullableDouble(reason.contribution)
  }
  out.small(0)
}

function writeHops(out: AvroWriter, hops: readonly Hop[]): void {
  openList(out, hops.length)
  for (let index = 0; index < hops.length; index++) {
    const hop = hops[index]
    out.string(hop.model)
    out.small(ROLES.indexOf(hop.role))
    out.small(FALLBACK_REASONS.indexOf(hop.reason))
  }
  out.small(0)
}

function writePersonal(out: AvroWriter, personal: DecisionPersonal, fields: readonly FieldSpec[]): void {
  const { transaction } = personal
  out.string(transaction.transactionId)
  out.long(transaction.occurredAtMs)
  out.long(transaction.offsetMinutes)
  out.long(transaction.amountMinor)
  out.string(transaction.currency)
  out.nullableLong(Number.isNaN(transaction.amountBaseMinor) ? null : transaction.amountBaseMinor)
  writeFields(out, transaction.fields, fields)
  out.bytes(personal.vector)
  out.nullableString(personal.traceparent)
  if (personal.source === null) out.small(0)
  else {
    out.small(1)
    writeSource(out, personal.source)
  }
}

function writeFields(out: AvroWriter, values: readonly FieldValue[], fields: readonly FieldSpec[]): void {
  for (let index = 0; index < fields.length; index++) {
    const value = values[index]
    if (typeof value === 'string') out.nullableString(value)
    else if (typeof value === 'number') {
      if (fields[index].type === 'integer') out.nullableLong(value)
      else out.nullableDouble(value)
    } else if (typeof value === 'boolean') {
      out.small(1)
      out.boolean(value)
    } else out.small(0)
  }
}

function writeSource(out: AvroWriter, source: StreamSource): void {
  out.string(source.topic)
  out.long(source.partition)
  out.long(source.offset)
  out.nullableString(source.topicId)
  out.long(source.skipped)
}

function writeLabelFacts(out: AvroWriter, record: LabelRecord): void {
  out.long(record.ordinal)
  out.long(record.epoch)
  out.long(record.foldedAtMs)
  out.small(LABEL_KINDS.indexOf(record.label.kind))
  out.boolean(record.label.value)
  out.string(record.label.source)
  out.long(record.label.knownAtMs)
}

function writeControl(out: AvroWriter, control: ControlRecord): void {
  out.long(control.ordinal)
  out.long(control.epoch)
  out.long(control.foldedAtMs)
  out.string(control.kind)
  out.string(control.actor)
  out.string(control.reason)
  out.string(control.state)
  out.nullableString(control.remoteAddress)
}

function writeReply(out: AvroWriter, reply: ReplyRecord): void {
  out.long(reply.epoch)
  out.long(reply.atMs)
  openList(out, reply.entries.length)
  for (const entry of reply.entries) {
    out.long(entry.ordinal)
    out.boolean(entry.unfolded)
    out.small(TOLD.indexOf(entry.told))
  }
  out.small(0)
}

function writeSuperseded(out: AvroWriter, superseded: SupersededRecord): void {
  out.long(superseded.epoch)
  out.long(superseded.ordinal)
  out.long(superseded.supersededEpoch)
  out.long(superseded.supersededOrdinal)
  out.long(superseded.atMs)
  out.string(superseded.reason)
}
