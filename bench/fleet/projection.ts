// What a large fleet would need, by arithmetic from the figures of this bench: Redis by its CPU and by its memory, and
// servers. Pure. What nobody measured is an assumption, printed with a star and to be set; prices are left to the
// reader: money is a number of instances times what one of them costs.

export interface ProjectionFigures {
  /** CPU a score, µs: of the Redis while lists are short, and of a server. */
  readonly redisUs: number
  readonly serverUs: number
  /** Bytes of an entity, and µs of a fold in the Redis, by the events of its list, which rise. */
  readonly lists: readonly ListFigures[]
  /** Of a transaction in the index. */
  readonly indexBytes: number
  /** In and out of the Redis, a score. */
  readonly netBytes: number
}

export interface ListFigures {
  readonly events: number
  readonly bytesEach: number
  readonly foldUs: number
}

export interface Assumptions {
  readonly ratePerSecond: number
  readonly cards: number
  readonly terminals: number
  /** Payments of a card in 30 days: one column each. */
  readonly payments: readonly number[]
  /** Of a core, and of an instance's memory, that may be used. */
  readonly busyShare: number
  readonly filledShare: number
  readonly instanceGib: number
  /** A primary and its replicas. */
  readonly copies: number
}

export const ASSUMPTIONS: Assumptions = {
  ...{ ratePerSecond: 50_000, cards: 100e6, terminals: 2e6, payments: [5, 20, 60] },
  ...{ busyShare: 0.5, filledShare: 0.6, instanceGib: 64, copies: 2 },
}

const GIB = 2 ** 30
const DAY_S = 86_400
/** How long the reference catalogue holds an event: windows of 30 days, those of terminals end 7 days before. */
const CARD_DAYS = 30
const TERMINAL_DAYS = 37
/** Events that a list holds at most (`eventsPerEntityMax`), and hours of the index (`idempotency.window_ms`). */
const EVENTS_MAX = 4_096
const INDEX_HOURS = 24

/** Events of the lists for which the CPU of a score was measured. */
const SHORT_EVENTS = 8

/** Of a list of so many events: between two that were measured by proportion, beyond them by their last rise. */
export function figureOf(lists: readonly ListFigures[], events: number, key: 'bytesEach' | 'foldUs'): number {
  const wanted = Math.min(events, EVENTS_MAX)
  const at = lists.findIndex((list) => list.events >= wanted)
  const from = at === -1 ? lists.length - 2 : Math.max(0, at - 1)
  const [low, high] = lists.slice(from, from + 2)
  return low[key] + ((wanted - low.events) * (high[key] - low[key])) / (high.events - low.events)
}

/** One column: a fleet whose cards pay so often. */
export interface Projected {
  readonly payments: number
  readonly meanPerSecond: number
  readonly perTerminal: number
  /** CPU of the Redis a score with lists of that length. */
  readonly redisUs: number
  readonly cardsGib: number
  readonly terminalsGib: number
  readonly indexGib: number
  readonly memoryGib: number
  readonly shards: number
  readonly instances: number
}

export function projectOne(figures: ProjectionFigures, assumed: Assumptions, payments: number): Projected {
  const { cards, terminals, busyShare, filledShare, instanceGib, copies, ratePerSecond } = assumed
  const meanPerSecond = (cards * payments) / (CARD_DAYS * DAY_S)
  const perTerminal = (meanPerSecond * TERMINAL_DAYS * DAY_S) / terminals
  const bytes = (events: number): number => figureOf(figures.lists, events, 'bytesEach')
  const foldUs = (events: number): number => figureOf(figures.lists, events, 'foldUs')
  const beyondUs = (events: number): number => Math.max(0, foldUs(events) - foldUs(SHORT_EVENTS))
  const redisUs = figures.redisUs + beyondUs(payments) + beyondUs(perTerminal)
  const cardsGib = (cards * bytes(payments)) / GIB
  const terminalsGib = (terminals * bytes(perTerminal)) / GIB
  const indexGib = (meanPerSecond * INDEX_HOURS * 3_600 * figures.indexBytes) / GIB
  const memoryGib = cardsGib + terminalsGib + indexGib
  const byCpu = Math.ceil((ratePerSecond * redisUs) / 1e6 / busyShare)
  const byMemory = Math.ceil(memoryGib / (instanceGib * filledShare))
  const shards = Math.max(byCpu, byMemory)
  return {
    ...{ payments, meanPerSecond, perTerminal, redisUs },
    ...{ cardsGib, terminalsGib, indexGib, memoryGib, shards },
    instances: shards * copies,
  }
}

export function projectionLines(figures: ProjectionFigures, assumed: Assumptions = ASSUMPTIONS): string[] {
  const { ratePerSecond, cards, terminals, busyShare, filledShare, instanceGib, copies } = assumed
  const { redisUs, serverUs, netBytes, indexBytes } = figures
  const columns = assumed.payments.map((payments) => projectOne(figures, assumed, payments))
  const cores = (micros: number): number => (ratePerSecond * micros) / 1e6
  const line = (name: string, of: (column: Projected) => number, digits = 0): string =>
    `  ${name.padEnd(46)}${columns.map((column) => of(column).toFixed(digits).padStart(9)).join('')}`
  const each = columns.map(({ instances }) => `${instances} × price`).join(', ')
  return [
    `projection to ${ratePerSecond}/s at the peak and ${cards / 1e6} million cards, from the figures above;`,
    '  with a star: assumed, not measured; one Redis stands for a shard, a cluster was not measured',
    `  CPU of the Redis: ${ratePerSecond}/s × µs a score: ${redisUs.toFixed(1)} while lists are short, more by what the folds of`,
    `    longer lists take beyond those of ${SHORT_EVENTS} events; of one core a shard, at most ${100 * busyShare} % busy*; busy`,
    '    terminals are paid at more often than their mean: theirs is a lower bound',
    `  CPU of the servers: ${ratePerSecond}/s × ${serverUs.toFixed(0)} µs = ${cores(serverUs).toFixed(1)} cores; at most ` +
      `${100 * busyShare} % busy*: ${Math.ceil(cores(serverUs) / busyShare)} cores`,
    `  network of the Redis: ${ratePerSecond}/s × ${netBytes.toFixed(0)} bytes = ` +
      `${((8 * ratePerSecond * netBytes) / 1e9).toFixed(2)} Gbit/s, both ways together`,
    `  memory: cards × bytes of a list of ${CARD_DAYS} days; ${terminals / 1e6} million terminals* × bytes of a list of ` +
      `${TERMINAL_DAYS} days, at most ${EVENTS_MAX} events;`,
    `    mean rate × ${INDEX_HOURS} h × ${indexBytes.toFixed(0)} bytes of the index; mean rate = cards × payments / ${CARD_DAYS} days`,
    line(`payments of a card in ${CARD_DAYS} days*`, ({ payments }) => payments),
    line('mean rate, /s', ({ meanPerSecond }) => meanPerSecond),
    line('events of a terminal', ({ perTerminal }) => perTerminal),
    line('CPU of the Redis a score, µs', (column) => column.redisUs, 1),
    line('CPU of the Redis, cores', (column) => cores(column.redisUs), 1),
    line('cards, GiB', ({ cardsGib }) => cardsGib),
    line('terminals, GiB', ({ terminalsGib }) => terminalsGib),
    line('index, GiB', ({ indexGib }) => indexGib),
    line('together, GiB', ({ memoryGib }) => memoryGib),
    line(`shards: CPU, or ${instanceGib} GiB* filled to ${100 * filledShare} %*`, ({ shards }) => shards),
    line(`instances of ${instanceGib} GiB, ${copies} copies* each`, ({ instances }) => instances),
    `  money a month: ${each}, where price is that of an instance of ${instanceGib} GiB with one busy core`,
    '',
  ]
}
