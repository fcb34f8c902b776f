// Cohen's kappa: agreement of two raters beyond what their own rates would give by chance. Pure; counts only, so that
// tables of many windows are added before it is computed. Weighted kappas are not offered: the distance between
// actions is not a number.

export interface Kappa {
  /** (po − pe) / (1 − pe); NaN where nothing was rated or both raters know a single category. */
  readonly kappa: number
  /** Large-sample standard error; NaN as above. */
  readonly se: number
  /** Share of equal ratings. */
  readonly agreement: number
}

/**
 * Kappa of a square table, row-major: `counts[i * size + j]` were rated i by the first and j by the second.
 * Cohen, J. (1960), Educ. Psychol. Meas. 20, 37–46; the standard error is that of Fleiss, Cohen & Everitt (1969),
 * Psychol. Bull. 72, 323–327, equation 13.
 */
export function cohenKappa(counts: readonly number[], size: number): Kappa {
  const rows = new Float64Array(size)
  const columns = new Float64Array(size)
  let n = 0
  let equal = 0
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const count = counts[i * size + j]
      rows[i] += count
      columns[j] += count
      n += count
      if (i === j) equal += count
    }
  }
  if (n === 0) return { kappa: NaN, se: NaN, agreement: NaN }
  const agreement = equal / n
  let chance = 0
  for (let i = 0; i < size; i++) chance += (rows[i] / n) * (columns[i] / n)
  if (chance >= 1) return { kappa: NaN, se: NaN, agreement }
  const kappa = (agreement - chance) / (1 - chance)
  let spread = -((kappa - chance * (1 - kappa)) ** 2)
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const share = counts[i * size + j] / n
      // The row total belongs to the column's category and the other way round off the diagonal.
      const own = (rows[j] + columns[i]) / n
      spread += share * (i === j ? (1 - own * (1 - kappa)) ** 2 : (1 - kappa) ** 2 * own ** 2)
    }
  }
  return { kappa, se: Math.sqrt(Math.max(0, spread) / n) / (1 - chance), agreement }
}
