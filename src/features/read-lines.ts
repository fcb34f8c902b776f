// The lines of a file as bytes, without their ends: as many at once as were read at once. A line over the bound costs
// no more memory than the bound: it is cut one byte beyond it, so that whoever reads it can tell.

const NEWLINE = 10
const RETURN = 13

/** Streams the lines, those without a byte too; the last one may lack its end. */
export async function* readLines(bytes: AsyncIterable<Buffer>, lineBytesMax: number): AsyncGenerator<Buffer[]> {
  const pieces: Buffer[] = []
  let held = 0
  const keep = (piece: Buffer): void => {
    const room = lineBytesMax + 1 - held
    if (room <= 0) return
    pieces.push(piece.subarray(0, room))
    held += Math.min(piece.length, room)
  }
  const take = (): Buffer => {
    const line = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces)
    pieces.length = 0
    held = 0
    return line.at(-1) === RETURN ? line.subarray(0, -1) : line
  }
  for await (const chunk of bytes) {
    const lines: Buffer[] = []
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      keep(chunk.subarray(from, end))
      lines.push(take())
      from = end + 1
    }
    keep(chunk.subarray(from))
    yield lines
  }
  if (held > 0) yield [take()]
}
