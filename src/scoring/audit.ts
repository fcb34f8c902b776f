// The changes that this log holds, newest first and bounded: filled by the replay of a start, then by each change. The
// sidecar keeps all of them.
import { shownControl } from '../contract/control-state.js'
import type { ControlRecord } from '../contract/record-types.js'
import { isoTime } from '../contract/time.js'

export interface Audit {
  add(record: ControlRecord): void
  /** As `/v1/audit` answers: at most `limit`, newest first, and how many there were. */
  shown(limit: number): object
  /** The newest change, as it is shown; null where nothing was ever changed. */
  last(): object | null
  /** Changes by kind, since the log began. */
  readonly counts: ReadonlyMap<string, number>
}

/** Holds the newest `max` changes. */
export function createAudit(max: number): Audit {
  const held: ControlRecord[] = []
  const counts = new Map<string, number>()
  let total = 0
  return {
    counts,
    add(record) {
      total++
      counts.set(record.kind, (counts.get(record.kind) ?? 0) + 1)
      held.push(record)
      if (held.length > max) held.shift()
    },
    shown(limit) {
      const controls = held.slice(-limit).reverse().map(show)
      return { controls, total, older: total - controls.length }
    },
    last: () => (held.length === 0 ? null : show(held[held.length - 1])),
  }
}

function show({ foldedAtMs, kind, actor, reason, remoteAddress, epoch, ordinal, state }: ControlRecord): object {
  const who = { actor, reason, remote_address: remoteAddress }
  return { at: isoTime(foldedAtMs), kind, ...who, epoch, ordinal, ...shownControl(state) }
}
