// What a run of n rows takes, learned while running: time = per run + per row × n, by least squares over runs whose
// weight halves about every 14 runs. Pure. Runs that the machine interrupted must not poison it: a sample counts at
// most twice what was expected, so one of them adds 5 %, and a model that really got eight times slower is learned
// in fifty.

const DECAY = 0.95
const SURPRISE_MAX = 2
/** Half of the default deadline, where a run is given an eighth of it. */
const DEVICE_TIMES_MAX = 4

export interface Cost {
  /** One run of `rows` rows took `us` microseconds. */
  add(rows: number, us: number): void
  /** Forgets: the next runs tell anew. */
  reset(): void
  perRowUs(): number
  perRunUs(): number
  /**
   * Rows of a run that stays within `usMax`, 1 to `rowsMax`. Up to `deviceRowsMax`, where that is more, as long as the
   * rows cost less than the run itself: on a device whose run takes 400 µs and 1 µs more with each row, 400 rows take
   * but twice as long as one. Such a run may take longer than `usMax`, up to four times, where one row alone does.
   */
  rowsWithin(usMax: number, rowsMax: number, deviceRowsMax?: number): number
}

/** Makes an estimate that knows nothing yet: it expects 0 until the first run. */
export function createCost(): Cost {
  let weight = 0
  let sumN = 0
  let sumNn = 0
  let sumT = 0
  let sumNt = 0
  let perRow = 0
  let perRun = 0

  return {
    add(rows, us) {
      const expected = perRun + perRow * rows
      const t = weight > 0 && expected > 0 ? Math.min(us, expected * SURPRISE_MAX) : us
      weight = weight * DECAY + 1
      sumN = sumN * DECAY + rows
      sumNn = sumNn * DECAY + rows * rows
      sumT = sumT * DECAY + t
      sumNt = sumNt * DECAY + rows * t
      const meanN = sumN / weight
      const meanT = sumT / weight
      const spread = sumNn / weight - meanN * meanN
      // Runs of one size say nothing of the slope: the last one known stays, bounded by what such a run takes.
      if (spread > 0.25) perRow = Math.max(0, (sumNt / weight - meanN * meanT) / spread)
      else if (perRow === 0) perRow = meanT / meanN / 2
      perRow = Math.min(perRow, meanT / meanN)
      perRun = Math.max(0, meanT - perRow * meanN)
    },
    reset() {
      weight = sumN = sumNn = sumT = sumNt = perRow = perRun = 0
    },
    perRowUs: () => perRow,
    perRunUs: () => perRun,
    rowsWithin(usMax, rowsMax, deviceRowsMax = rowsMax) {
      if (perRow <= 0) return rowsMax
      const within = (us: number, rows: number): number =>
        Math.max(1, Math.min(rows, Math.floor((us - perRun) / perRow)))
      if (deviceRowsMax <= rowsMax) return within(usMax, rowsMax)
      const rowsEven = Math.min(deviceRowsMax, Math.max(rowsMax, Math.floor(perRun / perRow)))
      return within(Math.min(Math.max(usMax, 2 * perRun), DEVICE_TIMES_MAX * usMax), rowsEven)
    },
  }
}
