// A file of keys as a listener holds it: read at the start, and again whenever it changes, so that keys are rotated
// without a restart. Invariant: a file that is gone or not valid leaves the keys as they are, and is told of once.
// It refuses to parse in the thread that answers payments.
import { type BigIntStats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { loadKeys } from '../config.js'
import type { Key } from '../contract/keys.js'
import { errorOf } from '../errors.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import { createKeyTable, type Found } from './key-table.js'
import type { KeysRead } from './keys-thread.js'

export interface HeldKeys {
  /** Null where nobody's. */
  find(presented: string): Found | null
  /** Whether a key that was found earlier would be let in now. */
  holds(key: Key): boolean
  close(): void
}

/** How many keys hold from now on, or why they stay as they were. */
export type ReadOutcome = { readonly keys: number } | { readonly refused: string }

export interface HeldKeysDeps {
  readonly clock: Pick<Clock, 'nowMs'>
  readonly limits: Pick<Limits, 'keysLookMs'>
  onRead(outcome: ReadOutcome): void
}

/** Reads the file and watches it. Throws ASSAY_CONFIG_INVALID where it is not valid at the start. */
export function holdKeys(file: string, { clock, limits, ...deps }: HeldKeysDeps): HeldKeys {
  const onRead = (outcome: ReadOutcome): void => deps.onRead(outcome)
  // Before the reading, here as below: what is written meanwhile has another stamp at the next look.
  let seen = stampAtStart(file)
  let table = createKeyTable(loadKeys(file).keys)
  let isLooking = false
  let isClosed = false

  async function look(): Promise<void> {
    const now = stampOf(await stat(file, { bigint: true }).catch(() => undefined))
    if (now === seen || isClosed) return
    seen = now
    const read = await readInThread(file)
    if (isClosed) return
    if ('keys' in read) table = createKeyTable(read.keys)
    onRead('keys' in read ? { keys: table.size } : read)
  }

  const timer = setInterval(() => {
    if (isLooking) return
    isLooking = true
    look()
      .catch((error: unknown) => {
        // The reading failed, and not the file: the next look tries again.
        seen = ''
        onRead({ refused: errorOf(error).message })
      })
      .finally(() => (isLooking = false))
  }, limits.keysLookMs)
  timer.unref()
  return {
    find: (presented) => table.find(presented, clock.nowMs()),
    holds: (key) => table.holds(key, clock.nowMs()),
    close() {
      isClosed = true
      clearInterval(timer)
    },
  }
}

/** What changes with the file, also where a link is pointed at another one. */
function stampOf(facts: BigIntStats | undefined): string {
  return facts === undefined ? 'gone' : `${facts.ino} ${facts.size} ${facts.mtimeNs}`
}

/** A file that cannot be looked at cannot be read either: that says what is wrong. */
function stampAtStart(file: string): string {
  try {
    return stampOf(statSync(file, { bigint: true }))
  } catch {
    return stampOf(undefined)
  }
}

function readInThread(file: string): Promise<KeysRead> {
  return new Promise((resolve, fail) => {
    const thread = new Worker(new URL('./keys-thread.js', import.meta.url), { workerData: file, execArgv: [] })
    thread.unref()
    thread.once('message', resolve)
    thread.once('error', fail)
    thread.once('exit', () => fail(new Error('the thread that reads the keys ended without an answer')))
  })
}
