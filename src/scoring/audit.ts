// The changes that this log holds, newest first and bounded: filled by the replay of a start, then by each change. The
// sidecar keeps all of them.
import { shownControl, withoutPolicy } from '../contract/control-state.js'
import type { ControlRecord } from '../contract/record-types.js'
import { isoTime } from '../contract/time.js'
import { type Image, listIn } from '../runtime/image.js'

export interface Audit {
  add(record: ControlRecord): void
  /** As `/v1/audit` answers: at most `limit`, newest first, and how many there were. */
  shown(limit: number): object
  /** The newest change, as it is shown; null where nothing was ever changed. */
  last(): object | null
  /** Changes by kind, since the log began. */
  readonly counts: ReadonlyMap<string, number>
  /** Puts it into an image, or takes it from there. */
  serialize(image: Image): Promise<void>
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
      held.push({ ...record, state: withoutPolicy(record.state) })
      if (held.length > max) held.shift()
    },
    shown(limit) {
      const controls = held.slice(-limit).reverse().map(show)
      return { controls, total, older: total - controls.length }
    },
    async serialize(image) {
      total = await image.number(total)
      const kinds = await listIn(image, [...counts.keys()], (kind = '') => image.text(kind))
      for (const kind of kinds) counts.set(kind, await image.number(counts.get(kind) ?? 0))
      held.splice(0, Infinity, ...(await listIn(image, held, (record) => serializeControl(image, record))))
    },
    last: () => (held.length === 0 ? null : show(held[held.length - 1])),
  }
}

async function serializeControl(image: Image, record: ControlRecord | undefined): Promise<ControlRecord> {
  const number = (value = 0): Promise<number> => image.number(value)
  const text = (value = ''): Promise<string> => image.text(value)
  const [ordinal, epoch] = [await number(record?.ordinal), await number(record?.epoch)]
  const foldedAtMs = await number(record?.foldedAtMs)
  const [kind, actor] = [await text(record?.kind), await text(record?.actor)]
  const [reason, state] = [await text(record?.reason), await text(record?.state)]
  const remoteAddress = (await text(record?.remoteAddress ?? '')) || null
  return { ordinal, epoch, foldedAtMs, kind, actor, reason, state, remoteAddress }
}

function show({ foldedAtMs, kind, actor, reason, remoteAddress, epoch, ordinal, state }: ControlRecord): object {
  const who = { actor, reason, remote_address: remoteAddress }
  return { at: isoTime(foldedAtMs), kind, ...who, epoch, ordinal, ...shownControl(state) }
}
