// Counts over frozen cells: whole numbers in a flat array, so that the parts of a whole merge exactly by addition, in
// any order and any partition. As bytes they are varints: the same counts are the same bytes.

/** Adds `part` into `whole`. Throws RangeError where they do not have the same cells. */
export function addCounts(whole: Float64Array, part: ArrayLike<number>): void {
  if (whole.length !== part.length) throw new RangeError(`${part.length} counts do not fit ${whole.length} cells`)
  for (let at = 0; at < whole.length; at++) whole[at] = (whole[at] ?? 0) + (part[at] ?? 0)
}

/** The sum of counts. */
export function totalOf(counts: ArrayLike<number>): number {
  let total = 0
  for (let at = 0; at < counts.length; at++) total += counts[at] ?? 0
  return total
}

/** LEB128, one after the other. Throws RangeError for what is not a count. */
export function encodeCounts(counts: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(counts.length * 8)
  let end = 0
  for (let at = 0; at < counts.length; at++) {
    let left = counts[at] ?? NaN
    if (!Number.isSafeInteger(left) || left < 0) throw new RangeError(`${left} is not a count`)
    for (; left >= 128; left = Math.floor(left / 128)) bytes[end++] = (left % 128) | 128
    bytes[end++] = left
  }
  return bytes.slice(0, end)
}

/** What `encodeCounts` wrote. Throws RangeError unless it is exactly that many counts. */
export function decodeCounts(bytes: Uint8Array, cells: number): Float64Array {
  const counts = new Float64Array(cells)
  let pos = 0
  for (let at = 0; at < cells; at++) {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[pos++]
      if (byte === undefined || scale > 2 ** 49) throw new RangeError('counts end early')
      value += (byte & 127) * scale
      if (byte < 128) break
    }
    counts[at] = value
  }
  if (pos !== bytes.length) throw new RangeError(`${bytes.length - pos} bytes beyond ${cells} counts`)
  return counts
}
