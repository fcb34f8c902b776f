// A change of the routes as the servers of a fleet pass it on: one entry of a stream that they share, JSON with a
// format of its own. Whatever is not exactly that is not read: it is of a newer release, or of another application.
import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { Routing } from './control-state.js'
import { Routes } from './policy.js'

/** What the servers of a fleet have in common. What is loaded, and what is forced on one alone, is its own. */
export type SharedRouting = Omit<Routing, 'loaded' | 'forced_here'>

export interface RoutesEntry {
  readonly format: 1
  /** Random: tells two of the same revision apart. */
  readonly id: string
  readonly routing: SharedRouting
  /** The server that takes the steps of the ramp; null where none was begun. */
  readonly runner: string | null
  /** What was asked for. */
  readonly change: { readonly kind: string }
  readonly actor: string
  readonly reason: string
  /** The server that was asked, and when. */
  readonly server: string
  readonly at_ms: number
}

const Live = Type.Composite([
  Routes,
  Type.Object({ revision: Type.Integer({ minimum: 0 }), experiment_key: Type.String({ pattern: '^[0-9a-f]{64}$' }) }),
])
const Whole = Type.Integer({ minimum: 0 })
const Ramp = Type.Object({ steps: Type.Array(Whole), step: Whole, every_ms: Whole, paused: Type.Boolean() })
const Approval = Type.Object({ model: Type.String(), digest: Type.String(), actor: Type.String() })
const Entry = Type.Object({
  format: Type.Literal(1),
  id: Type.String(),
  routing: Type.Object({
    routes: Live,
    previous: Type.Union([Live, Type.Null()]),
    forced: Type.Object({ baseline: Type.Boolean(), open: Type.Array(Type.String()) }),
    ramp: Type.Union([Ramp, Type.Null()]),
    approvals: Type.Array(Approval),
  }),
  runner: Type.Union([Type.String(), Type.Null()]),
  change: Type.Object({ kind: Type.String() }),
  ...{ actor: Type.String(), reason: Type.String(), server: Type.String(), at_ms: Type.Number() },
})

/** The text of an entry; null where it is none of this format, or not of the revision under which it stands. */
export function readEntry(text: string, revision: number): RoutesEntry | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (!Value.Check(Entry, value)) return null
  const entry = value as RoutesEntry
  return entry.routing.routes.revision === revision ? entry : null
}
