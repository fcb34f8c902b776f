// What a reader of the decision log finds beside records: values, never silence and never an exception.

/**
 * damage: bytes that were durable are not whole any more, or a file is gone.
 * gap: these sequences are missing, because of the damage reported just before.
 * repeated: a frame whose sequence had been read already; it was left out.
 * head_damaged: a slot of the head does not hold; the other one bounds the log, or none does. No record is lost by it,
 * and a power cut may leave a slot torn.
 * torn_tail: the log ends, and after its end lie bytes that were never durable. Not an error.
 * epoch_changed: a new server went on from here; `detail` says how the one before ended.
 * reader_ahead: the reader's position lies behind the end that its epoch has now; what it derived must be taken back.
 * begins_later: the first segments are not here (archived or lost).
 */
export type FindingKind =
  'damage' | 'gap' | 'repeated' | 'head_damaged' | 'torn_tail' | 'epoch_changed' | 'reader_ahead' | 'begins_later'

export interface Finding {
  readonly kind: FindingKind
  /** File name of the segment, or `head`. */
  readonly segment: string
  /** Byte in that file. */
  readonly offset: number
  /** First sequence concerned; 0 where it cannot be known. */
  readonly sequence: number
  readonly epoch: number
  readonly detail: string
}

const HARMLESS: readonly FindingKind[] = ['head_damaged', 'torn_tail', 'epoch_changed', 'begins_later']

/** True for findings that mean lost or changed evidence. */
export function isDamage(finding: Finding): boolean {
  return !HARMLESS.includes(finding.kind)
}
