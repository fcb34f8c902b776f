// What was asked under one name, counted as the statistics extension of the Open Inference Protocol shows it: whole
// requests and the time that they took in each part. Each grows only; nothing of a request is kept.
import type { ModelStatistics } from '../../contract/inference.js'

export type Shown = ModelStatistics['model_stats'][number]

/** The parts of a request, each with the time that it took. */
export const PARTS = ['success', 'fail', 'queue', 'compute_input', 'compute_infer', 'compute_output'] as const
export type TimedPart = (typeof PARTS)[number]

export interface Tally {
  /** A part of a request took so many milliseconds. */
  took(part: TimedPart, ms: number): void
  /** A batch of rows was handed over. */
  executed(): void
  /** A request was answered with so many rows, at this time. */
  answered(rows: number, atMs: number): void
  show(name: string, version: string): Shown
}

export function createTally(): Tally {
  const counts = new Float64Array(PARTS.length)
  const ms = new Float64Array(PARTS.length)
  let [batches, rows, lastMs] = [0, 0, 0]
  const shown = (part: TimedPart) => {
    const at = PARTS.indexOf(part)
    return { count: counts[at], ns: Math.round(ms[at] * 1e6) }
  }
  return {
    took(part, took) {
      counts[PARTS.indexOf(part)]++
      ms[PARTS.indexOf(part)] += Math.max(0, took)
    },
    executed: () => void batches++,
    answered(count, atMs) {
      rows += count
      lastMs = atMs
    },
    show: (name, version) => ({
      ...{ name, version, last_inference: lastMs, inference_count: rows, execution_count: batches },
      inference_stats: {
        success: shown('success'),
        fail: shown('fail'),
        queue: shown('queue'),
        compute_input: shown('compute_input'),
        compute_infer: shown('compute_infer'),
        compute_output: shown('compute_output'),
      },
      batch_stats: [],
    }),
  }
}
