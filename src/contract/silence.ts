// Silences as the configuration has them: which alerts nobody is told of, and when.
import { type Static, Type } from '@sinclair/typebox'
import type { InputFault } from '../errors.js'
import { instantMs } from './time.js'

export const ALERT_KINDS = ['drift', 'shadow', 'log', 'lag', 'loss'] as const
export type AlertKind = (typeof ALERT_KINDS)[number]

const Silence = Type.Object(
  {
    id: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' }),
    /** null: any. */
    kind: Type.Union([...ALERT_KINDS.map((kind) => Type.Literal(kind)), Type.Null()]),
    /** Each has to be equal; none fits every alert of the kind. */
    labels: Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 256 })),
    /** RFC 3339. */
    from: Type.String(),
    until: Type.String(),
  },
  { additionalProperties: false },
)
export const Silences = Type.Array(Silence, { maxItems: 256 })
export type Silences = Static<typeof Silences>

/** What is wrong beyond the shape: times that are none, or in the wrong order, and ids that stand twice. */
export function silenceFaults(silences: Silences): InputFault[] {
  const path = (at: number, key: string): string => `/process/governance/alerts/silences/${at}/${key}`
  const noTime = 'expected a time such as 2026-11-22T10:00:00Z (RFC 3339)'
  return silences.flatMap(({ id, from, until }, at) => {
    const [fromMs, untilMs] = [instantMs(from), instantMs(until)]
    const faults: InputFault[] = []
    if (fromMs === null) faults.push({ path: path(at, 'from'), message: noTime })
    if (untilMs === null) faults.push({ path: path(at, 'until'), message: noTime })
    else if (fromMs !== null && untilMs <= fromMs)
      faults.push({ path: path(at, 'until'), message: 'must be after from' })
    if (silences.findIndex((one) => one.id === id) < at)
      faults.push({ path: path(at, 'id'), message: 'another silence has this id' })
    return faults
  })
}
