// The routes of a fleet in Redis: a stream of the newest changes, `<revision>-1` each, and a hash of the servers that
// are there. Invariant: an entry is written only behind the very one that its writer has read. It decides nothing.
import { AssayError } from '../../errors.js'
import { type RoutesEntry, readEntry } from '../../contract/routes-entry.js'
import { type Reply, script } from '../../redis/connection.js'
import type { Line } from './line.js'

/** `entry` null: of a newer release, or no entry at all. */
export interface Found {
  readonly revision: number
  readonly entry: RoutesEntry | null
}

export interface RoutesStream {
  /** Writes behind revision `after`, -1 for the first one; null: done, else the revision that stands there instead. */
  write(entry: RoutesEntry, after: number): Promise<number | null>
  newest(): Promise<Found | null>
  /** Oldest first; at most those that are kept. */
  after(revision: number): Promise<Found[]>
  /** As `after`, and waits for one where there is none: nothing after `waitMs`. */
  wait(revision: number, waitMs: number): Promise<Found[]>
  /** Says what a server is; what all of them have said that are there. */
  beat(server: string, said: object): Promise<unknown[]>
  /** It leaves. */
  leave(server: string): Promise<void>
}

export interface StreamDeps {
  /** For what is answered at once. */
  readonly asking: Line
  /** For what waits. */
  readonly waiting: Line
  readonly key: (name: string) => string
  /** Entries that are kept. */
  readonly heldMax: number
}

/** Milliseconds for an answer: three at night, a button is pressed, and it acts within a second. */
const ANSWER_MS_MAX = 500
/** Milliseconds after which a server that says nothing is not there. */
const ABSENT_MS = 5_000

const WRITE = script(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local newest = -1
if last then newest = tonumber(string.match(last[1], '^%d+')) end
if newest ~= tonumber(ARGV[1]) then return newest end
redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[4], ARGV[2] .. '-1', 'entry', ARGV[3])
return false`)

const BEAT = script(`
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
local all, there = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #all, 2 do
  local ms, said = string.match(all[at + 1], '^(%d+) (.*)$')
  if ms and now - tonumber(ms) <= tonumber(ARGV[3]) then
    table.insert(there, said)
  else
    redis.call('HDEL', KEYS[1], all[at])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return there`)

export function createRoutesStream({ asking, waiting, key, heldMax }: StreamDeps): RoutesStream {
  const [routes, servers] = [key('routes'), key('servers')]
  const range = async (command: string, ...args: (string | number)[]): Promise<Found[]> => {
    return foundIn(await asking.ask(ANSWER_MS_MAX, (redis) => redis.call(command, routes, ...args)))
  }
  return {
    async write(entry, after) {
      const args = [after, entry.routing.routes.revision, JSON.stringify(entry), heldMax]
      const reply = await asking.ask(ANSWER_MS_MAX, (redis) => redis.run(WRITE, [routes], args))
      return typeof reply === 'number' ? reply : null
    },
    newest: async () => (await range('xrevrange', '+', '-', 'COUNT', 1)).at(0) ?? null,
    after: (revision) => range('xrange', `(${revision}-1`, '+', 'COUNT', heldMax),
    async wait(revision, waitMs) {
      const args = ['BLOCK', waitMs, 'COUNT', heldMax, 'STREAMS', routes, `${revision}-1`]
      const reply = await waiting.ask(waitMs + ANSWER_MS_MAX, (redis) => redis.call('xread', ...args))
      const [stream] = listOf(reply)
      return stream === undefined ? [] : foundIn(listOf(stream)[1])
    },
    async beat(server, said) {
      const args = [server, JSON.stringify(said), ABSENT_MS]
      const reply = await asking.ask(ANSWER_MS_MAX, (redis) => redis.run(BEAT, [servers], args))
      return listOf(reply).map((text): unknown => JSON.parse(String(text)))
    },
    async leave(server) {
      await asking.ask(ANSWER_MS_MAX, (redis) => redis.call('hdel', servers, server))
    },
  }
}

function listOf(reply: Reply | undefined): readonly Reply[] {
  return typeof reply === 'object' && reply !== null && !Buffer.isBuffer(reply) ? reply : []
}

/** `[id, [field, value, …]]` of each. */
function foundIn(reply: Reply | undefined): Found[] {
  return listOf(reply).map((item) => {
    const [id, fields] = listOf(item)
    const [name, text] = listOf(fields)
    const place = /^(\d{1,15})-1$/.exec(String(id))
    if (place === null) throw new AssayError('ASSAY_STATE_REFUSED', `the stream of the routes holds ${String(id)}`)
    const revision = Number(place[1])
    return { revision, entry: String(name) === 'entry' ? readEntry(String(text), revision) : null }
  })
}
