// What stands in the decision log: record types, the two sections of a decision, and their Avro codecs.

/** The type byte of a frame. Numbers are on disk: they never change. */
export const RECORD_TYPES = {
  decision: 1,
  observed: 2,
  inference: 3,
  label: 4,
  control: 5,
  reply: 6,
  superseded: 7,
} as const
export type RecordType = keyof typeof RECORD_TYPES
