// A naive reader of the decision log, for the kill test: written from the comments in src/decision-log, sharing no code
// with it. It reads whole files, checks every checksum and every sequence, and decodes bodies with avsc from the
// schemas that stand in each segment. It knows nothing of heads, recovery or resolvers: what it cannot read, it throws.
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import avsc, { type Type } from 'avsc'

/** Facts of a decision that the kill test compares, in the names of the disk. */
export interface NaiveFacts {
  ordinal: number
  unfolded: boolean
  epoch: number
  mode: string
  action: string | null
  score: number | null
  decided_at_ms: number
  folded_at_ms: number
}

export interface NaivePersonal {
  transaction_id: string
  occurred_at_ms: number
  amount_base_minor: number | null
  fields: Record<string, string | null>
  vector: Buffer
}

export interface NaiveLabel {
  ordinal: number
  epoch: number
  value: boolean
  kind: string
  source: string
  known_at_ms: number
  transaction_id: string
}

export interface NaiveLog {
  readonly logId: Buffer
  readonly decisions: readonly { sequence: number; facts: NaiveFacts; personal: NaivePersonal }[]
  readonly labels: readonly NaiveLabel[]
  /** Frames read, of every type. */
  readonly records: number
  readonly segments: number
  /** Control state of the newest segment, as the server wrote it. */
  readonly controlState: string
}

interface Segment {
  path: string
  logId: Buffer
  index: number
  headerBytes: number
  firstSequence: number
  previous: { index: number; end: number }
  sections: Record<string, Type>
  controlState: string
}

/** Reads every segment under `folder`, however deep. */
export function readNaively(folder: string): NaiveLog {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.segment'))
  const segments = paths.map((path) => openSegment(join(folder, path))).sort((a, b) => a.index - b.index)
  const decisions: NaiveLog['decisions'][number][] = []
  const labels: NaiveLabel[] = []
  let sequence = -1
  let records = 0
  segments.forEach((segment, i) => {
    const next = segments.slice(i + 1).find((later) => later.previous.index === segment.index)
    const stated = next?.previous.end
    if (sequence >= 0 && segment.firstSequence !== sequence + 1)
      throw new Error(`${segment.path} begins at ${segment.firstSequence}, the log before it ends at ${sequence}`)
    for (const frame of frames(segment, stated)) {
      if (frame.type === 0) continue
      const expected = sequence < 0 ? segment.firstSequence : sequence + 1
      if (frame.sequence !== expected) throw new Error(`${segment.path}: sequence ${frame.sequence}, not ${expected}`)
      sequence = frame.sequence
      records += 1
      if (frame.type === 1 || frame.type === 2) decisions.push({ sequence, ...two(segment, 'decision', frame.body) })
      else if (frame.type === 4) {
        const { facts, personal } = two<object, object>(segment, 'label', frame.body)
        labels.push({ ...facts, ...personal } as NaiveLabel)
      }
    }
  })
  const logId = segments[0]?.logId ?? Buffer.alloc(0)
  for (const segment of segments) if (!segment.logId.equals(logId)) throw new Error(`${segment.path}: another log id`)
  return {
    logId,
    decisions,
    labels,
    records,
    segments: segments.length,
    controlState: segments.at(-1)?.controlState ?? '',
  }
}

function openSegment(path: string): Segment {
  const bytes = readBytes(path, readBytes(path, 104).readUInt32LE(12))
  if (bytes.toString('latin1', 0, 8) !== 'ASSAYSEG') throw new Error(`${path} is no segment`)
  const schemasBytes = bytes.readUInt32LE(96)
  const { sections } = JSON.parse(bytes.toString('utf8', 104, 104 + schemasBytes)) as {
    sections: Record<string, unknown>
  }
  return {
    path,
    logId: bytes.subarray(24, 32),
    index: bytes.readUInt32LE(36),
    headerBytes: bytes.readUInt32LE(12),
    firstSequence: Number(bytes.readBigUInt64LE(40)),
    previous: { index: bytes.readUInt32LE(56), end: Number(bytes.readBigUInt64LE(60)) },
    sections: Object.fromEntries(Object.entries(sections).map(([name, schema]) => [name, typeOf(schema)])),
    controlState: bytes.toString('utf8', 104 + schemasBytes, 104 + schemasBytes + bytes.readUInt32LE(100)),
  }
}

function readBytes(path: string, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  const file = openSync(path, 'r')
  const read = readSync(file, buffer)
  closeSync(file)
  return buffer.subarray(0, read)
}

function typeOf(schema: unknown): Type {
  return avsc.Type.forSchema(schema as Parameters<typeof avsc.Type.forSchema>[0], { registry: {} })
}

interface Frame {
  type: number
  sequence: number
  body: Buffer
}

/** The frames of a segment. Before its stated end all must be whole; without one the first torn frame ends it. */
function* frames(segment: Segment, stated: number | undefined): Generator<Frame> {
  const { path } = segment
  // One segment at a time, and only up to its end: 200 kills leave 200 files of full size behind.
  const bytes = readBytes(path, stated ?? statSync(path).size)
  const end = stated ?? bytes.length
  let at = segment.headerBytes
  while (at < end) {
    const length = at + 24 <= bytes.length ? bytes.readUInt32LE(at) : 0
    const next = at + 8 + length
    const whole = length >= 16 && next <= end && crc32(bytes.subarray(at + 8, next)) === bytes.readUInt32LE(at + 4)
    if (!whole) {
      if (stated !== undefined) throw new Error(`${path}: a torn frame at ${at}, before the stated end ${stated}`)
      return
    }
    const type = bytes.readUInt8(at + 10)
    yield { type, sequence: Number(bytes.readBigUInt64LE(at + 16)), body: bytes.subarray(at + 24, next) }
    at = next
  }
}

/** A body of two sections, decoded by `<name>_facts` and `<name>_personal`. */
function two<Facts = NaiveFacts, Personal = NaivePersonal>(
  segment: Segment,
  name: string,
  body: Buffer,
): { facts: Facts; personal: Personal } {
  const split = 4 + body.readUInt32LE(0)
  const decode = (section: string, bytes: Buffer): unknown => {
    const type = segment.sections[section]
    if (type === undefined) throw new Error(`${segment.path} has no schema ${section}`)
    return type.fromBuffer(bytes) as unknown
  }
  return {
    facts: decode(`${name}_facts`, body.subarray(4, split)) as Facts,
    personal: decode(`${name}_personal`, body.subarray(split)) as Personal,
  }
}

/** `d_` and base32 (RFC 4648, lower case) of log id, epoch (4 bytes) and ordinal (8 bytes, top bit: unfolded). */
export function naiveDecisionId(logId: Buffer, facts: NaiveFacts): string {
  const bytes = Buffer.alloc(20)
  logId.copy(bytes)
  bytes.writeUInt32BE(facts.epoch, 8)
  bytes.writeBigUInt64BE(BigInt(facts.ordinal) | (facts.unfolded ? 1n << 63n : 0n), 12)
  let bits = ''
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0')
  const letters = bits.match(/.{5}/g) ?? []
  return `d_${letters.map((five) => 'abcdefghijklmnopqrstuvwxyz234567'.charAt(parseInt(five, 2))).join('')}`
}
