// What the API asks: typed questions to whatever holds the sidecar's rows. The listener knows this interface alone, so
// that transports stay thin and a query can be tested without a socket.
// Invariant: every answer is bounded by the query's limit or by limits.ts, and sensitive values leave it masked.
import type * as wire from '../../contract/governance.js'

/** Filters of the decisions table; null where one is not set. Newest first. */
export interface DecisionQuery {
  readonly sinceMs: number | null
  readonly untilMs: number | null
  /** A decision id or transaction id, exact. */
  readonly id: string | null
  /** A value of any entity field, exact, or the mask that stood in its place. */
  readonly entity: string | null
  /** name@version of the model that answered. */
  readonly model: string | null
  readonly action: string | null
  readonly scoreMin: number | null
  readonly scoreMax: number | null
  readonly degraded: boolean | null
  readonly limit: number
  /** `next` of the page before. */
  readonly after: string | null
}

export interface DriftQuery {
  readonly model: string | null
  readonly segment: string | null
  readonly kind: string | null
  /** Windows of each feature, newest kept. */
  readonly windows: number
}

export interface DriftDetailQuery extends DriftQuery {
  readonly window: string | null
}

export interface ShadowQuery {
  readonly sinceMs: number | null
  readonly untilMs: number | null
  readonly segment: string | null
  /** Flips listed, the most telling first. */
  readonly limit: number
}

export interface PageQuery {
  readonly limit: number
  readonly after: string | null
}

/** What a reader may choose. A `tick` after what one commit brought is sent to all. */
export const STREAM_KINDS = ['decision', 'drift', 'shadow', 'alert', 'control'] as const
export type StreamKind = (typeof STREAM_KINDS)[number]

export interface StreamEvent {
  /** Opaque; `Last-Event-ID` continues after it. Null where more of the same record follows. */
  readonly id: string | null
  readonly kind: StreamKind
  readonly data: object
}

export interface StreamPage {
  readonly events: readonly StreamEvent[]
  /** Continue here, also where no event was of the kinds asked for. */
  readonly cursor: string
  /** More is there already. */
  readonly more: boolean
}

/** Rows between two cursors, for a reader that was too slow for them. */
export interface Missed {
  readonly from: string
  readonly until: string
  readonly decisions: number
}

export interface Source {
  summary(): Promise<wire.Summary>
  decisions(query: DecisionQuery): Promise<wire.DecisionRows>
  /** By decision id or transaction id; null where the store holds none. */
  decision(id: string): Promise<wire.DecisionDetail | null>
  drift(query: DriftQuery): Promise<wire.DriftOverview>
  driftFeature(feature: string, query: DriftDetailQuery): Promise<wire.DriftDetail | null>
  shadow(query: ShadowQuery): Promise<wire.ShadowOverview>
  shadowModel(model: string, query: ShadowQuery): Promise<wire.ShadowDetail | null>
  alerts(query: PageQuery): Promise<wire.Alerts>
  audit(query: PageQuery): Promise<wire.Audit>
  health(): Promise<wire.Health>
  /** The cursor of now: what is committed later comes after it. */
  newest(): Promise<string>
  /** The cursor to go on from after a `Last-Event-ID`. Throws ASSAY_HEADER_INVALID for one of another log. */
  resume(id: string): Promise<string>
  /** How far the store is behind the log. */
  lag(): wire.Lag
  /** Events after a cursor in the order of the log. */
  events(after: string, kinds: readonly StreamKind[], limit: number): Promise<StreamPage>
  /** What lies between two cursors. */
  missed(from: string, until: string): Promise<Missed>
  /** Calls back after each commit; returns the way to stop that. */
  onCommit(listener: () => void): () => void
}
