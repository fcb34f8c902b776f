// One golden row against what a model gave for it. Apart from golden-rows.ts, which reads scorecards too, so that a
// lane's thread imports no schemas.
import type { Golden } from './golden-file.js'
import type { ScoresOut } from './session.js'

/** How far a row's result is from what the trainer gave; `message` is null within the tolerance. */
export function goldenDifference(
  golden: Golden,
  row: number,
  out: ScoresOut,
  at = row,
): { readonly score: number; readonly message: string | null } {
  const { tolerance } = golden
  const score = Math.abs(out.scores[at] - golden.scores[row])
  if (!(score <= tolerance)) {
    const got = Number.isNaN(out.scores[at]) ? `no score (raw ${out.raw[at]})` : `${out.scores[at]}`
    return { score, message: `expected score ${golden.scores[row]} within ${tolerance}, got ${got}` }
  }
  if (golden.raw === null) return { score, message: null }
  const expected = golden.raw[row]
  const off = Math.abs(out.raw[at] - expected)
  const fits = off <= tolerance * Math.max(1, Math.abs(expected))
  return { score, message: fits ? null : `expected raw output ${expected} within ${tolerance}, got ${out.raw[at]}` }
}
