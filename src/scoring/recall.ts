// Finds in the decision log itself what was decided of places in a stream, where the index has forgotten it. Rare: a
// stream that is read again from further back than the index reaches. Each partition has a cursor that goes through the
// log once while it is read again in order, a few records in a turn of the loop; one that asks for what lies before its
// cursor begins anew.
import { setImmediate as turn } from 'node:timers/promises'
import type { DecodedRecord, StreamSource } from '../contract/record-types.js'
import type { Logged } from '../contract/decision.js'
import type { Limits } from '../limits.js'
import { createRenderer } from './answers.js'
import type { Recall, Recalled } from './exchange.js'
import { openRecords, type RecordReader } from './restore.js'

export interface RecallDeps {
  readonly directory: string
  readonly logId: Buffer
  readonly logged: Logged
  /** Sequence of the newest record of a stream. */
  readonly newest: () => number
  readonly limits: Pick<Limits, 'recallsMax' | 'kafkaBatchRowsMax'>
}

/** Records decoded between two turns of the event loop: some 0.5 ms. */
const TURN_RECORDS = 32
/** Turns of one call. */
const TURNS = 32
/** Milliseconds after which a cursor that nobody asks is closed. */
const IDLE_MS = 10_000

interface Cursor {
  records: RecordReader
  /** Of this partition and further on than what is asked for: records are not quite in the order of offsets. */
  readonly ahead: Map<number, Recalled>
  readonly found: Map<number, Recalled>
  /** The offsets of the present question: one may be given up in the middle. */
  question: string
  /** It was asked from the beginning of the log. */
  isWhole: boolean
  /** Sequence up to which the log is to be read for it. */
  until: number
  readonly idle: NodeJS.Timeout
}

export function createRecall({ directory, logId, logged, newest, limits }: RecallDeps): Recall {
  const render = createRenderer(logId)
  const cursors = new Map<string, Cursor>()
  const open = (): RecordReader => openRecords(directory, { live: true })

  function close(key: string): void {
    const cursor = cursors.get(key)
    cursors.delete(key)
    cursor?.records.close()
    clearTimeout(cursor?.idle)
  }

  function cursorOf(key: string): Cursor {
    const held = cursors.get(key)
    held?.idle.refresh()
    if (held !== undefined) return held
    const [oldest] = cursors.keys()
    if (cursors.size >= limits.recallsMax) close(oldest)
    const idle = setTimeout(() => close(key), IDLE_MS).unref()
    const asked = { question: '', isWhole: true, until: 0 }
    const cursor: Cursor = { records: open(), ahead: new Map(), found: new Map(), ...asked, idle }
    cursors.set(key, cursor)
    return cursor
  }

  /** Reads on; false where the log has ended. */
  async function read(cursor: Cursor, place: StreamSource, wanted: ReadonlySet<number>): Promise<boolean> {
    const { ahead, found } = cursor
    const first = Math.min(...wanted)
    const onRecord = (record: DecodedRecord): void => {
      const source = sourceOf(record)
      if (source === null || source.topicId !== place.topicId || source.partition !== place.partition) return
      if (source.offset < first || found.has(source.offset)) return
      const into = wanted.has(source.offset) ? found : ahead
      into.set(source.offset, recalled(record))
      const [oldest] = ahead.keys()
      if (ahead.size > limits.kafkaBatchRowsMax) ahead.delete(oldest)
    }
    for (let turns = 0; turns < TURNS && found.size < wanted.size; turns++) {
      if (cursor.records.read({ onRecord }, TURN_RECORDS) < TURN_RECORDS) return false
      await turn()
    }
    return true
  }

  function recalled(record: DecodedRecord): Recalled {
    if (record.type !== 'decision' && record.type !== 'observed') return 'consumed'
    const { transactionId } = record.personal.transaction
    return { transactionId, body: render(record.facts, transactionId, logged) }
  }

  function begin(cursor: Cursor, question: string, wanted: ReadonlySet<number>): void {
    const { ahead, found, records } = cursor
    cursor.question = question
    cursor.isWhole = records.position() === null
    cursor.until = newest()
    found.clear()
    for (const offset of wanted) {
      const known = ahead.get(offset)
      if (known !== undefined) found.set(offset, known)
      ahead.delete(offset)
    }
  }

  async function find(cursor: Cursor, sources: readonly StreamSource[]): Promise<ReadonlyMap<number, Recalled> | null> {
    const wanted = new Set(sources.map(({ offset }) => offset))
    const question = [...wanted].join()
    if (question !== cursor.question) begin(cursor, question, wanted)
    const goesOn = await read(cursor, sources[0], wanted)
    if (cursor.found.size < wanted.size) {
      // What was appended is seen once it is durable.
      if (goesOn || (cursor.records.position()?.sequence ?? -1) < cursor.until) return null
      if (!cursor.isWhole) {
        cursor.records.close()
        cursor.records = open()
        cursor.isWhole = true
        return null
      }
    }
    cursor.question = ''
    return new Map(cursor.found)
  }

  return async (sources) => {
    const key = `${sources[0].topicId} ${sources[0].partition}`
    try {
      return await find(cursorOf(key), sources)
    } catch (error) {
      close(key)
      throw error
    }
  }
}

function sourceOf(record: DecodedRecord): StreamSource | null {
  if (record.type === 'decision' || record.type === 'observed') return record.personal.source
  return record.type === 'consumed' ? record.consumed.source : null
}
