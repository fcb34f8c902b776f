// Takes history to a running server: batches of observed transactions and of labels over its score listener, one after
// the other, so that they are folded in order; what it knows and its end over its operations listener.
// Whatever the server cannot take now is sent again: it is idempotent.
import { setTimeout as delay } from 'node:timers/promises'
import { canonicalJson } from '../../contract/canonical-json.js'
import type { Policy } from '../../contract/policy.js'
import { problemCode } from '../../contract/problem.js'
import { instantMs } from '../../contract/time.js'
import { AssayError, ERRORS, errorOf } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { OperationsClient } from '../operations-client.js'
import { emptyTally, type HistoryTarget, type Known, noteRefused } from './import.js'
import { placesDone } from './source.js'

export interface RunningServer {
  /** Origin of the score listener. */
  readonly url: string
  /** A scoring key, or null. */
  readonly key: string | null
  readonly operations: OperationsClient
  /** What the history was checked against: the server's own, but for what operators change live. */
  readonly policy: Policy
  readonly limits: Pick<Limits, 'batchRowsMax' | 'bodyBytesMax'>
}

/** Milliseconds between two tries, and for one to be answered, and until it is given up. */
const RETRY_MS = 200
const ANSWER_MS_MAX = 30_000
const PATIENCE_MS = 120_000

/** Parts of a policy that say what a transaction is and what windows make of it. */
const MEANING = ['schema', 'catalogue', 'currencies', 'clock'] as const

interface Row {
  readonly status: number
  readonly replayed: boolean
  readonly body: unknown
}

/** What is sent at once: entries of one kind, `first` the place of the first transaction. */
interface Batch {
  readonly isLabels: boolean
  readonly source: string
  readonly first: number
  readonly entries: string[]
  bytes: number
}

export function overHttp({ url, key, operations, policy, limits }: RunningServer): HistoryTarget {
  const tally = emptyTally()
  let batch: Batch | null = null

  async function post(path: string, body: string, more: Readonly<Record<string, string>>): Promise<unknown> {
    const headers = { 'content-type': 'application/json', ...(key !== null && { authorization: `Bearer ${key}` }) }
    const endMs = performance.now() + PATIENCE_MS
    for (;;) {
      const answer = await once(url + path, body, { ...headers, ...more })
      if (!(answer instanceof AssayError)) return answer
      if (!answer.retryable || performance.now() > endMs) throw answer
      await delay(RETRY_MS)
    }
  }

  async function observe({ source, first, entries }: Batch): Promise<void> {
    const body = `{"transactions":[${entries.join()}]}`
    const headers = { 'assay-mode': 'observe', 'assay-history': `${source}/${first}` }
    const endMs = performance.now() + PATIENCE_MS
    for (;;) {
      const rows = rowsOf(await post('/v1/score/batch', body, headers))
      const again = rows.find(isForNow)
      if (again === undefined) return rows.forEach((row, at) => note(row, first + at))
      if (performance.now() > endMs) throw new AssayError(problemCode(again.body), 'the server takes no records')
      await delay(RETRY_MS)
    }
  }

  function note({ status, replayed, body }: Row, place: number): void {
    const code = status < 400 ? null : problemCode(body)
    if (replayed || code === 'ASSAY_DECISION_UNKNOWN') tally.known++
    else if (code === null) tally.imported++
    else noteRefused(tally, place, code)
  }

  async function flush(): Promise<void> {
    if (batch === null) return
    const sent = batch
    batch = null
    if (!sent.isLabels) return observe(sent)
    await post('/v1/labels', `[${sent.entries.join()}]`, {})
    tally.labels += sent.entries.length
  }

  function add(isLabels: boolean, bytes: Buffer, source = '', first = -1): Promise<void> | undefined {
    const isFull =
      batch !== null &&
      (batch.isLabels !== isLabels ||
        batch.entries.length >= limits.batchRowsMax ||
        batch.bytes + bytes.length > limits.bodyBytesMax / 2)
    const waits = isFull ? flush() : undefined
    batch ??= { isLabels, source, first, entries: [], bytes: 0 }
    batch.entries.push(bytes.toString())
    batch.bytes += bytes.length + 1
    return waits
  }

  return {
    tally,
    async known({ source, digest }) {
      const { body: status } = await operations.ask('GET', '/v1/status')
      if (member(status, 'phase') !== 'ready')
        throw new AssayError('ASSAY_NOT_READY', 'the server is not ready: try again')
      const theirs = member((await operations.ask('GET', '/v1/policy')).body, 'policy')
      if (MEANING.every((name) => canonicalJson(member(theirs, name) ?? null) === canonicalJson(policy[name]))) {
        return knownOf(status, { source, digest })
      }
      const detail = `the server runs under another ${MEANING.join(', ')}: name its configuration by --config`
      throw new AssayError('ASSAY_CONFIG_INVALID', detail)
    },
    transaction: (bytes, source, place) => add(false, bytes, source, place),
    label: (bytes) => add(true, bytes),
    settled: flush,
    async finish(history) {
      await operations.ask('POST', '/v1/history', { ...history, reason: 'history imported' })
    },
  }
}

/** The answer, or what is wrong. */
async function once(url: string, body: string, headers: Readonly<Record<string, string>>): Promise<unknown> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX)
    const response = await fetch(url, { method: 'POST', headers, body, signal })
    const answer: unknown = await response.json()
    if (response.ok) return answer
    const code = problemCode(answer)
    return new AssayError(code, `${url} answers ${response.status}: ${ERRORS[code].message}`)
  } catch (cause) {
    const { message, cause: under } = errorOf(cause)
    const detail = `${url} does not answer: ${under === undefined ? message : errorOf(under).message}`
    return new AssayError('ASSAY_SERVER_UNREACHABLE', detail, { cause })
  }
}

/** It was not taken, or not surely, and may be later. */
function isForNow({ status, body }: Row): boolean {
  if (status >= 400) return ERRORS[problemCode(body)].retryable
  return member(body, 'logged') === 'none'
}

function rowsOf(answer: unknown): Row[] {
  const rows: readonly unknown[] = Array.isArray(answer) ? answer : []
  return rows.map((row) => {
    const status = member(row, 'status')
    return {
      status: typeof status === 'number' ? status : 500,
      replayed: member(row, 'replayed') === true,
      body: member(row, 'body'),
    }
  })
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return Object.entries(value).find(([key]) => key === name)?.[1]
}

/** What the status of a server says of a history. */
function knownOf(status: unknown, wanted: { source: string; digest: string }): Known {
  const streams: unknown = member(status, 'streams')
  const partitions = (Array.isArray(streams) ? streams : []).map((one: unknown) => {
    const [topic, topic_id] = [String(member(one, 'topic')), String(member(one, 'topic_id'))]
    return { topic, topic_id, from: Number(member(one, 'from')), bound: Number(member(one, 'bound')) }
  })
  const features = member(status, 'features')
  const [sinceMs, untilMs] = ['observed_since', 'observed_until'].map((name) => {
    const text = member(features, name)
    return typeof text === 'string' ? instantMs(text) : null
  })
  return {
    done: placesDone(partitions, wanted.source),
    isWhole: placesDone(partitions, wanted.digest) > 0,
    observed: sinceMs === null || untilMs === null ? null : { sinceMs, untilMs },
  }
}
