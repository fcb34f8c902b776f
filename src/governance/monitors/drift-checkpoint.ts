// The checkpoint of the drift monitor: a JSON header, then blobs: profiles as text, counts as varints, samples as
// float32. The profiles stand in it, so that what was begun with a bundle goes on without it.
// Invariant: what was encoded decodes to the same state. Another format is refused, never guessed at.
import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { Segment } from '../../contract/policy.js'
import { AssayError } from '../../errors.js'
import { decodeCounts, encodeCounts } from '../../stats/counts.js'
import type { Cycles, WatchedField } from './drift-layout.js'
import type { SampleState } from './drift-provisional.js'
import type { OwnReference } from './drift-verdict.js'
import type { Window, Windows } from './drift-window.js'

/** What the monitor remembers of one model version. */
export interface TrackState {
  readonly model: string
  readonly digest: string
  readonly profile: string | null
  /** What its windows are held against first. */
  readonly reference: OwnReference
  /** While a provisional profile is being made. */
  readonly sample: SampleState | null
  readonly fields: readonly WatchedField[]
  readonly cycles: Cycles
  /** Number of the decision that it last answered. */
  readonly lastUse: number
  /** By segment, the first for all decisions. */
  readonly windows: readonly { readonly segment: string; readonly windows: Windows }[]
}

export interface DriftCheckpoint {
  /** The open hour since 1970; −1 before the first decision. */
  readonly hour: number
  /** Decisions counted. */
  readonly decisions: number
  /** What the windows beside those of all decisions count, in their order. */
  readonly segments: readonly Segment[]
  readonly tracks: readonly TrackState[]
}

const Whole = Type.Integer()
const Blob = Type.Integer({ minimum: 0 })
const WindowHeader = Type.Object({
  from: Whole,
  until: Whole,
  rows: Whole,
  cold: Whole,
  policy: Type.String(),
  changed: Type.Boolean(),
  counts: Blob,
})
const SampleHeader = Type.Object({
  reads: Type.Union([Type.Array(Type.String()), Type.Null()]),
  features: Type.Array(Type.Object({ name: Type.String(), digest: Type.String() })),
  ...{ rows: Whole, from: Whole, until: Whole, values: Blob, counts: Blob },
})
const Header = Type.Object({
  format: Type.Literal(2),
  hour: Whole,
  decisions: Whole,
  policies: Type.Array(Type.String()),
  segments: Type.Array(Segment),
  /** Bytes of each blob. */
  blobs: Type.Array(Blob),
  tracks: Type.Array(
    Type.Object({
      model: Type.String(),
      digest: Type.String(),
      profile: Type.Union([Blob, Type.Null()]),
      reference: Type.Union([Type.Literal('training'), Type.Literal('provisional')]),
      sample: Type.Union([SampleHeader, Type.Null()]),
      fields: Type.Array(Type.Object({ name: Type.String(), categories: Type.Array(Type.String()) })),
      cycles: Type.Record(Type.String(), Whole),
      lastUse: Whole,
      size: Whole,
      windows: Type.Array(
        Type.Object({
          segment: Type.String(),
          since: Whole,
          count: WindowHeader,
          hour: WindowHeader,
          /** hour, rows, cold, place among the policies, 1 where it changed, blob. */
          past: Type.Array(Type.Tuple([Whole, Whole, Whole, Whole, Whole, Blob])),
        }),
      ),
    }),
  ),
})
type Header = Static<typeof Header>
const check = TypeCompiler.Compile(Header)

/** Bytes of the state. */
export function encodeCheckpoint(state: DriftCheckpoint): Uint8Array {
  const blobs: Uint8Array[] = []
  const policies = new Map<string, number>()
  const put = (bytes: Uint8Array): number => blobs.push(bytes) - 1
  const placeOf = (policy: string): number => {
    const place = policies.get(policy) ?? policies.size
    policies.set(policy, place)
    return place
  }
  const tracks = state.tracks.map(({ model, digest, profile, fields, cycles, lastUse, windows, ...of }) => ({
    ...{ model, digest, cycles: { ...cycles }, lastUse, profile: profile === null ? null : put(Buffer.from(profile)) },
    ...{ reference: of.reference, sample: of.sample === null ? null : sampleHead(of.sample, put) },
    fields: fields.map(({ name, categories }) => ({ name, categories: [...categories] })),
    size: windows[0]?.windows.count.counts.length ?? 0,
    windows: windows.map(({ segment, windows: { count, hour, past, sinceHour } }) => ({
      ...{ segment, since: sinceHour, count: headOf(count, put), hour: headOf(hour, put) },
      past: past.map((each): Header['tracks'][number]['windows'][number]['past'][number] => [
        ...([each.hour, each.rows, each.cold, placeOf(each.policy), each.isPolicyChanged ? 1 : 0] as const),
        put(each.bytes),
      ]),
    })),
  }))
  const header: Header = {
    ...{ format: 2, hour: state.hour, decisions: state.decisions, policies: [...policies.keys()], tracks },
    segments: [...state.segments],
    blobs: blobs.map((bytes) => bytes.length),
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  return Buffer.concat([length, text, ...blobs])
}

function headOf(window: Window, put: (bytes: Uint8Array) => number): Static<typeof WindowHeader> {
  const { fromMs: from, untilMs: until, rows, cold, policy, isPolicyChanged: changed } = window
  return { from, until, rows, cold, policy, changed, counts: put(encodeCounts(window.counts)) }
}

/** Values little-endian, as every machine that this runs on holds them. */
function sampleHead(
  { reads, features, rows, fromMs: from, untilMs: until, values, counts }: SampleState,
  put: (bytes: Uint8Array) => number,
): Static<typeof SampleHeader> {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  const blobs = { values: put(bytes), counts: put(encodeCounts(counts)) }
  return { reads: reads === null ? null : [...reads], features: [...features], rows, from, until, ...blobs }
}

function sampleFrom(
  { reads, features, rows, from: fromMs, until: untilMs, values, counts }: Static<typeof SampleHeader>,
  blob: (index: number) => Buffer,
  size: number,
): SampleState {
  const bytes = Uint8Array.from(blob(values))
  if (bytes.length !== rows * (features.length + 1) * 4) throw new RangeError('a sample is not whole')
  return {
    ...{ reads, features, rows, fromMs, untilMs, values: new Float32Array(bytes.buffer) },
    counts: decodeCounts(blob(counts), size),
  }
}

/** The state that `encodeCheckpoint` wrote. Throws ASSAY_INPUT_INVALID for anything else. */
export function decodeCheckpoint(bytes: Uint8Array): DriftCheckpoint {
  try {
    return decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof RangeError)) throw error
    throw new AssayError('ASSAY_INPUT_INVALID', 'the checkpoint of the drift monitor does not hold', { cause: error })
  }
}

function decode(buffer: Buffer): DriftCheckpoint {
  const end = 4 + buffer.readUInt32LE(0)
  const header: unknown = JSON.parse(buffer.toString('utf8', 4, end))
  if (!check.Check(header)) throw new RangeError('the header is of another format')
  const starts: number[] = []
  let at = end
  for (const length of header.blobs) {
    starts.push(at)
    at += length
  }
  if (at !== buffer.length) throw new RangeError(`${buffer.length} bytes, ${at} were written`)
  const blob = (index: number): Buffer => {
    const start = starts[index]
    const length = header.blobs[index]
    if (start === undefined || length === undefined) throw new RangeError(`there is no blob ${index}`)
    return buffer.subarray(start, start + length)
  }
  return {
    hour: header.hour,
    decisions: header.decisions,
    segments: header.segments,
    tracks: header.tracks.map((track) => ({
      ...{
        model: track.model,
        digest: track.digest,
        fields: track.fields,
        cycles: track.cycles,
        lastUse: track.lastUse,
        reference: track.reference,
      },
      sample: track.sample === null ? null : sampleFrom(track.sample, blob, track.size),
      profile: track.profile === null ? null : blob(track.profile).toString(),
      windows: track.windows.map((each) => ({
        segment: each.segment,
        windows: {
          count: windowFrom(each.count, blob, track.size),
          hour: windowFrom(each.hour, blob, track.size),
          sinceHour: each.since,
          past: each.past.map(([hour, rows, cold, place, changed, index]) => ({
            ...{ hour, rows, cold, policy: header.policies[place] ?? '', isPolicyChanged: changed === 1 },
            // A copy: the blob would keep the whole checkpoint alive for a week.
            bytes: Uint8Array.from(blob(index)),
          })),
        },
      })),
    })),
  }
}

function windowFrom(
  { from, until, rows, cold, policy, changed, counts }: Static<typeof WindowHeader>,
  blob: (index: number) => Buffer,
  size: number,
): Window {
  const window = { fromMs: from, untilMs: until, rows, cold, policy, isPolicyChanged: changed }
  return { ...window, counts: decodeCounts(blob(counts), size) }
}
