// A file without a name for what is read once and used later, transactions and labels in one order: it lies in the
// folder for temporary files and is gone with the process, however that ends.
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AssayError, errorOf } from '../../errors.js'

/** What is done with an entry; the reading waits for what it returns. `bytes` are valid until then. */
export type Visit = (isLabel: boolean, bytes: Buffer) => Promise<void> | undefined

export interface Spool {
  add(isLabel: boolean, entry: Uint8Array): void
  /** Hands over every entry, in order. */
  read(visit: Visit): Promise<void>
  close(): void
}

const CHUNK_BYTES = 256 << 10
/** Kind and length. */
const HEAD_BYTES = 5

/** Opens it. Throws ASSAY_INPUT_INVALID where the folder does not take it; so do the calls. */
export function createSpool(): Spool {
  const path = join(tmpdir(), `assay-${randomBytes(8).toString('hex')}`)
  const fd = fromDisk(() => openSync(path, 'wx+', 0o600))
  rmSync(path)
  const out = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  let used = 0
  let written = 0

  function flush(): void {
    for (let at = 0; at < used;) at += fromDisk(() => writeSync(fd, out, at, used - at, written + at))
    written += used
    used = 0
  }

  return {
    add(isLabel, entry) {
      const bytes = HEAD_BYTES + entry.length
      if (bytes > CHUNK_BYTES) throw new RangeError('an entry is longer than what is read at once')
      if (used + bytes > CHUNK_BYTES) flush()
      out[used] = isLabel ? 1 : 0
      out.writeUInt32LE(entry.length, used + 1)
      out.set(entry, used + HEAD_BYTES)
      used += bytes
    },
    async read(visit) {
      flush()
      const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
      for (let at = 0; at < written;) {
        const position = at
        const end = fromDisk(() => readSync(fd, chunk, 0, CHUNK_BYTES, position))
        for (let from = 0, to = 0; ; from = to, at = position + from) {
          if (from + HEAD_BYTES > end) break
          to = from + HEAD_BYTES + chunk.readUInt32LE(from + 1)
          if (to > end) break
          const waits = visit(chunk[from] === 1, chunk.subarray(from + HEAD_BYTES, to))
          if (waits !== undefined) await waits
        }
      }
    },
    close: () => closeSync(fd),
  }
}

function fromDisk<T>(use: () => T): T {
  try {
    return use()
  } catch (cause) {
    const detail = `the folder for temporary files (TMPDIR) cannot be used: ${errorOf(cause).message}`
    throw new AssayError('ASSAY_INPUT_INVALID', detail, { cause })
  }
}
