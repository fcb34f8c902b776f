// PSI as most tools print it: ten groups between deciles of the reference, a small share in place of empty ones, no
// sample size, no chance. It stands beside ours because people will compare; nothing is decided by it. Pure.
import type { Cell } from './bins.js'

const GROUPS = 10
/** What replaces an empty group's share; the customary value. */
const EMPTY_SHARE = 1e-4

/**
 * Deciles as near as the cells allow: cells in ascending order are joined until each group holds a tenth of the
 * reference. Nulls and infinities are left out, as tools do; categories are groups of their own.
 */
export function textbookPsi(
  cells: readonly Cell[],
  reference: ArrayLike<number>,
  current: ArrayLike<number>,
): number | null {
  const kept = ordered(cells)
  let referenceN = 0
  let n = 0
  for (const at of kept) {
    referenceN += reference[at] ?? 0
    n += current[at] ?? 0
  }
  if (n === 0 || referenceN === 0) return null
  const isGrouped = cells.some((cell) => cell.kind === 'interval' || cell.kind === 'single')
  let psi = 0
  let expected = 0
  let found = 0
  let done = 0
  const close = (): void => {
    const p = Math.max(expected / referenceN, EMPTY_SHARE)
    const q = Math.max(found / n, EMPTY_SHARE)
    psi += (q - p) * Math.log(q / p)
    done += expected
    expected = 0
    found = 0
  }
  kept.forEach((at, place) => {
    expected += reference[at] ?? 0
    found += current[at] ?? 0
    // The next multiple of a tenth beyond what has been closed, with room for rounding.
    const border = (Math.floor((GROUPS * done) / referenceN + 1e-9) + 1) / GROUPS
    const isFull = (done + expected) / referenceN >= border - 1e-3
    if (!isGrouped || place === kept.length - 1 || isFull) close()
  })
  return psi
}

/** Finite cells by value: an interval stands at its upper end, a single value at itself. */
function ordered(cells: readonly Cell[]): number[] {
  const placed = cells.flatMap((cell, at) =>
    cell.kind === 'null' || cell.kind === '-inf' || cell.kind === '+inf' ? [] : [{ at, place: cell.high ?? Infinity }],
  )
  return placed.sort((a, b) => (a.place === b.place ? a.at - b.at : a.place - b.place)).map(({ at }) => at)
}
