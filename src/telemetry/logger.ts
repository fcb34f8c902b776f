// What the process says about itself: named events as JSON lines. Not to be confused with the decision log.
// Invariant: a line holds an event of the table below and plain values; never a transaction, a key or card data: a text
// in which a card number could stand is replaced. It refuses to log per request: requests are metrics.
import { type DestinationStream, pino } from 'pino'
import { holdsCardData } from '../contract/card-data.js'
import { AssayError } from '../errors.js'

export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

/** Every event, `<Noun><PastVerb>`, with the level at which it is written. */
export const EVENTS = {
  ServerStarted: 'info',
  ServerReady: 'info',
  ServerDraining: 'info',
  ServerStopped: 'info',
  PhaseEntered: 'info',
  RequestFailed: 'error',
  AccessRefused: 'warn',
  KeysReplaced: 'info',
  KeysRefused: 'error',
  SnapshotLoaded: 'info',
  SnapshotRefused: 'warn',
  LogReplayed: 'info',
  HistoryImported: 'info',
  LogRecovered: 'warn',
  LogFailed: 'error',
  SegmentDropped: 'error',
  RecordsLost: 'error',
  ModelLoaded: 'info',
  ModelRefused: 'error',
  LaneReady: 'info',
  LaneRestarted: 'warn',
  LaneAbandoned: 'error',
  BreakerOpened: 'warn',
  BreakerClosed: 'info',
  RoutesChanged: 'info',
  RoutesDiffered: 'warn',
  RoutesHeldBack: 'warn',
  RoutesRefused: 'error',
  FleetReached: 'info',
  FleetLost: 'error',
  PolicyChanged: 'info',
  PolicyDiffered: 'warn',
  WarmUpEnded: 'info',
  SharedStateFailed: 'error',
  SharedStateHealed: 'info',
  KafkaJoined: 'info',
  KafkaFailed: 'error',
  KafkaWarned: 'warn',
  KafkaDecisionMissing: 'error',
  KafkaDeadLetterWave: 'error',
  KafkaDeadLetterWaveEnded: 'info',
  SchemaRefused: 'warn',
  SidecarStarted: 'info',
  SidecarStopped: 'info',
  SidecarRestarted: 'warn',
  StoreOpened: 'info',
  StoreRebuilt: 'warn',
  StoreFailed: 'error',
  StorePaused: 'warn',
  TailFailed: 'error',
  FindingReported: 'warn',
  PartitionWritten: 'info',
  SegmentsArchived: 'info',
  ArchiveFailed: 'error',
  AlertOpened: 'warn',
  AlertEscalated: 'warn',
  AlertSilenced: 'info',
  AlertUnsilenced: 'warn',
  AlertResolved: 'info',
  AlertsLeftOut: 'warn',
} as const satisfies Record<string, Level>
export type EventName = keyof typeof EVENTS

/** Plain values only. An error shows its code and message, and its stack at level debug. */
export type Fields = Readonly<Record<string, string | number | boolean | null | Error | readonly string[]>>

export interface Logger {
  event(name: EventName, fields?: Fields): void
  /** Writes out what is buffered; call it before the process ends. */
  flush(): void
}

/**
 * Makes a logger. JSON lines go to standard error unless a stream is given (`text-lines.ts` makes one for a terminal);
 * standard output belongs to commands.
 */
export function createLogger(options: { level: Level; stream?: DestinationStream }): Logger {
  const stream = options.stream ?? pino.destination({ fd: 2, sync: true })
  const lines = pino(
    {
      level: options.level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      messageKey: 'event',
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  )
  return {
    event: (name, fields = {}) => lines[EVENTS[name]](plain(fields, lines.isLevelEnabled('debug')), name),
    flush: () => lines.flush(),
  }
}

function plain(fields: Fields, withStack: boolean): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, plainValue(value, withStack)] as const),
  )
}

function plainValue(value: Fields[string], withStack: boolean): unknown {
  if (value instanceof Error) return plainError(value, withStack)
  if (typeof value === 'string') return safe(value)
  return typeof value === 'object' && value !== null ? value.map(safe) : value
}

function plainError(error: Error, withStack: boolean): object {
  return {
    name: error.name,
    ...(error instanceof AssayError && { code: error.code }),
    message: safe(error.message),
    ...(error.cause instanceof Error && { cause: safe(error.cause.message) }),
    ...(withStack && error.stack !== undefined && { stack: safe(error.stack) }),
  }
}

function safe(text: string): string {
  return holdsCardData(text) ? '[removed]' : text
}
