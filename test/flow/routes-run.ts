// The proofs of the live routes and of the live policy, their run: a real server under load whose routes or policy are
// changed at random, at once and not, by two operators, and which is killed with SIGKILL in between. Keeps what clients
// and operators were told.
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, openClient } from '../../bench/client.js'
import { httpRequest } from '../../bench/requests.js'
import { type RunningServer, startServer } from '../../bench/server.js'
import { createRandom, type Random } from '../../src/simulate/random.js'

export interface RoutesRunOptions {
  readonly seed: number
  /** Changes that operators were told of. */
  readonly changes: number
  /** SIGKILLs, spread over the changes. */
  readonly kills: number
  readonly connections: number
  readonly folder: string
  readonly onLife?: (life: number, run: RoutesRun) => void
  /** What operators change; the routes by default. */
  readonly operator?: Operator
}

/** An operator reads a document, and draws a change of it that may well be possible. */
export interface Operator {
  readonly path: string
  draw(this: void, random: Random, read: never): Drawn
}

export interface Drawn {
  /** For the statistics. */
  readonly verb: string
  readonly method: 'PUT' | 'POST'
  readonly path: string
  readonly body: object
}

export interface RoutesRun {
  readonly dataDir: string
  /** Revision → what the operator asked for and was told is on disk. */
  readonly told: Map<number, string>
  /** Answers by kind of change and status. */
  readonly answers: Map<string, number>
  /** decision_id → routes_revision, and policy, of every answer that a client got. */
  readonly decided: Map<string, number>
  readonly policies: Map<string, string>
  readonly findings: string[]
  /** Requests of clients, and of operators, that a kill cut off. */
  cutOff: number
  changesCutOff: number
  /** Answers that said only: not now. */
  busy: number
  remove(): Promise<void>
}

const MODELS = ['fraud-lgbm@1', 'fraud-xgb@1'] as const
const CUSTOMERS = 400
/** Who answers is asked, not how fast a busy machine is. */
const ENVIRONMENT = {
  ASSAY_POLICY__ROUTES__SHARE: '2000',
  ASSAY_POLICY__BUDGETS__DEADLINE_MS: '500',
  ASSAY_POLICY__BUDGETS__LOG_WAIT_MS: '5000',
}
/** The file says otherwise at each second start: the log must win. */
const OTHER_FILE = { ...ENVIRONMENT, ASSAY_POLICY__ROUTES__SHARE: '9000' }

/** Runs all lives; the last one drains. */
export async function runRoutes(options: RoutesRunOptions): Promise<RoutesRun> {
  const random = createRandom(options.seed)
  const dataDir = await mkdtemp(join(options.folder, 'assay-routes-'))
  const run: RoutesRun = {
    ...{ dataDir, told: new Map(), answers: new Map(), decided: new Map(), policies: new Map(), findings: [] },
    ...{ cutOff: 0, changesCutOff: 0, busy: 0 },
    remove: () => rm(dataDir, { recursive: true, force: true }),
  }
  let sent = 0
  const nextId = (): string => `r${options.seed}-${sent++}`
  for (let life = 0; life <= options.kills; life++) {
    const server = await startServer({ dataDir, env: life % 2 === 0 ? ENVIRONMENT : OTHER_FILE })
    const until = Math.ceil((options.changes * (life + 1)) / (options.kills + 1))
    await live(server, { run, random, options, until, nextId, isLast: life === options.kills })
    options.onLife?.(life, run)
  }
  return run
}

interface Life {
  readonly run: RoutesRun
  readonly random: Random
  readonly options: RoutesRunOptions
  /** Changes told, over all lives, at which this one ends. */
  readonly until: number
  readonly nextId: () => string
  readonly isLast: boolean
}

/** Load on all connections, two operators; ends by SIGKILL in the middle of both, the last life by SIGTERM. */
async function live(server: RunningServer, life: Life): Promise<void> {
  const { run, options, isLast } = life
  const state = { over: false }
  const load = await startLoad(server, life, state)
  const operators = [0, 1].map(() => operate(server, life, state))
  if (isLast) {
    await Promise.all(operators)
    await load.idle()
    const code = await server.stop()
    if (code !== 0) run.findings.push(`the drain ended with ${code}:\n${server.output()}`)
  } else {
    await Promise.race(operators)
    state.over = true
    await server.kill()
    run.cutOff += load.out()
    await Promise.all(operators)
  }
  load.close()
  if (options.connections < 1) throw new RangeError('no connections')
}

async function startLoad(server: RunningServer, { run, random, options, nextId }: Life, state: { over: boolean }) {
  let out = 0
  let stopped = false
  let onIdle: () => void = () => undefined
  const send = (client: Client, connection: number): void => {
    if (stopped) return
    out++
    const body = JSON.stringify({
      ...{
        transaction_id: nextId(),
        occurred_at: Date.now(),
        amount_minor: 1 + random.integer(50_000),
        currency: 'EUR',
      },
      ...(random.uniform() < 0.95 && { customer_id: `c${random.integer(CUSTOMERS)}` }),
    })
    client.send(connection, httpRequest('/v1/score', body))
  }
  const client = await openClient(
    { port: server.scorePort, connections: options.connections, bodies: true, reopen: false },
    {
      onReply(connection, status, _decided, { body }) {
        out--
        if (status === 200) {
          const { decision_id: id, routes_revision: revision, policy } = JSON.parse(body) as Record<string, never>
          run.decided.set(id, revision)
          run.policies.set(id, policy)
        } else if (status === 503) run.busy++
        else run.findings.push(`a payment got ${status} ${body}`)
        send(client, connection)
        if (out === 0) onIdle()
      },
      onLost(connection) {
        if (!state.over && !stopped) run.findings.push(`connection ${connection} was lost:\n${server.output()}`)
      },
      onOpen: () => undefined,
    },
  )
  for (let connection = 0; connection < options.connections; connection++) send(client, connection)
  return {
    out: () => out,
    async idle() {
      stopped = true
      if (out > 0) await new Promise<void>((resolve) => (onIdle = resolve))
    },
    close() {
      stopped = true
      client.close()
    },
  }
}

/** One operator: reads, decides, asks; until enough was changed or the server is gone. */
async function operate(server: RunningServer, life: Life, state: { over: boolean }): Promise<void> {
  const { run, until } = life
  const { path, draw } = life.options.operator ?? ROUTES_OPERATOR
  const base = `http://127.0.0.1:${server.operationsPort}`
  while (!state.over && run.told.size < until) {
    try {
      const read = await fetch(base + path)
      const tag = read.headers.get('etag') ?? ''
      const drawn = draw(life.random, (await read.json()) as never)
      const { verb, body } = drawn
      const answer = await fetch(base + drawn.path, {
        method: drawn.method,
        headers: { 'content-type': 'application/json', 'if-match': tag },
        body: JSON.stringify({ ...body, reason: `drawn ${run.told.size}` }),
      })
      const text = await answer.text()
      const kind = `${verb} ${answer.status}`
      run.answers.set(kind, (run.answers.get(kind) ?? 0) + 1)
      if (answer.status === 200) note(run, text, verb)
      else if (![202, 409, 412, 503].includes(answer.status)) run.findings.push(`${verb} got ${answer.status} ${text}`)
    } catch (error) {
      if (!state.over) run.findings.push(`an operator got ${String(error)}`)
      run.changesCutOff++
      return
    }
  }
}

function note({ told, findings }: RoutesRun, text: string, verb: string): void {
  const { change } = JSON.parse(text) as { change: { revision: number; effective: boolean } }
  if (told.has(change.revision)) findings.push(`revision ${change.revision} was given to two changes`)
  if (!change.effective) findings.push(`revision ${change.revision} is on disk and does not act`)
  told.set(change.revision, verb)
}

interface Live {
  champion: string
  challenger: string | null
  forced: { baseline: boolean; open: string[] }
  previous: object | null
}

/** Draws changes of the routes. */
export const ROUTES_OPERATOR: Operator = {
  path: '/v1/routes',
  draw(random, read: Live) {
    const { verb, body } = drawRoutes(random, read)
    if (verb === 'set') return { verb, body, method: 'PUT', path: '/v1/routes' }
    return { verb, body, method: 'POST', path: `/v1/routes:${verb}` }
  },
}

/** Of shares, roles, experiments; back; forced and released. */
function drawRoutes(random: Random, { champion, forced, previous }: Live): { verb: string; body: object } {
  const kind = random.uniform()
  const isForced = forced.baseline || forced.open.length > 0
  if (isForced && kind < 0.5) return { verb: 'release', body: {} }
  if (kind < 0.08) return { verb: 'force', body: random.uniform() < 0.5 ? {} : { model: MODELS[random.integer(2)] } }
  if (previous !== null && kind < 0.25) return { verb: 'rollback', body: {} }
  const swap = random.uniform() < 0.3
  const [first, second] = champion === MODELS[0] ? MODELS : [MODELS[1], MODELS[0]]
  const alone = random.uniform() < 0.1
  const body = {
    champion: swap ? second : first,
    challenger: alone ? null : swap ? first : second,
    share: alone ? 0 : random.integer(10_001),
    ...(random.uniform() < 0.1 && { experiment: `e${random.integer(1_000_000)}` }),
  }
  return { verb: 'set', body }
}
