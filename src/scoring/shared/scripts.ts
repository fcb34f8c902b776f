// What runs inside the Redis: one script a key, each whole or not at all. Leases run by the clock of the Redis.
//
//   entity:       | ASY1 | entries trimmed so far (u32) | newest event time that a bound has dropped (f64) | entry … |
//   transaction:  | kind | content hash (8) | token (16) | lease until, ms (f64) | refs (u16 length) | body |
//                   kind: C claimed, O observed, D decided; body: of O and D
//
// Entries of an entity have one length, that of the entry which is brought. Invariants: a transaction stands in an
// entity's list once; frontiers never fall along a list, so that a search for one may end at an early frontier; what
// was decided is never decided again; a claim ends with its lease, or its decision.
import { FRONTIER_AT, MARK_BYTES, TIME_AT } from '../../features/shared-entry.js'
import { script } from '../../redis/connection.js'

/** What a reply begins with where a value is none of ours, or of a later release. */
const FORMAT_REFUSED = 'ASSAY another format'

/** Lua counts bytes from 1. */
const FRONTIER_PLACE = FRONTIER_AT + 1
const TIME_PLACE = TIME_AT + 1
/** Entries that are looked through for the same transaction at once, newest first; most often once. */
const SEARCHED = 256

const ENTITY = `
local H, M = 16, ${MARK_BYTES}
local entry, known, mark = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local E = #entry
local head = redis.call('GETRANGE', KEYS[1], 0, H - 1)
local n = 0
if head == '' then
  head = 'ASY1' .. struct.pack('<I4', 0) .. struct.pack('<d', -math.huge)
else
  n = (redis.call('STRLEN', KEYS[1]) - H) / E
  if head:sub(1, 4) ~= 'ASY1' or n % 1 ~= 0 then return redis.error_reply('${FORMAT_REFUSED} at ' .. KEYS[1]) end
end
local base, floor = struct.unpack('<I4', head, 5), head:sub(9, 16)
local function read(from, to)
  if from >= to then return '' end
  return redis.call('GETRANGE', KEYS[1], H + from * E, H + to * E - 1)
end
local function frontierOf(entries) return (struct.unpack('<d', entries, #entries - E + ${FRONTIER_PLACE})) end
-- The entry's frontier, not below that of the last one held: a server that has just started knows little of the time.
local function raise(last)
  local frontier = frontierOf(entry)
  if n > 0 then frontier = math.max(frontier, frontierOf(last)) end
  entry = entry:sub(1, ${FRONTIER_PLACE - 1}) .. struct.pack('<d', frontier) .. entry:sub(${FRONTIER_PLACE + 8})
  return frontier
end
local skip, whole = known - base, 0
if skip < 1 or skip > n or read(skip - 1, skip):sub(1, M) ~= mark then
  skip, whole = 0, 1
end
`

/**
 * KEYS entity. ARGV entry, entries known, mark of the last of them, how long events are held (ms), ttl (ms), entries
 * held at most, 1 to append, time before which it did not come for the first time (ms). Returns [stood there before,
 * appended, entries before `rest`, whole, floor, rest]. What is too old for every window is not appended.
 */
export const FOLD = script(`${ENTITY}
local ttl, most = ARGV[5], tonumber(ARGV[6])
local own = entry:sub(1, M)
local first, since = math.max(0, n - ${SEARCHED}), tonumber(ARGV[8])
while first > 0 and frontierOf(read(first, first + 1)) >= since do
  first = math.max(0, first - ${SEARCHED})
end
local low = math.min(skip, first)
local tail = read(low, n)
local rest = tail:sub((skip - low) * E + 1)
local at = 1
while true do
  local found = tail:find(own, at, true)
  if not found then break end
  if (found - 1) % E == 0 then return {1, 0, base + skip, whole, floor, rest} end
  at = found + 1
end
local function time(entries, i) return (struct.unpack('<d', entries, i * E + ${TIME_PLACE})) end
local heldFrom = raise(tail) - tonumber(ARGV[4])
if ARGV[7] ~= '1' or time(entry, 0) <= heldFrom then return {0, 0, base + skip, whole, floor, rest} end
local quarter = math.floor(n / 4)
-- What need not be held leaves once it is a quarter, so that it is seldom copied; at the bound an eighth leaves.
if n == 0 or n >= most or time(read(quarter, quarter + 1), 0) <= heldFrom then
  local list, drop, newest = read(0, n), 0, struct.unpack('<d', floor)
  while drop < n and time(list, drop) <= heldFrom do drop = drop + 1 end
  local keep = n - drop >= most and most - math.ceil(most / 8) or n
  while n - drop > keep do
    newest = math.max(newest, time(list, drop))
    drop = drop + 1
  end
  head = 'ASY1' .. struct.pack('<I4', base + drop) .. struct.pack('<d', newest)
  redis.call('SET', KEYS[1], head .. list:sub(1 + drop * E) .. entry, 'PX', ttl)
else
  redis.call('APPEND', KEYS[1], entry)
  redis.call('PEXPIRE', KEYS[1], ttl)
end
return {0, 1, base + skip, whole, floor, rest}
`)

/** KEYS entity. ARGV an entry (for its length), 0, ''. Returns [entries trimmed and held, all entries]. */
export const READ = script(`${ENTITY}
return {base + n, read(0, n)}
`)

/** KEYS entity. ARGV entry, entries trimmed and held as read, '', ttl. Returns 1 where it was appended, else 0. */
export const APPEND = script(`${ENTITY}
if base + n ~= known then return 0 end
raise(read(math.max(0, n - 1), n))
if n == 0 then redis.call('SET', KEYS[1], head .. entry, 'PX', ARGV[4])
else
  redis.call('APPEND', KEYS[1], entry)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
`)

const TRANSACTION = `
local held = redis.call('GET', KEYS[1])
local kind, length = held and held:sub(1, 1), 0
if held then
  if #held < 35 or not kind:find('[COD]') then return redis.error_reply('${FORMAT_REFUSED} at ' .. KEYS[1]) end
  length = struct.unpack('<I2', held, 34)
end
local function write(as, content, token, untilMs, refs, body, ttl)
  local head = as .. content .. token .. struct.pack('<d', untilMs) .. struct.pack('<I2', #refs)
  redis.call('SET', KEYS[1], head .. refs .. body, 'PX', ttl)
end
`

/**
 * KEYS transaction, words of labels that wait for it. ARGV content hash, token, lease (ms), ttl (ms), what it is to
 * become (D or O), refs. Returns [N new or taken over, waiting words] · [R other content] · [B claimed, ms left] ·
 * [O|D, body].
 */
export const CLAIM = script(`${TRANSACTION}
local content, token, ttl = ARGV[1], ARGV[2], ARGV[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function take()
  write('C', content, token, now + tonumber(ARGV[3]), ARGV[6], '', ttl)
  return {'N', redis.call('GET', KEYS[2]) or ''}
end
if not held then return take() end
if held:sub(2, 9) ~= content then return {'R'} end
if kind == 'C' then
  local left = struct.unpack('<d', held, 26) - now
  if left > 0 and held:sub(10, 25) ~= token then return {'B', left} end
  return take()
end
if kind == 'O' and ARGV[5] == 'D' then return take() end
return {kind, held:sub(36 + length)}
`)

/**
 * KEYS transaction. ARGV content hash, token, ttl (ms), D or O, refs, body. Returns [K kept] · [B claimed elsewhere] ·
 * [O|D, body of another].
 */
export const COMMIT = script(`${TRANSACTION}
if held and held:sub(10, 25) ~= ARGV[2] then
  if kind == 'C' then return {'B'} end
  if kind == 'D' or ARGV[4] == 'O' then return {kind, held:sub(36 + length)} end
end
write(ARGV[4], ARGV[1], ARGV[2], 0, ARGV[5], ARGV[6], ARGV[3])
return {'K'}
`)

/** KEYS transaction. Returns [O|D, body], or nothing where it is only claimed or not known. */
export const LOOK = script(`${TRANSACTION}
if not held or kind == 'C' then return {} end
return {kind, held:sub(36 + length)}
`)

/**
 * KEYS transaction, words that wait for it. ARGV a word of a label, ttl (ms), bytes of words that may wait. Returns the
 * refs, or '' where the transaction is not known: then the word waits.
 */
export const WORD = script(`${TRANSACTION}
if held then return held:sub(36, 35 + length) end
local words = redis.call('GET', KEYS[2]) or ''
if not words:find(ARGV[1], 1, true) then
  redis.call('SET', KEYS[2], (words .. ARGV[1]):sub(-tonumber(ARGV[3])), 'PX', ARGV[2])
end
return ''
`)
