// Alerts to a webhook or to an Alertmanager. `publish` only notes; one request at a time leaves later, with a time
// limit of its own, and again with growing pauses until it is taken. What waits is one notice per alert, the newest,
// bounded. A receiver that refuses a body for good (4xx) is not asked again with it. Nothing here throws into the
// pipeline.
import type { DerivedRow } from '../port.js'
import { type AlertFormat, type Notice, noticeOf, payloadOf } from './alert-payload.js'

export interface WebhookOptions {
  readonly url: string
  readonly format: AlertFormat
  readonly receiver?: string
  /** Sent as `Authorization`; from a secret's file. */
  readonly authorization?: string | null
  /** Milliseconds of one request, from connecting to the end of the answer. */
  readonly timeoutMs?: number
  /** Milliseconds in which alerts of one group gather before the first leaves. */
  readonly gatherMs?: number
  /** Milliseconds before the second attempt; doubles up to `retryMsMax`. */
  readonly retryMs?: number
  readonly retryMsMax?: number
  /** Alerts that wait; beyond it the oldest is dropped and counted. */
  readonly waitingMax?: number
  /** Milliseconds after which an open alert is told again; Alertmanager forgets after 5 minutes. v2 only. */
  readonly repeatMs?: number
}

export interface WebhookFigures {
  readonly sent: number
  /** Attempts that failed and were made again. */
  readonly retried: number
  /** Alerts refused by the receiver, and alerts dropped for want of room. */
  readonly refused: number
  readonly dropped: number
  readonly waiting: number
}

export interface Webhook {
  readonly name: 'webhook'
  publish(committed: { readonly alerts: readonly DerivedRow[] }): void
  figures(): WebhookFigures
  /** Alerts refused or dropped. */
  undelivered(): number
  /** Words for health; null while all is well. */
  trouble(): string | null
  /** Sends what waits, until the deadline. */
  close(deadlineMs: number): Promise<void>
}

/** Alerts of one request. */
const NOTICES_MAX = 64

export function createWebhook(options: WebhookOptions): Webhook {
  const { timeoutMs = 5_000, gatherMs = 1_000, retryMs = 500, retryMsMax = 60_000 } = options
  const { waitingMax = 1_000, repeatMs = 60_000 } = options
  const waiting = new Map<string, Notice>()
  const open = new Map<string, Notice>()
  const figures = { sent: 0, retried: 0, refused: 0, dropped: 0 }
  const ending = new AbortController()
  let failuresInRow = 0
  let lastFailure: string | null = null
  let timer: NodeJS.Timeout | null = null
  let isSending = false
  let isClosing = false
  let onIdle: (() => void) | null = null

  function enqueue(notice: Notice): void {
    waiting.delete(notice.id)
    waiting.set(notice.id, notice)
    const oldest = waiting.keys().next().value
    if (waiting.size > waitingMax && oldest !== undefined) {
      waiting.delete(oldest)
      figures.dropped++
    }
  }

  /** Whoever silences an alert is not to hear of it again, of what waits neither. */
  function forget({ row }: DerivedRow): void {
    open.delete(String(row.alert_id))
    waiting.delete(String(row.alert_id))
  }

  function schedule(ms: number): void {
    if (timer !== null || isSending) return
    timer = setTimeout(() => {
      timer = null
      void sendNext()
    }, ms)
    timer.unref()
  }

  async function sendNext(): Promise<void> {
    const [first] = waiting.values()
    if (first === undefined) return
    const notices = [...waiting.values()].filter(({ group }) => group === first.group).slice(0, NOTICES_MAX)
    isSending = true
    const outcome = await post(notices)
    isSending = false
    if (outcome === 'failed') {
      failuresInRow++
      figures.retried++
    } else {
      failuresInRow = 0
      if (outcome === 'sent') lastFailure = null
      figures[outcome] += notices.length
      // One that changed meanwhile waits on.
      for (const notice of notices) if (waiting.get(notice.id) === notice) waiting.delete(notice.id)
    }
    if (waiting.size === 0 || ending.signal.aborted) onIdle?.()
    else schedule(outcome === 'failed' ? pauseMs() : 0)
  }

  const pauseMs = (): number => Math.min(retryMsMax, retryMs * 2 ** Math.min(failuresInRow - 1, 20))

  async function post(notices: readonly Notice[]): Promise<'sent' | 'refused' | 'failed'> {
    const { url, format, receiver = 'assay', authorization = null } = options
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(authorization !== null && { authorization }) },
        body: JSON.stringify(payloadOf(format, notices, receiver)),
        redirect: 'error',
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ending.signal]),
      })
      // An answer is not over before its body is: the time limit holds for that too, and nothing of it is kept.
      for await (const _ of response.body ?? []) continue
      if (response.ok) return 'sent'
      lastFailure = `the webhook answered ${response.status}`
      const isForGood =
        response.status >= 400 && response.status < 500 && response.status !== 408 && response.status !== 429
      return isForGood ? 'refused' : 'failed'
    } catch (error) {
      lastFailure = `the webhook cannot be reached: ${reasonOf(error)}`
      return 'failed'
    }
  }

  const repeating = options.format === 'v2' ? setInterval(repeat, repeatMs) : null
  repeating?.unref()
  function repeat(): void {
    for (const notice of open.values()) if (!waiting.has(notice.id)) enqueue(notice)
    if (waiting.size > 0) schedule(0)
  }

  return {
    name: 'webhook',
    publish({ alerts }) {
      if (isClosing) return
      for (const row of alerts) {
        const notice = noticeOf(row)
        if (notice === null) {
          forget(row)
          continue
        }
        if (notice.status === 'firing' && open.size < waitingMax) open.set(notice.id, notice)
        if (notice.status === 'resolved') open.delete(notice.id)
        enqueue(notice)
      }
      if (waiting.size > 0) schedule(failuresInRow > 0 ? pauseMs() : gatherMs)
    },
    figures: () => ({ ...figures, waiting: waiting.size }),
    undelivered: () => figures.refused + figures.dropped,
    trouble: () => (lastFailure === null ? null : `${lastFailure}; ${waiting.size} alerts wait`),
    async close(deadlineMs) {
      isClosing = true
      if (repeating !== null) clearInterval(repeating)
      if (waiting.size > 0) {
        const idle = new Promise<void>((resolve) => (onIdle = resolve))
        const late = setTimeout(() => {
          ending.abort()
          onIdle?.()
        }, deadlineMs)
        if (timer !== null) clearTimeout(timer)
        timer = null
        schedule(0)
        await idle
        clearTimeout(late)
      }
      ending.abort()
      if (timer !== null) clearTimeout(timer)
    },
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message : error.message
}
