// `assay dlq list | show | replay`: what lies among the dead letters of the Kafka transport, and sending it again.
// A listing never prints a value or a key; what is shown of one is bounded. It needs no server, and disturbs none.
import { parseArgs } from 'node:util'
import { loadConfig } from '../../../config.js'
import type { KafkaConfig } from '../../../contract/kafka.js'
import { AssayError, ERRORS, errorOf } from '../../../errors.js'
import { LIMITS } from '../../../limits.js'
import { type LetterBox, openLetterBox } from './letter-box.js'
import { type Letter, letterOf, placeText, readPlace, shownText, whyBare, type Place } from './letters.js'
import { bytesText, keyWord, rowOf, shownBytes, wireOf } from './letter-text.js'
import { type Fate, newestOf, replayLetters } from './replay.js'

const HELP = `assay dlq list [--code CODE] [--since TIME] [--partition N] [--limit N] [--json]
    dead letters, newest first, at most N (50): place, time, code, path, origin, attempt, bytes, key; and how many there
    are of each code. Neither values nor keys are printed
assay dlq show PARTITION:OFFSET [--json]
    one letter: headers, key and the original bytes, as text (control characters escaped) or else in base64,
    ${LIMITS.kafkaShownBytesMax} bytes at most; a letter without its bytes says why
assay dlq replay PARTITION:OFFSET… [--dry-run]
assay dlq replay --code CODE [--since TIME] [--until TIME] [--dry-run]
    send original key and bytes again into the input partition that they came from, in the order of the letters. What
    was decided meanwhile is answered by its first decision. By code, a letter whose replay has come back is left to
    the newer one. --dry-run says what would be sent

PARTITION:OFFSET is a place in the topic of dead letters, as \`list\` names it; TIME is RFC 3339. Brokers and topics are
those of process.kafka (\`assay config print\`). The newest ${LIMITS.kafkaLettersMax} letters are looked at.
exit codes: 0 done · 1 an error, or not all of it was sent, each named · 2 the command line is not valid
`

const SHOWN_DEFAULT = 50

/** What letters are asked for; what is null is not asked about. */
interface Filter {
  readonly code: string | null
  readonly sinceMs: number | null
  readonly untilMs: number | null
}

type Values = ReturnType<typeof parse>['values']
type Act = (box: LetterBox, config: KafkaConfig) => Promise<number>

type Print = (text: string) => void

export interface Terminal {
  readonly env: NodeJS.ProcessEnv
  readonly out: Print
}

/** Runs the command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function dlqCommand(args: readonly string[], { env, out }: Terminal): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    out(HELP)
    return 0
  }
  const act = actOf(positionals, values, out)
  const config = loadConfig({ env }).process.kafka
  const box = await openLetterBox(config, LIMITS)
  try {
    return await act(box, config)
  } finally {
    await box.close()
  }
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = { code: text, since: text, until: text, partition: text, limit: text, json: flag, 'dry-run': flag }
  try {
    const help = { ...flag, short: 'h' } as const
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, help } })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** Options of each verb, beside --help. */
const TAKEN: Readonly<Record<string, readonly string[]>> = {
  list: ['code', 'since', 'partition', 'limit', 'json'],
  show: ['json'],
  replay: ['code', 'since', 'until', 'dry-run'],
}

/** What is to be done, once the command line is known to be valid. */
function actOf(words: readonly string[], values: Values, out: Print): Act {
  const [verb = '', ...rest] = words
  if (!Object.hasOwn(TAKEN, verb)) {
    throw new AssayError('ASSAY_USAGE', 'expected `dlq list`, `dlq show` or `dlq replay`; see `assay dlq --help`')
  }
  const foreign = Object.keys(values).find((name) => !TAKEN[verb].includes(name))
  if (foreign !== undefined) throw new AssayError('ASSAY_USAGE', `\`dlq ${verb}\` takes no --${foreign}`)
  const places = rest.map(placeOf)
  const filter = filterOf(values)
  const json = values.json === true
  if (verb === 'list' && places.length === 0) {
    const partition = numberOf('partition', values.partition)
    const limit = numberOf('limit', values.limit) ?? SHOWN_DEFAULT
    return (box, config) => list(box, config.topics.dead_letters, { filter, partition, limit, json, out })
  }
  if (verb === 'show' && places.length === 1) return (box) => show(box, places[0], { json, out })
  const isByCode = filter.code !== null && places.length === 0
  const isByPlace = places.length > 0 && filter.code === null && filter.sinceMs === null && filter.untilMs === null
  if (verb === 'replay' && (isByCode || isByPlace)) {
    const isDry = values['dry-run'] === true
    return async (box, config) => {
      const { dead_letters: deadLetters } = config.topics
      const letters = isByPlace ? await lettersAt(box, places) : await lettersOf(box, deadLetters, { filter, out })
      return replay(letters, { box, topics: config.topics, isDry, out })
    }
  }
  const wanted = { list: 'no place', show: 'one PARTITION:OFFSET', replay: 'places, or --code CODE' }[verb]
  throw new AssayError('ASSAY_USAGE', `\`dlq ${verb}\` takes ${wanted}; see \`assay dlq --help\``)
}

function placeOf(text: string): Place {
  const place = readPlace(text)
  if (place !== null) return place
  throw new AssayError('ASSAY_USAGE', `${shownText(text)} is no place: PARTITION:OFFSET, as 0:12`)
}

function filterOf({ code, since, until }: Values): Filter {
  if (code !== undefined && !Object.hasOwn(ERRORS, code)) {
    throw new AssayError('ASSAY_USAGE', `--code ${shownText(code)}: there is no such code`)
  }
  return { code: code ?? null, sinceMs: timeOf('since', since), untilMs: timeOf('until', until) }
}

function timeOf(name: string, text: string | undefined): number | null {
  if (text === undefined) return null
  const ms = Date.parse(text)
  if (!Number.isNaN(ms)) return ms
  throw new AssayError('ASSAY_USAGE', `--${name} must be a time, as 2026-01-31T12:00:00Z`)
}

function numberOf(name: string, text: string | undefined): number | null {
  if (text === undefined) return null
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new AssayError('ASSAY_USAGE', `--${name} must be an integer ≥ 0`)
}

function fits({ code, timeMs }: Letter, filter: Filter): boolean {
  if (filter.code !== null && code !== filter.code) return false
  // One that does not say when it was written is older than any.
  const atMs = timeMs ?? -Infinity
  return atMs >= (filter.sinceMs ?? -Infinity) && atMs <= (filter.untilMs ?? Infinity)
}

interface Listing {
  readonly filter: Filter
  readonly partition: number | null
  readonly limit: number
  readonly json: boolean
  readonly out: Print
}

async function list(box: LetterBox, topic: string, { filter, partition, limit, json, out }: Listing): Promise<number> {
  const { letters, older } = await box.summaries(partition)
  const found = letters.filter((letter) => fits(letter, filter)).sort(newestFirst)
  const codes = new Map<string, number>()
  for (const { code } of found) codes.set(code, (codes.get(code) ?? 0) + 1)
  const sums = [...codes].sort(([, a], [, b]) => b - a)
  const shown = found.slice(0, limit)
  if (json) {
    const held = { topic, count: found.length, not_looked_at: older, codes: Object.fromEntries(sums) }
    out(`${JSON.stringify({ ...held, letters: shown.map(wireOf) })}\n`)
    return 0
  }
  for (const letter of shown) out(`${rowOf(letter)}\n`)
  out(`${shown.length} of ${found.length} dead letters in ${topic}, newest first\n`)
  for (const [code, count] of sums) out(`  ${count} ${code === '' ? 'without a code' : code}\n`)
  if (older > 0) out(`  ${older} older ones were not looked at\n`)
  return 0
}

function newestFirst(a: Letter, b: Letter): number {
  return (b.timeMs ?? 0) - (a.timeMs ?? 0) || a.place.partition - b.place.partition || b.place.offset - a.place.offset
}

async function show(box: LetterBox, place: Place, { json, out }: Pick<Listing, 'json' | 'out'>): Promise<number> {
  const message = await box.read(place)
  const letter = letterOf(place.partition, message)
  const headers = Object.entries(message.headers).map(
    ([name, value]) =>
      [shownText(name), shownText(value.subarray(0, LIMITS.kafkaShownBytesMax).toString('utf8'))] as const,
  )
  const key = message.key === null ? null : shownBytes(message.key, LIMITS.kafkaShownBytesMax)
  const value = message.value === null ? null : shownBytes(message.value, LIMITS.kafkaShownBytesMax)
  const why = whyBare(letter)
  if (json) {
    const held = { ...wireOf(letter), headers: Object.fromEntries(headers) }
    out(`${JSON.stringify({ ...held, key: key ?? keyWord(letter), value, why_bare: why })}\n`)
    return 0
  }
  out(`${rowOf(letter)}\n`)
  for (const [name, text] of headers) out(`  ${name}: ${text}\n`)
  out(`key ${key === null ? keyWord(letter) : bytesText(key)}\n`)
  out(value === null ? `no value: ${why ?? ''}\n` : `value ${bytesText(value)}\n`)
  return 0
}

/** The letters at places, each once. Throws ASSAY_LETTER_UNKNOWN where one is not held: nothing is sent then. */
async function lettersAt(box: LetterBox, places: readonly Place[]): Promise<Letter[]> {
  const distinct = new Map(places.map((place) => [placeText(place), place]))
  const letters: Letter[] = []
  for (const place of distinct.values()) letters.push(letterOf(place.partition, await box.read(place)))
  return letters
}

async function lettersOf(
  box: LetterBox,
  topic: string,
  { filter, out }: Pick<Listing, 'filter' | 'out'>,
): Promise<Letter[]> {
  const { letters, older } = await box.summaries(null)
  if (older > 0) out(`${older} older letters were not looked at\n`)
  const found = letters.filter((letter) => fits(letter, filter))
  const newest = new Set(newestOf(letters, topic))
  const wanted = found.filter((letter) => newest.has(letter))
  const back = found.length - wanted.length
  if (back > 0) out(`${back} were sent before and came back: the newer letters count\n`)
  return wanted
}

const FATES: Readonly<Record<Fate['kind'], string>> = {
  ...{ sent: 'sent to', refused: 'not sent:', unknown: 'not known:', left: 'not sent:', gone: 'not sent:' },
}

interface Sending {
  readonly box: LetterBox
  readonly topics: KafkaConfig['topics']
  readonly isDry: boolean
  readonly out: Print
}

async function replay(letters: readonly Letter[], { box, topics, isDry, out }: Sending): Promise<number> {
  let sent = 0
  const notSent: string[] = []
  const cause = await replayLetters(letters, {
    ...{ box, limits: LIMITS, isDry },
    topics: { transactions: topics.transactions, deadLetters: topics.dead_letters },
    onFate({ letter, kind, detail }) {
      if (kind === 'sent') sent++
      else notSent.push(placeText(letter.place))
      const word = isDry && kind === 'sent' ? 'would go to' : FATES[kind]
      out(`${placeText(letter.place)}  ${letter.code || '-'}  ${word} ${detail}\n`)
    },
  })
  out(`${sent} of ${letters.length} ${isDry ? 'would be sent' : 'sent'}\n`)
  if (notSent.length === 0) return 0
  const detail = `${notSent.length} of ${letters.length} not sent: ${named(notSent)}`
  throw new AssayError('ASSAY_REPLAY_INCOMPLETE', cause === null ? detail : `${detail}: ${errorOf(cause).message}`, {
    cause: cause ?? undefined,
  })
}

/** The first of many; each stands in the lines above. */
function named(places: readonly string[]): string {
  const shown = places.slice(0, 20).join(' ')
  return places.length > 20 ? `${shown} …` : shown
}
