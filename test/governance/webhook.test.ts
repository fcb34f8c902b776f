// The webhook against a real HTTP server that hangs, fails, refuses and then answers: what arrives, in which format,
// and that nobody waits for it. No time is slept: the server says what it got.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { type AlertBook, createAlertBook } from '../../src/governance/alert.js'
import type { DerivedRow } from '../../src/governance/port.js'
import { createWebhook, type Webhook, type WebhookOptions } from '../../src/governance/publish/webhook.js'

type Answer = number | 'hang' | 'drop' | 'trickle'

interface Receiver {
  readonly url: string
  /** Bodies of the requests that were answered with 200, as they come. */
  taken(count: number): Promise<unknown[]>
  /** All requests so far. */
  asked(): number
}

/** Answers as told, then with 200. */
async function receiver(test: Pick<typeof t, 'teardown'>, answers: Answer[]): Promise<Receiver> {
  const bodies: unknown[] = []
  let asked = 0
  const waiting = new Set<() => void>()
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    asked++
    const answer = answers.shift() ?? 200
    if (answer === 'hang') return
    if (answer === 'drop') return void request.socket.destroy()
    if (answer === 'trickle') return void response.writeHead(200).write('never ends')
    response.writeHead(answer).end()
    if (answer === 200) bodies.push(JSON.parse(body))
    for (const look of waiting) look()
  }
  const server = createServer((request, response) => void serve(request, response).catch(() => undefined))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  test.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    asked: () => asked,
    taken: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (bodies.length < count) return
          waiting.delete(look)
          resolve(bodies)
        }
        waiting.add(look)
        look()
      }),
  }
}

/** Long enough for any machine; tests of a hanging receiver shorten it. */
const FAST = { gatherMs: 1, retryMs: 5, retryMsMax: 20, timeoutMs: 60_000 }
const HANG_MS = 500

function open(test: Pick<typeof t, 'teardown'>, url: string, options: Partial<WebhookOptions> = {}): Webhook {
  const webhook = createWebhook({ url, format: 'webhook', ...FAST, ...options })
  test.teardown(() => webhook.close(0))
  return webhook
}

function rows(book: AlertBook): { alerts: readonly DerivedRow[] } {
  return { alerts: book.drain().rows }
}

function bad(book: AlertBook, feature: string, model = 'm@1'): void {
  const labels = { model, series: feature }
  const common = { kind: 'drift', labels, atMs: 1_000, origin: 'record', sequence: 1, value: 0.3 } as const
  book.take({ ...common, level: 'critical', summary: `${feature} drifts` })
}

void t.test('alerts of one group arrive in one request, in the format of Alertmanager', async (t) => {
  const hook = await receiver(t, [])
  const webhook = open(t, hook.url)
  const book = createAlertBook()
  bad(book, 'amount')
  bad(book, 'hour')
  bad(book, 'amount', 'other@1')
  webhook.publish(rows(book))
  const bodies = await hook.taken(2)
  t.match(bodies[0], {
    ...{ version: '4', status: 'firing', receiver: 'assay', groupLabels: { group: 'drift m@1' }, truncatedAlerts: 0 },
    commonLabels: { alertname: 'assay_drift', severity: 'critical', model: 'm@1' },
    alerts: [
      {
        ...{ status: 'firing', labels: { series: 'amount' }, annotations: { summary: 'amount drifts' } },
        ...{ startsAt: '1970-01-01T00:00:01.000Z', endsAt: '0001-01-01T00:00:00Z', fingerprint: /^[0-9a-f]{16}$/ },
      },
      { labels: { series: 'hour' } },
    ],
  })
  t.match(bodies[1], { groupLabels: { group: 'drift other@1' } })
  await webhook.close(10_000)
  t.match(webhook.figures(), { sent: 3, waiting: 0, retried: 0 })
  t.equal(webhook.trouble(), null)
})

void t.test('a receiver that hangs, drops, never ends and fails is asked again until it answers', async (t) => {
  const hook = await receiver(t, ['hang', 'drop', 'trickle', 503, 429])
  const webhook = open(t, hook.url, { timeoutMs: HANG_MS })
  const book = createAlertBook()
  bad(book, 'amount')
  webhook.publish(rows(book))
  t.equal(hook.asked(), 0, 'publishing waits for nothing')
  const [body] = await hook.taken(1)
  t.match(body, { alerts: [{ labels: { series: 'amount' } }] })
  // On a machine that stands still for long, a good answer may come too late as well.
  t.ok(hook.asked() >= 6)
  await webhook.close(10_000)
  const { sent, retried, waiting } = webhook.figures()
  t.same([sent, waiting], [1, 0])
  t.ok(retried >= 5)
})

void t.test('what changed while the receiver was away arrives once, as it stands', async (t) => {
  const hook = await receiver(t, ['hang'])
  const webhook = open(t, hook.url, { timeoutMs: HANG_MS })
  const book = createAlertBook()
  bad(book, 'amount')
  webhook.publish(rows(book))
  const good = { kind: 'drift', labels: { model: 'm@1', series: 'amount' }, origin: 'record', sequence: 2 } as const
  for (let at = 2; at < 5; at++) book.take({ ...good, level: 'good', atMs: at * 1_000, value: 0, summary: '' })
  webhook.publish(rows(book))
  const [body] = await hook.taken(1)
  t.match(body, { status: 'resolved', alerts: [{ status: 'resolved', endsAt: '1970-01-01T00:00:04.000Z' }] })
})

void t.test('a body that is refused for good is not sent again, and is counted', async (t) => {
  const hook = await receiver(t, [400])
  const webhook = open(t, hook.url)
  const book = createAlertBook()
  bad(book, 'amount')
  webhook.publish(rows(book))
  bad(book, 'hour', 'other@1')
  webhook.publish(rows(book))
  await hook.taken(1)
  await webhook.close(10_000)
  t.equal(hook.asked(), 2)
  t.match(webhook.figures(), { sent: 1, refused: 1, waiting: 0 })
})

void t.test('what waits is bounded: the oldest is dropped and counted, and health says what is wrong', async (t) => {
  const hook = await receiver(
    t,
    Array.from({ length: 1_000 }, () => 500),
  )
  const webhook = open(t, hook.url, { waitingMax: 3, retryMs: 60_000, retryMsMax: 60_000 })
  const book = createAlertBook()
  for (let at = 0; at < 5; at++) bad(book, `f${at}`)
  webhook.publish(rows(book))
  t.match(webhook.figures(), { waiting: 3, dropped: 2 })
  await webhook.close(200)
  t.match(webhook.trouble(), /answered 500; 3 alerts wait/)
})

void t.test('close ends by its deadline although the receiver hangs', async (t) => {
  const hook = await receiver(
    t,
    Array.from({ length: 1_000 }, () => 'hang' as const),
  )
  const webhook = open(t, hook.url, { timeoutMs: 60_000 })
  const book = createAlertBook()
  bad(book, 'amount')
  webhook.publish(rows(book))
  await webhook.close(50)
  t.equal(webhook.figures().waiting, 1)
})

void t.test('silenced alerts are not told', async (t) => {
  const hook = await receiver(t, [])
  const webhook = open(t, hook.url)
  const silence = { id: 's1', kind: null, labels: { series: 'amount' }, fromMs: 0, untilMs: 10_000 }
  const book = createAlertBook({ silences: [silence] })
  bad(book, 'amount')
  bad(book, 'hour')
  webhook.publish(rows(book))
  const [body] = await hook.taken(1)
  t.match(body, { alerts: [{ labels: { series: 'hour' } }] })
  await webhook.close(10_000)
  t.equal(webhook.figures().sent, 1)
})

void t.test('an alert that is silenced while it is open is not told again', async (t) => {
  const hook = await receiver(t, [])
  const webhook = open(t, hook.url, { format: 'v2', repeatMs: 5 })
  const silence = { id: 's1', kind: null, labels: { series: 'amount' }, fromMs: 5_000, untilMs: 10_000 }
  const book = createAlertBook({ silences: [silence] })
  bad(book, 'amount')
  bad(book, 'hour')
  webhook.publish(rows(book))
  const before = await hook.taken(2)
  t.match(before[1], [{ labels: { series: 'amount' } }, { labels: { series: 'hour' } }])
  book.advance(6_000)
  webhook.publish(rows(book))
  const seen = before.length
  const after = (await hook.taken(seen + 4)).slice(-2)
  for (const body of after) {
    t.match(body, [{ labels: { series: 'hour' } }])
    t.equal((body as unknown[]).length, 1)
  }
})

void t.test("Alertmanager's own API gets a list, and open alerts again and again", async (t) => {
  const hook = await receiver(t, [])
  const webhook = open(t, hook.url, { format: 'v2', repeatMs: 20, authorization: 'Bearer x' })
  const book = createAlertBook()
  bad(book, 'amount')
  webhook.publish(rows(book))
  const [first, again] = await hook.taken(2)
  t.match(first, [{ labels: { alertname: 'assay_drift' }, startsAt: '1970-01-01T00:00:01.000Z' }])
  t.same(again, first)
})
