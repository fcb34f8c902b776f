// Publishes what was derived to Kafka, from a place of its own: predictions, closed windows of drift and shadows,
// alerts. Reads the store after a commit, sends a page at a time, and moves on once the brokers have acknowledged it.
// Invariants: each event is published at least once, with the same id each time; brokers that are away, refuse or lack
// a topic hold up nothing but their events, which the store keeps; one page is in memory; each topic waits for itself.
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { EventsConfig } from '../../contract/kafka.js'
import { AssayError, errorOf } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import type { Logger } from '../../telemetry/logger.js'
import { createHeld } from '../api/answers/held.js'
import type { Place } from '../api/answers/log-rows.js'
import { createMasks, readMaskKey } from '../api/answers/masks.js'
import type { GovernFacts } from '../health.js'
import type { Publisher } from '../pipeline.js'
import type { Queries } from '../store/queries.js'
import type { CloudEvent, EventKind } from './cloud-events.js'
import { createEventCounts, type EventCounts } from './event-counts.js'
import { createAlertFeed, createLogFeed, type Feed, type FeedDeps, reachOf } from './event-feeds.js'
import { type Places, readPlaces, writePlaces } from './event-places.js'
import { type EventProducer, openEventProducer } from './event-producer.js'

export interface EventsDeps {
  /** The store's. */
  readonly directory: string
  readonly limits: Limits
  readonly clock: Clock
  readonly logger: Logger
  /** null while the store cannot be used. */
  queries(): Queries | null
  facts(): GovernFacts
  readonly durable: FeedDeps['durable']
}

export interface EventPublisher extends Publisher, Pick<EventCounts, 'metrics'> {
  /** Table → sequence up to which its rows were published; those that retention may not take without a word. */
  readonly published: () => ReadonlyMap<string, number>
  /** Rows left with retention before they were published. */
  readonly missed: (table: string, rows: number) => void
}

/** Name of the file that says how far events were published. */
export const PLACES_FILE = 'events.json'
/** Milliseconds before the second try; doubles up to `kafkaRetryMsMax`. */
const RETRY_MS = 500
/** Nobody asks here for what stands behind a mask. */
const MASKS_MAX = 1
const KINDS: readonly EventKind[] = ['predictions', 'drift', 'shadow', 'alerts']
const TABLES = { predictions: 'decisions', drift: 'drift', shadow: 'shadow_windows' } as const

/** A kind on its way to its topic. */
interface Lane {
  readonly kind: EventKind
  readonly topic: string
  readonly feed: Feed
  retryMs: number
  retryAtMs: number
  /** Why it waits; null while all is well. */
  trouble: string | null
}

/** What is read from the disk before anything is published. */
interface Begun {
  readonly lanes: readonly Lane[]
  readonly places: Places
  readonly feedDeps: FeedDeps
}

/** Starts it in the background. */
export function createKafkaEvents(config: EventsConfig, deps: EventsDeps): EventPublisher {
  const { limits, clock, logger } = deps
  const file = join(deps.directory, PLACES_FILE)
  const stop = new AbortController()
  let begun: Begun | null = null
  let client: EventProducer | null = null
  /** Why nothing is published; why it is not noted. */
  const troubles: { all: string | null; place: string | null } = { all: null, place: null }
  let nap = new AbortController()
  const sequence = (): number => deps.facts().sequence
  const counts = createEventCounts(() => begun?.lanes ?? [], sequence)

  function fail(detail: string, thrown: unknown): string {
    const error = errorOf(thrown)
    const code = error instanceof AssayError ? error.code : 'ASSAY_INTERNAL'
    if (!stop.signal.aborted) {
      counts.failed(code)
      logger.event('KafkaFailed', { detail, error })
    }
    return `${code}: ${error.message}`
  }

  async function connected(): Promise<EventProducer> {
    if (client?.isUsable() === true) return client
    await client?.close()
    const onWarning = (detail: string): void => logger.event('KafkaWarned', { detail })
    client = await openEventProducer(config, { ...limits, onWarning, signal: stop.signal })
    return client
  }

  async function send({ kind, topic }: Lane, events: readonly CloudEvent[]): Promise<void> {
    for (const part of partsOf(events, limits)) {
      await (await connected()).send(topic, part)
      counts.sent(kind, part.length)
    }
  }

  async function note({ lanes, places }: Begun): Promise<void> {
    try {
      await writePlaces(
        file,
        lanes.reduce((noted, { feed }) => feed.noteIn(noted), places),
      )
      troubles.place = null
    } catch (error) {
      troubles.place = fail('how far events were published', error)
    }
  }

  /** One page of a topic; true where more is there. */
  async function advance(lane: Lane, all: Begun, reach: Place): Promise<boolean> {
    const queries = deps.queries()
    try {
      const page = await lane.feed.page(reach)
      await send(lane, page.events)
      page.done()
      if (page.events.length > 0) await note(all)
      Object.assign(lane, { retryMs: RETRY_MS, trouble: null })
      return page.more
    } catch (error) {
      // A store that was closed meanwhile is none of the brokers' faults.
      if (deps.queries() !== queries) return false
      lane.trouble = fail(`events to ${lane.topic}`, error)
      lane.retryAtMs = clock.monoMs() + lane.retryMs
      lane.retryMs = Math.min(2 * lane.retryMs, limits.kafkaRetryMsMax)
      return false
    }
  }

  /** A page of each topic that does not wait; true where more is there. */
  async function pass(all: Begun): Promise<boolean> {
    const queries = deps.queries()
    if (queries === null) return false
    let reach: Place | null
    try {
      reach = await reachOf(all.feedDeps)
    } catch (error) {
      if (deps.queries() !== queries) return false
      throw error
    }
    let more = false
    for (const lane of reach === null ? [] : all.lanes) {
      if (reach === null || stop.signal.aborted || clock.monoMs() < lane.retryAtMs) continue
      more = (await advance(lane, all, reach)) || more
    }
    return more
  }

  async function run(): Promise<void> {
    let retryMs = RETRY_MS
    while (!stop.signal.aborted) {
      try {
        begun ??= await begin(config, deps, file)
        await connected()
        troubles.all = null
        retryMs = RETRY_MS
        if (!(await pass(begun))) await rest(begun.lanes)
      } catch (error) {
        troubles.all = fail('events are not published', error)
        await delay(retryMs, undefined, { signal: stop.signal }).catch(() => undefined)
        retryMs = Math.min(2 * retryMs, limits.kafkaRetryMsMax)
      }
    }
  }

  /** Until something was committed or a topic is to be tried again; the log becomes durable without a commit. */
  async function rest(lanes: readonly Lane[]): Promise<void> {
    const now = clock.monoMs()
    const due = lanes.filter(({ retryAtMs }) => retryAtMs > now).map(({ retryAtMs }) => retryAtMs - now)
    await delay(Math.min(limits.tailGatherMs, ...due), undefined, { signal: nap.signal }).catch(() => undefined)
    nap = new AbortController()
  }

  const running = run()
  return {
    name: 'kafka',
    publish({ alerts }) {
      for (const { feed } of begun?.lanes ?? []) feed.noteAlerts(alerts.length)
      nap.abort()
    },
    metrics: counts.metrics,
    trouble() {
      const own = (begun?.lanes ?? []).map((lane) => lane.trouble)
      const words = [troubles.all, troubles.place, ...own].filter((one) => one !== null)
      return words.length === 0 ? null : words.join('; ')
    },
    unpublished: counts.missedInAll,
    published: () => new Map(tablesOf(begun?.lanes ?? []).map(({ table, feed }) => [table, feed.sequence()])),
    missed(table, rows) {
      const lane = tablesOf(begun?.lanes ?? []).find((one) => one.table === table)
      if (lane !== undefined) counts.missed(lane.kind, rows)
    },
    async close(deadlineMs) {
      stop.abort()
      nap.abort()
      await Promise.race([running, delay(deadlineMs, undefined, { ref: false })])
      await client?.close()
    },
  }
}

async function begin(config: EventsConfig, deps: EventsDeps, file: string): Promise<Begun> {
  const { directory, limits, durable } = deps
  const masks = createMasks(MASKS_MAX, readMaskKey(directory))
  const feedDeps: FeedDeps = { held: createHeld({ ...deps, masks }), masks, limits, durable }
  const places = await readPlaces(file)
  const lanes = KINDS.flatMap((kind): Lane[] => {
    const topic = config.topics[kind]
    if (topic === null) return []
    const feed =
      kind === 'alerts' ? createAlertFeed(places.alerts, feedDeps) : createLogFeed(kind, places[kind], feedDeps)
    return [{ kind, topic, feed, retryMs: RETRY_MS, retryAtMs: 0, trouble: null }]
  })
  return { lanes, places, feedDeps }
}

function tablesOf(lanes: readonly Lane[]): { kind: EventKind; table: string; feed: Feed }[] {
  return lanes.flatMap(({ kind, feed }) => (kind === 'alerts' ? [] : [{ kind, table: TABLES[kind], feed }]))
}

/** Bounded in events and in bytes; where there is nothing, a part without any: the topic is looked at all the same. */
function partsOf(events: readonly CloudEvent[], limits: Limits): CloudEvent[][] {
  const parts: CloudEvent[][] = [[]]
  let bytes = 0
  for (const event of events) {
    const own = Buffer.byteLength(event.value) + HEADER_BYTES
    const last = parts.at(-1)
    if (
      last === undefined ||
      last.length >= limits.kafkaBatchRowsMax ||
      (last.length > 0 && bytes + own > limits.kafkaSendBytesMax)
    ) {
      parts.push([event])
      bytes = own
    } else {
      last.push(event)
      bytes += own
    }
  }
  return parts
}

/** Of key and headers, about. */
const HEADER_BYTES = 400
