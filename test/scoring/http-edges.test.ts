// The rest of the traps of uWebSockets.js that http-traps.test.ts leaves out: what the request object said once it is
// dead, strange targets, content codings, threads, and connections that nobody uses or that trickle.
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { ask, openRaw, post } from './http-raw.js'
import { openRig, sample } from './http-rig.js'

interface ShownProblem {
  readonly code: string
  readonly errors: readonly { readonly path: string }[]
}
const problem = (body: string): ShownProblem => JSON.parse(body) as ShownProblem

void t.test('what the headers said holds when the body comes later, and does not leak into the next', async (t) => {
  const rig = await openRig()
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const raw = await openRaw(rig.port)
  raw.socket.setNoDelay(true)
  const body = sample('late-body')
  const text = post('/v1/score', body, { 'Assay-Mode': 'observe', 'Assay-Timeout-Ms': '3', traceparent: trace })
  const cut = text.length - body.length
  raw.write(text.slice(0, cut))
  // The answer to another connection says that the server has been round its loop: the request object is dead by now.
  const second = await ask(rig.port, post('/v1/score', sample('between')))
  t.equal(second.status, 200)
  raw.write(body.slice(0, 10))
  t.equal((await ask(rig.port, post('/v1/score', sample('between2')))).status, 200)
  raw.write(body.slice(10))
  t.equal((await raw.next()).status, 202)
  t.match(rig.accepted.at(-1), {
    transactionId: 'late-body',
    exchange: { mode: 'observe', deadlineMs: 3, traceparent: trace },
  })
  raw.write(post('/v1/score', sample('after')))
  t.equal((await raw.next()).status, 200)
  t.match(rig.accepted.at(-1)?.exchange, { mode: 'decide', deadlineMs: 8, traceparent: null })
  raw.destroy()
  await rig.listener.close(1000)
})

void t.test('two bodies under way at once are not mixed', async (t) => {
  const rig = await openRig()
  const lines = await Promise.all([openRaw(rig.port), openRaw(rig.port)])
  const bodies = ['mix-a', 'mix-b'].map((id) => sample(id, { terminal_id: id.repeat(4) }))
  for (const [at, raw] of lines.entries()) {
    raw.socket.setNoDelay(true)
    raw.write(post('/v1/score', '', { 'Content-Length': String(bodies[at].length) }))
  }
  for (let from = 0; from < Math.max(...bodies.map((body) => body.length)); from += 16) {
    for (const [at, raw] of lines.entries()) raw.write(bodies[at].slice(from, from + 16))
    await new Promise((resolve) => setImmediate(resolve))
  }
  for (const [at, raw] of lines.entries()) {
    t.match(await raw.next(), { status: 200, body: at === 0 ? /"mix-a"/ : /"mix-b"/ })
    raw.destroy()
  }
  await rig.listener.close(1000)
})

void t.test('a coded body is refused by its header, whatever it holds; identity is none', async (t) => {
  const rig = await openRig()
  const raw = await openRaw(rig.port)
  for (const coding of ['gzip', 'br', 'GZIP', 'identity, gzip']) {
    raw.write(post('/v1/score', sample('coded'), { 'Content-Encoding': coding }))
    const refused = await raw.next()
    t.equal(refused.status, 415, coding)
    t.match(problem(refused.body), {
      code: 'ASSAY_MEDIA_TYPE_REFUSED',
      errors: [{ path: '/headers/content-encoding' }],
    })
  }
  t.same(rig.accepted, [])
  raw.write(post('/v1/score', sample('plain'), { 'Content-Encoding': 'Identity' }))
  t.equal((await raw.next()).status, 200)
  raw.destroy()
  await rig.listener.close(1000)
})

void t.test('targets that are no path are answered or closed, and harm nobody', async (t) => {
  const rig = await openRig()
  const targets = ['*', 'http://h/v1/score', 'h:443', '//v1/score', '/v1/score/', '/v1/%73core', '/%00', '/?', '?']
  // At once: what is closed is closed by the idle timeout, ten seconds later.
  await Promise.all(
    targets.map(async (target) => {
      const raw = await openRaw(rig.port)
      raw.write(`GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`)
      const status = await raw.next().then(
        (answer) => answer.status,
        () => 'closed' as const,
      )
      t.ok(status === 404 || status === 405 || status === 'closed', `${target}: ${status}`)
      raw.destroy()
    }),
  )
  t.equal((await ask(rig.port, post('/v1/score?verbose=1', sample('query')))).status, 200, 'a query is no other path')
  t.same(rig.faults, [])
  await rig.listener.close(1000)
})

void t.test('refusals from the headers name the header or the body as the place', async (t) => {
  const rig = await openRig({ limits: { bodyTimeoutMs: 50 } })
  const paths = async (text: string) => {
    const { status, body } = await ask(rig.port, text)
    return [status, ...problem(body).errors.map(({ path }) => path)]
  }
  t.same(await paths(post('/v1/score', 'x', { 'Content-Type': 'text/plain' })), [415, '/headers/content-type'])
  t.same(await paths(post('/v1/labels', 'x', { 'Content-Type': 'avro/binary' })), [415, '/headers/content-type'])
  t.same(await paths(post('/v1/score', '', { 'Content-Length': '5000' })), [413, ''])
  t.same(await paths(post('/v1/score', '', { 'Content-Length': '5' })), [408, ''])
  await rig.listener.close(1000)
})

void t.test('a worker thread is refused a listener: its end would abort the process', async (t) => {
  const worker = new Worker(new URL('./http-worker.js', import.meta.url))
  const [said] = (await once(worker, 'message')) as [string]
  t.match(said, /main thread/)
  const [code] = (await once(worker, 'exit')) as [number]
  t.equal(code, 0)
})

void t.test('connections without a whole request are closed after 8 to 12 s', { timeout: 60_000 }, async (t) => {
  const rig = await openRig()
  const [silent, used, trickling] = [await openRaw(rig.port), await openRaw(rig.port), await openRaw(rig.port)]
  const beganMs = performance.now()
  used.write(post('/v1/score', sample('idle')))
  t.equal((await used.next()).status, 200)
  trickling.write('POST /v1/score HTTP/1.1\r\nHost: h\r\n')
  const drip = setInterval(() => trickling.write('X'), 1000)
  // The test's own thread serves too, so what holds it up moves both ends of the gap: one side is wide.
  for (const [name, raw] of Object.entries({ silent, used, trickling })) {
    await raw.closed()
    const seconds = (performance.now() - beganMs) / 1000
    t.ok(seconds > 7.5 && seconds < 20, `${name}: after ${seconds.toFixed(1)} s`)
  }
  clearInterval(drip)
  t.same(rig.faults, [])
  await rig.listener.close(1000)
})
