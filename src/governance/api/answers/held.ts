// What every answer needs beside rows: the store that is open now, what holds after the newest record, which tables
// there are. Read again after each commit, not for each question.
import { Buffer } from 'node:buffer'
import { type ControlState, parseControlState } from '../../../contract/control-state.js'
import { AssayError } from '../../../errors.js'
import type { Clock } from '../../../runtime/clock.js'
import type { GovernFacts } from '../../health.js'
import type { Queries } from '../../store/queries.js'
import type { Masks } from './masks.js'

export interface HeldDeps {
  readonly clock: Clock
  readonly masks: Masks
  /** null while the store cannot be used. */
  queries(): Queries | null
  facts(): GovernFacts
}

export interface Held {
  readonly clock: Clock
  readonly masks: Masks
  facts(): GovernFacts
  isOpen(): boolean
  /** Throws ASSAY_NOT_READY while the store cannot be used. */
  queries(): Queries
  /** What holds after the newest record; null before the first. */
  control(): Promise<ControlState | null>
  hasTable(name: string): Promise<boolean>
  /** A batch was committed. */
  forget(): void
}

export function createHeld(deps: HeldDeps): Held {
  let control: Promise<ControlState | null> | null = null
  const tables = new WeakMap<Queries, Promise<ReadonlySet<string>>>()
  const queries = (): Queries => {
    const open = deps.queries()
    if (open === null) throw new AssayError('ASSAY_NOT_READY', 'the store is not open yet, or being made anew')
    return open
  }
  return {
    clock: deps.clock,
    masks: deps.masks,
    facts: () => deps.facts(),
    isOpen: () => deps.queries() !== null,
    queries,
    control() {
      control ??= readControl(queries()).catch((error: unknown) => {
        control = null
        throw error
      })
      return control
    },
    async hasTable(name) {
      const open = queries()
      const known = tables.get(open) ?? readTables(open)
      tables.set(open, known)
      return (await known).has(name)
    },
    forget() {
      control = null
    },
  }
}

async function readControl(queries: Queries): Promise<ControlState | null> {
  const [row] = await queries.select("SELECT content FROM checkpoints WHERE name = 'control'")
  const content = row?.content
  return content instanceof Uint8Array ? parseControlState(Buffer.from(content).toString('utf8')) : null
}

async function readTables(queries: Queries): Promise<ReadonlySet<string>> {
  const rows = await queries.select('SELECT table_name FROM duckdb_tables()')
  return new Set(rows.map(({ table_name: name }) => String(name)))
}
