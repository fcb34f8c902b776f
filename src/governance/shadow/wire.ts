// What the sidecar's main thread and the shadow thread say to each other. Plain data; vectors and scores are moved.
import type { LoadedModel, ScoringGroup } from './scorer.js'

/** What the thread is started with. */
export interface ShadowThreadData {
  readonly modelsDir: string
  readonly shadows: readonly string[]
}

export function isThreadData(value: unknown): value is ShadowThreadData {
  return typeof value === 'object' && value !== null && 'modelsDir' in value && 'shadows' in value
}

export type ToShadowThread =
  | {
      readonly kind: 'score'
      readonly id: number
      readonly group: ScoringGroup
    }
  | { readonly kind: 'close' }

export type FromShadowThread =
  | { readonly kind: 'ready'; readonly models: readonly LoadedModel[] }
  | {
      readonly kind: 'scored'
      readonly id: number
      /** By model, then by row. */
      readonly scores: Float64Array
      readonly models: readonly LoadedModel[]
    }
