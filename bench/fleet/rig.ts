// What the parts of the fleet's bench share: how much is asked, servers on a Redis, and what one of them has done.
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { median } from '../interval.js'
import { scrape } from '../scrape.js'
import { type RunningServer, startServer } from '../server.js'

export interface Bench {
  /** On the volume to be measured. */
  readonly folder: string
  readonly turns: number
  /** Of a turn. */
  readonly seconds: number
  /** Under load, before anything is measured. */
  readonly warmUpSeconds: number
  readonly ratePerSecond: number
  /** Of a server; the package's own where absent. */
  readonly command?: readonly string[]
  /** How it goes on, while it does. */
  readonly say: (line: string) => void
}

/** A part's figures as text, and as data. */
export interface Part<Data> {
  readonly lines: readonly string[]
  readonly data: Data
}

export interface MemberOptions {
  /** Its folder's. */
  readonly name: string
  /** Where its state is, as `nodes` has it; null: in its own memory. */
  readonly node: string | null
  /** Servers of the same are one fleet. */
  readonly prefix: string
  readonly env?: Readonly<Record<string, string>>
}

export function startMember(bench: Bench, { name, node, prefix, env }: MemberOptions): Promise<RunningServer> {
  const shared = node === null ? {} : stateEnv(node, prefix)
  const { command, folder } = bench
  return startServer({ dataDir: join(folder, name), env: { ...shared, ...env }, ...(command && { command }) })
}

function stateEnv(node: string, prefix: string): Record<string, string> {
  return {
    ASSAY_PROCESS__STATE__KIND: 'redis',
    ASSAY_PROCESS__STATE__REDIS__NODES: JSON.stringify([node]),
    ASSAY_PROCESS__STATE__REDIS__KEY_PREFIX: prefix,
  }
}

export async function endMember(server: RunningServer): Promise<void> {
  const code = await server.stop()
  if (code !== 0) throw new Error(`the server ended with ${code}:\n${server.output()}`)
}

/** Decisions that it made from its own windows, the Redis not having answered in time. */
export async function decidedLocally(server: RunningServer): Promise<number> {
  return (await scrape(server)).get('assay_decisions_local_total') ?? 0
}

/** What a busy machine makes a server say. */
const REFUSED = 503
const TRIES_MAX = 50
/** Milliseconds before each try: whatever the one before has left undone is done. */
const REST_MS = 20

/** Asks until it is not refused, always with the same id: however often, the payment counts once. Throws in the end. */
export async function untilAnswered<A extends { readonly status: number }>(ask: () => Promise<A>): Promise<A> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    await delay(REST_MS)
    const answer = await ask()
    if (answer.status === 200) return answer
    if (answer.status !== REFUSED) throw new Error(`a payment was answered with ${answer.status}`)
  }
  throw new Error(`a payment was refused ${TRIES_MAX} times`)
}

export function medianOf<Key extends string>(list: readonly Readonly<Record<Key, number>>[], key: Key): number {
  return median(list.map((one) => one[key]))
}

/** Numbers in columns behind a name; what is not a number is a dash. */
export function row(name: string, figures: readonly number[], digits = 2): string {
  const cells = figures.map((figure) => (Number.isNaN(figure) ? '-' : figure.toFixed(digits)).padStart(10))
  return `  ${name.padEnd(30)}${cells.join('')}`
}

export function heads(name: string, columns: readonly string[]): string {
  return `  ${name.padEnd(30)}${columns.map((column) => column.padStart(10)).join('')}`
}
