// The no-op loop of a client (loop-process.ts), started and ended.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Topics } from '../../test/kafka/topics.js'

export const LOOP_CLIENTS = ['kafkajs', '@platformatic/kafka'] as const
export type LoopClient = (typeof LOOP_CLIENTS)[number]

export interface Loop {
  readonly pid: number
  stop(): Promise<void>
}

/** About as many as a decision takes. */
const DECISION_BYTES = 560
const PROCESS = fileURLToPath(new URL('./loop-process.js', import.meta.url))

/** From the topics' transactions to their decisions; resolves when it has joined. */
export async function startLoop(client: LoopClient, { address, names }: Topics): Promise<Loop> {
  const args = [client, address, names.group, names.transactions, names.decisions, String(DECISION_BYTES)]
  const child = fork(PROCESS, args)
  const exited = once(child, 'exit')
  await Promise.race([
    once(child, 'message'),
    exited.then(() => {
      throw new Error(`the loop of ${client} ended`)
    }),
  ])
  return {
    pid: child.pid ?? 0,
    async stop() {
      child.kill('SIGTERM')
      await exited
    },
  }
}
