// The proof of the routes of a fleet: its run (three real servers and one Redis, routes changed at random through
// random servers while payments come, servers killed with SIGKILL in the middle of a change) and its judgement, from
// the logs alone, which is that of one server and what several must agree upon.
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { type RunningServer, startServer } from '../../bench/server.js'
import { canonicalJson } from '../../src/contract/canonical-json.js'
import { createRandom, type Random } from '../../src/simulate/random.js'
import { QUICK_SERVE } from './quick.js'
import { judgeRoutes, readRoutesLog, type RoutesLog } from './routes-judge.js'
import { ROUTES_OPERATOR } from './routes-run.js'
import { until } from './server-rig.js'

export interface FleetRunOptions {
  readonly seed: number
  /** unix:PATH or host:port of the Redis. */
  readonly node: string
  /** Changes that operators were told of. */
  readonly changes: number
  /** SIGKILLs, spread over the changes. */
  readonly kills: number
  readonly servers: number
  readonly folder: string
}

/** What one server has told, over all of its lives. */
export interface Member {
  readonly dataDir: string
  /** Revision → what the operator asked for and was told is on disk. */
  readonly told: Map<number, string>
  /** decision_id → routes_revision of every answer that a client got. */
  readonly decided: Map<string, number>
}

export interface FleetRun {
  readonly members: readonly Member[]
  /** Answers by kind of change and status. */
  readonly answers: Map<string, number>
  readonly findings: string[]
  /** Changes that a kill cut off. */
  cutOff: number
  /** What every server showed at the end, as it stood. */
  readonly shown: string[]
}

interface Place {
  readonly member: Member
  server: RunningServer
  /** Between kill and readiness. */
  isAway: boolean
}

/** Runs until enough was changed; every server then shows the same, and drains. */
export async function runFleet(options: FleetRunOptions): Promise<FleetRun> {
  const random = createRandom(options.seed)
  const places = await Promise.all(Array.from({ length: options.servers }, () => begin(options)))
  const members = places.map(({ member }) => member)
  const run: FleetRun = { members, answers: new Map(), findings: [], cutOff: 0, shown: [] }
  const state = { over: false }
  const told = (): number => members.reduce((total, member) => total + member.told.size, 0)
  const killing = killNow(places, run, { random, options, told })
  const paying = places.map((place) => pay(place, run, state))
  const operating = Array.from({ length: 3 }, async () => {
    while (told() < options.changes) await ask(places, run, random)
  })
  await Promise.all([...operating, killing])
  await until(async () => new Set(await Promise.all(places.map(shownBy))).size === 1, 'all servers show the same')
  run.shown.push(...(await Promise.all(places.map(shownBy))))
  state.over = true
  await Promise.all(paying)
  for (const { server } of places) {
    const code = await server.stop()
    if (code !== 0) run.findings.push(`a drain ended with ${code}:\n${server.output()}`)
  }
  return run
}

async function begin(options: FleetRunOptions): Promise<Place> {
  const dataDir = await mkdtemp(join(options.folder, 'server-'))
  return {
    member: { dataDir, told: new Map(), decided: new Map() },
    server: await start(dataDir, options),
    isAway: false,
  }
}

function start(dataDir: string, { node }: FleetRunOptions): Promise<RunningServer> {
  return startServer({
    dataDir,
    command: QUICK_SERVE,
    env: {
      ASSAY_PROCESS__STATE__KIND: 'redis',
      ASSAY_PROCESS__STATE__REDIS__NODES: JSON.stringify([node]),
      ASSAY_POLICY__ROUTES__SHARE: '2000',
      // Who answers is asked, not how fast a busy machine is.
      ASSAY_POLICY__BUDGETS__DEADLINE_MS: '500',
      ASSAY_POLICY__BUDGETS__LOG_WAIT_MS: '5000',
    },
  })
}

interface Killing {
  readonly random: Random
  readonly options: FleetRunOptions
  readonly told: () => number
}

/** One after the other, each when its share of the changes was told. */
async function killNow(places: readonly Place[], run: FleetRun, { random, options, told }: Killing): Promise<void> {
  for (let kill = 1; kill <= options.kills; kill++) {
    const at = Math.floor((options.changes * kill) / (options.kills + 1))
    await until(() => told() >= at, `${at} changes`, { msMax: 120_000 })
    const place = places[random.integer(places.length)]
    place.isAway = true
    await place.server.kill()
    place.server = await start(place.member.dataDir, options)
    place.isAway = false
  }
  if (run.members.length < 1) throw new RangeError('no servers')
}

/** Payments one after the other, each answered while the server lives. */
async function pay(place: Place, run: FleetRun, state: { over: boolean }): Promise<void> {
  for (let sent = 0; !state.over; sent++) {
    const { server, member } = place
    const transaction = {
      ...{ transaction_id: `${member.dataDir.slice(-6)}-${sent}`, occurred_at: Date.now(), amount_minor: 100 + sent },
      ...{ currency: 'EUR', customer_id: `c${sent % 50}` },
    }
    try {
      const answer = await fetch(`http://127.0.0.1:${server.scorePort}/v1/score`, posted(transaction))
      const text = await answer.text()
      if (answer.status === 200) {
        const { decision_id: id, routes_revision: revision } = JSON.parse(text) as Record<string, never>
        member.decided.set(id, revision)
      } else if (answer.status !== 503) run.findings.push(`a payment got ${answer.status} ${text}`)
    } catch (error) {
      if (!place.isAway && place.server === server) run.findings.push(`a payment got ${String(error)}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

function posted(body: object, headers: Record<string, string> = {}, method = 'POST'): RequestInit {
  return { method, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) }
}

/** An operator at one of the servers: reads, decides, asks. */
async function ask(places: readonly Place[], run: FleetRun, random: Random): Promise<void> {
  const place = places[random.integer(places.length)]
  const { server, member } = place
  const base = `http://127.0.0.1:${server.operationsPort}`
  try {
    const read = await fetch(`${base}/v1/routes`)
    const tag = { 'if-match': read.headers.get('etag') ?? '' }
    const { verb, method, path, body } = ROUTES_OPERATOR.draw(random, (await read.json()) as never)
    const answer = await fetch(base + path, posted({ ...body, reason: 'drawn' }, tag, method))
    const text = await answer.text()
    const kind = `${verb} ${answer.status}`
    run.answers.set(kind, (run.answers.get(kind) ?? 0) + 1)
    if (answer.status === 200) {
      const { change } = JSON.parse(text) as { change: { revision: number; effective: boolean; shared: boolean } }
      if (!change.effective || !change.shared) run.findings.push(`${text} says done and is not`)
      if (member.told.has(change.revision)) run.findings.push(`revision ${change.revision} was given twice`)
      member.told.set(change.revision, verb)
    } else if (![202, 409, 412, 503].includes(answer.status)) run.findings.push(`${verb} got ${answer.status} ${text}`)
  } catch (error) {
    if (!place.isAway && place.server === server) run.findings.push(`an operator got ${String(error)}`)
    run.cutOff++
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Without what differs from server to server. */
async function shownBy({ server }: Place): Promise<string> {
  const read = await fetch(`http://127.0.0.1:${server.operationsPort}/v1/routes`)
  const { revision, champion, challenger, share, experiment, previous, forced, fleet } = (await read.json()) as Shown
  const revisions = fleet.servers.map((one) => one.revision)
  return canonicalJson({ revision, champion, challenger, share, experiment, previous, forced, revisions })
}

interface Shown extends Record<string, unknown> {
  readonly fleet: { readonly servers: readonly { readonly revision: number }[] }
}

/** What is wrong in the logs of a fleet, one line each. */
export function judgeFleet(logs: readonly RoutesLog[], members: readonly Pick<Member, 'told' | 'decided'>[]): string[] {
  const findings = logs.flatMap((log, at) =>
    judgeRoutes(log, members[at], { isFleet: true }).map((one) => `${at}: ${one}`),
  )
  const said = new Map<number, string>()
  for (const [at, { routings }] of logs.entries()) {
    for (const [revision, { routes, previous, forced, approvals }] of routings) {
      const text = canonicalJson({ routes, previous, forced, approvals })
      const known = said.get(revision) ?? text
      if (known !== text) findings.push(`${at}: revision ${revision} is ${text}, elsewhere ${known}`)
      said.set(revision, known)
    }
  }
  const given = new Map<number, number>()
  for (const [at, { told }] of members.entries()) {
    for (const revision of told.keys()) {
      if (!logs[at].routings.has(revision)) findings.push(`${at}: revision ${revision} was told, and is not in its log`)
      const other = given.get(revision)
      if (other !== undefined) findings.push(`revision ${revision} was given by ${other} and by ${at}`)
      given.set(revision, at)
    }
  }
  return findings
}

export function readFleetLogs(members: readonly Pick<Member, 'dataDir'>[]): Promise<RoutesLog[]> {
  return Promise.all(members.map(({ dataDir }) => readRoutesLog(join(dataDir, 'decision-log'))))
}
