// The proof of semantics 12: how many generated ids would be refused as card data, and that every planted number is
// found. The full form (10 million of each kind) is `npm run proof:card-data`; the short form runs in
// test/contract/card-data.test.ts. Seeded: the same seed gives the same ids and numbers.
//   node dist/bench/card-data.js [ids of each kind] [numbers of each prefix and length] [seed]
import { availableParallelism } from 'node:os'
import { pathToFileURL } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { holdsCardData } from '../src/contract/card-data.js'
import { compileTransaction, isRejection } from '../src/contract/validate.js'
import { LIMITS } from '../src/limits.js'

/** A small fast generator (xoshiro128**, Blackman and Vigna); only variety is wanted of it. */
function createRandom(seed: number): () => number {
  const state = [seed, 0x9e3779b9, 0x243f6a88, 0xb7e15162].map((word) => word >>> 0)
  const rotate = (word: number, by: number) => ((word << by) | (word >>> (32 - by))) >>> 0
  const next = () => {
    const result = Math.imul(rotate(Math.imul(state[1], 5) >>> 0, 7), 9) >>> 0
    const shifted = (state[1] << 9) >>> 0
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = rotate(state[3], 11)
    return result
  }
  for (let warm = 0; warm < 20; warm++) next()
  return next
}

type Random = () => number

const HEX = Array.from({ length: 65_536 }, (_, word) => word.toString(16).padStart(4, '0'))
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const FROM_MS = Date.UTC(2015, 0, 1)
const SPAN_MS = Date.UTC(2036, 0, 1) - FROM_MS
const SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
const SNOWFLAKE_FROM_MS = Date.UTC(2024, 0, 1)

function digitsOf(random: Random, count: number): string {
  let text = ''
  while (text.length < count) text += String(random() % 1_000_000).padStart(6, '0')
  return text.slice(0, count)
}

function hexWords(random: Random): string[] {
  const words = [random(), random(), random(), random()]
  return words.flatMap((word) => [HEX[word >>> 16], HEX[word & 0xffff]])
}

function instant(random: Random): number {
  return FROM_MS + (((random() & 0xfffff) * 4_294_967_296 + random()) % SPAN_MS)
}

function uuid(random: Random, version: '4' | '7'): string {
  const [a, b, c, d, e, f, g, h] = hexWords(random)
  const variant = '89ab'[random() & 3] + e.slice(1)
  const time = instant(random).toString(16).padStart(12, '0')
  const head = version === '4' ? `${a}${b}-${c}` : `${time.slice(0, 8)}-${time.slice(8)}`
  return `${head}-${version}${d.slice(1)}-${variant}-${f}${g}${h}`
}

function ulid(random: Random): string {
  let time = instant(random)
  let text = ''
  for (let place = 0; place < 10; place++) {
    text = CROCKFORD[time % 32] + text
    time = Math.floor(time / 32)
  }
  for (let place = 0; place < 16; place++) text += CROCKFORD[random() & 31]
  return text
}

/** Twitter's layout: 41 bits of ms since its epoch, 10 of machine, 12 of sequence; of the years 2024 to 2032. */
function snowflake(random: Random): string {
  const ms =
    SNOWFLAKE_FROM_MS + (((random() & 0xff) * 4_294_967_296 + random()) % (Date.UTC(2033, 0, 1) - SNOWFLAKE_FROM_MS))
  return String((BigInt(ms - SNOWFLAKE_EPOCH_MS) << 22n) | BigInt(random() & 0x3fffff))
}

export const ID_KINDS: { readonly [kind in string]: (random: Random) => string } = {
  'UUID v4': (random) => uuid(random, '4'),
  'UUID v7': (random) => uuid(random, '7'),
  ULID: ulid,
  snowflake,
  'epoch ms': (random) => String(instant(random)),
  'epoch µs': (random) => String(instant(random)) + digitsOf(random, 3),
  'epoch ns': (random) => String(instant(random)) + digitsOf(random, 6),
  'acquirer reference, 23 digits': (random) => '7' + digitsOf(random, 22),
}

/** A validator with one field declared as an identifier that all of the ids match. */
const declared = compileTransaction(
  {
    schema: {
      unknown_fields: 'refuse',
      fields: [{ name: 'reference', type: 'string', identifier: '^[0-9A-Za-z-]{1,40}$' }],
    },
    currencies: { base: 'EUR', unlisted: 'refuse', list: { EUR: { exponent: 2, rate: 1 } } },
    clock: 'replay',
  },
  LIMITS,
)

/** Whether a transaction is refused that has the id in a declared identifier: as a value, and as bytes where asked. */
function refusedDeclared(id: string, asBytes: boolean): boolean {
  const body = { transaction_id: 't', occurred_at: FROM_MS, amount_minor: 1, currency: 'EUR', reference: id }
  if (isRejection(declared.check(body, FROM_MS))) return true
  return asBytes && isRejection(declared.parse(Buffer.from(JSON.stringify(body)), FROM_MS))
}

export interface IdCount {
  readonly kind: string
  readonly made: number
  readonly refused: number
  /** Refused in a declared identifier: as a value, and for those refused by default and one in a thousand as bytes. */
  readonly refusedDeclared: number
}

/** Makes `count` ids of a kind and counts what would be refused. */
export function countIds(kind: string, count: number, seed: number): IdCount {
  const random = createRandom(seed)
  const make = ID_KINDS[kind]
  let refused = 0
  let refusedAsDeclared = 0
  for (let index = 0; index < count; index++) {
    const id = make(random)
    const found = holdsCardData(id)
    if (found) refused++
    if (refusedDeclared(id, found || index % 1000 === 0)) refusedAsDeclared++
  }
  return { kind, made: count, refused, refusedDeclared: refusedAsDeclared }
}

/** Prefixes and lengths to plant, written down apart from the table under test: the ends of each range of a scheme. */
const PLANTS: readonly [scheme: string, prefixes: readonly string[], lengths: readonly number[]][] = [
  ['Visa', ['4', '40', '4539', '4916', '49'], [13, 16, 19]],
  ['Mastercard', ['51', '52', '53', '54', '55'], [16]],
  ['Mastercard 2-series', ['2221', '2222', '2300', '2500', '2699', '2720'], [16]],
  ['American Express', ['34', '37'], [15]],
  ['Discover', ['6011', '644', '649', '65', '622126', '622925'], [16, 19]],
  ['Diners Club', ['300', '305', '3095', '36', '38', '39'], [14, 16, 19]],
  ['JCB', ['3528', '3550', '3589'], [16, 17, 18, 19]],
  ['UnionPay', ['62', '6200', '6282', '81'], [16, 17, 18, 19]],
  [
    'Maestro',
    ['5018', '5020', '5038', '5893', '6304', '6759', '6761', '6762', '6763'],
    [12, 13, 14, 15, 16, 17, 18, 19],
  ],
  ['Mir', ['2200', '2204'], [16]],
  ['RuPay', ['60', '81', '82', '508'], [16]],
  ['Troy', ['9792'], [16]],
]

/** Luhn by its textbook definition (ISO/IEC 7812-1, annex B), apart from the code under test. */
function withLuhn(body: string): string {
  const sum = [...body].reverse().reduce((total, letter, index) => {
    const value = Number(letter) * (index % 2 === 0 ? 2 : 1)
    return total + Math.floor(value / 10) + (value % 10)
  }, 0)
  return body + String((10 - (sum % 10)) % 10)
}

const SEPARATED: readonly ((number: string) => string)[] = [
  (number) => number,
  (number) => number.replace(/(.{4})(?=.)/g, '$1 '),
  (number) => number.replace(/(.{4})(?=.)/g, '$1-'),
  (number) => `${number.slice(0, 4)} ${number.slice(4, 10)} ${number.slice(10)}`,
  (number) => `${number.slice(0, 6)}-${number.slice(6)}`,
]

const PLACED: readonly ((number: string) => string)[] = [
  (number) => number,
  (number) => `card ${number}`,
  (number) => `${number} exp 12/27`,
  (number) => `paid with ${number}, thanks`,
  (number) => `ref:${number};`,
  (number) => `(${number})`,
  (number) => `pan=${number}`,
  (number) => `x_${number}_y`,
  (number) => `"${number}"`,
  (number) => `order 12 ${number}`,
  (number) => `550e8400-e29b-41d4-a716-446655440000 ${number}`,
  (number) => `Ünïcode – ${number} – ∑`,
  (number) => `${number}\n`,
]

export interface PlantCount {
  readonly scheme: string
  readonly planted: number
  readonly found: number
}

/** Plants `each` numbers of every prefix and length, in every separation and place. */
export function* countPlants(each: number, seed: number): Generator<PlantCount> {
  const random = createRandom(seed)
  for (const [scheme, prefixes, lengths] of PLANTS) {
    let planted = 0
    let found = 0
    for (const prefix of prefixes) {
      for (const length of lengths) {
        for (let index = 0; index < each; index++) {
          const number = withLuhn(prefix + digitsOf(random, length - prefix.length - 1))
          for (const separate of SEPARATED) {
            for (const place of PLACED) {
              planted++
              if (holdsCardData(place(separate(number)))) found++
            }
          }
        }
      }
    }
    yield { scheme, planted, found }
  }
}

interface Task {
  readonly kind: string
  readonly count: number
  readonly seed: number
}

/** One kind in a thread of its own. */
function countAside(task: Task): Promise<IdCount> {
  return new Promise((resolve, fail) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: task })
    worker.once('message', resolve)
    worker.once('error', fail)
  })
}

async function main(): Promise<void> {
  const count = Number(process.argv[2] ?? 10_000_000)
  const each = Number(process.argv[3] ?? 500)
  const seed = Number(process.argv[4] ?? 1)
  console.log(`seed ${seed}; ids of the years 2015 to 2035 (snowflakes 2024 to 2032)`)
  const faults = [...(await printIds(count, seed)), ...printPlants(each, seed)]
  console.log()
  if (faults.length === 0) {
    console.log('held: at most 1 in 100,000 refused, none where declared; every planted number found')
  } else console.log(`NOT held: ${faults.join(', ')}`)
  process.exitCode = faults.length === 0 ? 0 : 1
}

/** A line for each kind of id; returns the kinds of which too many were refused. */
async function printIds(count: number, seed: number): Promise<string[]> {
  console.log('kind                                   made   refused  share      refused where declared')
  const waiting = Object.keys(ID_KINDS)
  const counts: IdCount[] = []
  const work = async (): Promise<void> => {
    for (let kind = waiting.shift(); kind !== undefined; kind = waiting.shift()) {
      counts.push(await countAside({ kind, count, seed }))
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  for (const kind of Object.keys(ID_KINDS)) {
    const found = counts.find((one) => one.kind === kind)
    if (found === undefined) throw new Error(`${kind} was not counted`)
    const share = (found.refused / found.made).toExponential(1).padEnd(9)
    const [made, refused] = [String(found.made).padStart(10), String(found.refused).padStart(9)]
    console.log(`${kind.padEnd(32)} ${made} ${refused}  ${share}  ${found.refusedDeclared}`)
  }
  return counts.filter((one) => one.refused * 100_000 > one.made || one.refusedDeclared > 0).map(({ kind }) => kind)
}

/** A line for each scheme; returns the schemes of which a number was not found. */
function printPlants(each: number, seed: number): string[] {
  console.log('\nscheme                         planted      found')
  const missed: string[] = []
  for (const { scheme, planted, found } of countPlants(each, seed)) {
    console.log(`${scheme.padEnd(26)} ${String(planted).padStart(11)} ${String(found).padStart(10)}`)
    if (planted !== found) missed.push(scheme)
  }
  return missed
}

if (isMainThread) {
  if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
} else if (isTask(workerData)) {
  parentPort?.postMessage(countIds(workerData.kind, workerData.count, workerData.seed))
}

/** tap may load this module in a thread of its own, where there is no task. */
function isTask(data: unknown): data is Task {
  return typeof data === 'object' && data !== null && 'kind' in data && 'count' in data && 'seed' in data
}
