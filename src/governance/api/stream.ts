// Server-sent events out of the store: each reader has a cursor and pulls the next page when something was committed
// and its socket took the last one. Invariant: what is held for a reader is one page, however slow it is; a reader
// that goes on from `Last-Event-ID` loses nothing, and one that cannot keep up is told what it missed and where to
// find it.
import type { ServerResponse } from 'node:http'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import type { Source, StreamKind, StreamPage } from './source.js'

export interface Streams {
  /** Takes over a response. */
  open(response: ServerResponse, asked: Asked): void
  count(): number
  /** Readers that were told of missed events, since the start. */
  missed(): number
  close(): void
}

export interface Asked {
  readonly kinds: readonly StreamKind[]
  /** The cursor that it goes on from. */
  readonly after: string
  /** False once the reader may not read any more. */
  readonly stands: () => boolean
}

export interface StreamDeps {
  readonly source: Pick<Source, 'events' | 'newest' | 'missed' | 'onCommit' | 'lag'>
  readonly limits: Limits
  readonly clock: Pick<Clock, 'monoMs'>
  onFault(error: unknown): void
}

const RETRY_MS = 2_000
/** A comment now and then keeps proxies from closing a quiet stream. */
const HEARTBEAT_MS = 15_000

type Events = (after: string, kinds: readonly StreamKind[]) => Promise<StreamPage>

/** Makes the hub of all streams. */
export function createStreams(deps: StreamDeps): Streams {
  const readers = new Set<{ wake(): void; end(): void }>()
  const counts = { missed: 0 }
  const pages = sharedPages(deps)
  const wakeAll = (): void => {
    pages.forget()
    for (const reader of readers) reader.wake()
  }
  const unsubscribe = deps.source.onCommit(wakeAll)
  return {
    open(response, asked) {
      const reader = createReader({ ...deps, events: pages.read, counts }, response, asked)
      readers.add(reader)
      response.once('close', () => {
        reader.end()
        readers.delete(reader)
      })
    },
    count: () => readers.size,
    missed: () => counts.missed,
    close() {
      unsubscribe()
      for (const reader of readers) reader.end()
    },
  }
}

/** Readers that stand at the same place share one query until the next commit. */
function sharedPages({ source, limits }: StreamDeps): { read: Events; forget(): void } {
  const held = new Map<string, Promise<StreamPage>>()
  return {
    read(after, kinds) {
      const key = `${after} ${kinds.join()}`
      const waiting = held.get(key)
      if (waiting !== undefined) return waiting
      const page = source.events(after, kinds, limits.streamRowsMax)
      if (held.size < limits.streamsMax) held.set(key, page)
      return page
    },
    forget: () => held.clear(),
  }
}

interface ReaderDeps extends StreamDeps {
  readonly events: Events
  readonly counts: { missed: number }
}

/** One reader: at most one page is read or written at a time. */
function createReader(deps: ReaderDeps, response: ServerResponse, asked: Asked): { wake(): void; end(): void } {
  const { source, limits, counts, clock } = deps
  let cursor = asked.after
  let again = true
  let running = false
  let open = true
  /** Once at the end, falling behind is the reader's slowness and no longer its absence. */
  let caughtUp = false

  /** Resolves to the milliseconds that the reader took. One that takes nothing for too long is let go. */
  const write = (text: string): Promise<number> => {
    if (!open || response.write(text)) return Promise.resolve(0)
    const sinceMs = clock.monoMs()
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(stall)
        clearImmediate(last)
        response.off('drain', done)
        response.off('close', done)
        resolve(clock.monoMs() - sinceMs)
      }
      let last: NodeJS.Immediate | undefined
      // After one more look at the sockets: that our own loop was late is not the reader's fault.
      const stall = setTimeout(() => (last = setImmediate(() => response.destroy())), limits.streamStallMs)
      response.once('drain', done)
      response.once('close', done)
    })
  }
  const skip = async (at: string): Promise<string> => {
    const newest = await source.newest()
    const missed = await source.missed(at, newest)
    if (missed.decisions <= limits.streamBehindMax) return at
    counts.missed++
    await write(frame('missed', newest, { ...missed, see: '/api/v1/decisions, or Last-Event-ID with `from`' }))
    return newest
  }
  const step = async (): Promise<boolean> => {
    const page = await deps.events(cursor, asked.kinds)
    const moved = page.cursor !== cursor
    const text = page.events.map(({ kind, id, data }) => frame(kind, id, data)).join('')
    const tookMs = await write(moved ? text + frame('tick', page.cursor, { lag: source.lag() }) : text)
    cursor = page.cursor
    if (!page.more) caughtUp = true
    else if (open && caughtUp && tookMs > limits.streamSlowMs) cursor = await skip(page.cursor)
    return page.more
  }
  const end = (): void => {
    if (!open) return
    open = false
    clearInterval(heartbeat)
    response.end()
  }
  const pump = async (): Promise<void> => {
    if (running) return
    running = true
    try {
      while (open && again) {
        again = false
        if (!asked.stands()) return end()
        if (await step()) again = true
      }
    } catch (error) {
      deps.onFault(error)
      response.destroy()
    } finally {
      running = false
    }
  }
  const heartbeat = setInterval(() => {
    if (!asked.stands()) end()
    else if (open && !response.writableNeedDrain) response.write(': \n\n')
  }, HEARTBEAT_MS)
  // At once an id to go on from, however soon the reader breaks off.
  response.write(`retry: ${RETRY_MS}\n\n${frame('tick', cursor, { lag: source.lag() })}`)
  void pump()
  return {
    wake() {
      again = true
      void pump()
    },
    end,
  }
}

function frame(event: string, id: string | null, data: object): string {
  return `event: ${event}\n${id === null ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}
