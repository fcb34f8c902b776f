// How far events were published, in a file of the store's directory: it outlives the store, so that a rebuild or a
// later release publishes nothing again. Invariant: a place is written after the brokers have acknowledged everything
// before it, whole or not at all.
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { AssayError } from '../../errors.js'

const Count = Type.Integer({ minimum: 0 })
/** Of rows that stand in the order of the log. */
const LogPlace = Type.Object({ log: Type.String(), epoch: Count, sequence: Type.Integer({ minimum: -1 }) })
export type LogPlace = Static<typeof LogPlace>
/** Of rows that stand in the order in which they were written: how many, and the id of the last event. */
const RowPlace = Type.Object({ rows: Count, last: Type.String() })
export type RowPlace = Static<typeof RowPlace>

const Places = Type.Object(
  {
    format: Type.Literal(1),
    predictions: Type.Optional(LogPlace),
    drift: Type.Optional(LogPlace),
    shadow: Type.Optional(LogPlace),
    alerts: Type.Optional(RowPlace),
  },
  { additionalProperties: false },
)
/** Kind → where its events go on. */
export type Places = Static<typeof Places>

export const NO_PLACES: Places = { format: 1 }

/** No file: nothing was published. Throws ASSAY_STORE_IO for one that cannot be read or says something else. */
export async function readPlaces(file: string): Promise<Places> {
  try {
    const places: unknown = JSON.parse(await readFile(file, 'utf8'))
    if (Value.Check(Places, places)) return places
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return NO_PLACES
    throw fault(file, cause)
  }
  throw fault(file)
}

function fault(file: string, cause?: unknown): AssayError {
  const detail = `${file} does not say how far events were published; without it all that is held is published again`
  return new AssayError('ASSAY_STORE_IO', detail, { cause })
}

/** Throws ASSAY_STORE_IO. */
export async function writePlaces(file: string, places: Places): Promise<void> {
  const partial = `${file}.partial`
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o750 })
    const handle = await open(partial, 'w', 0o640)
    try {
      await handle.writeFile(JSON.stringify(places))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(partial, file)
  } catch (cause) {
    throw new AssayError('ASSAY_STORE_IO', `${file} cannot be written: events may be published again`, { cause })
  }
}
