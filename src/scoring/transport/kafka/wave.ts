// Whether dead letters come as a wave: many in a minute, and more than half of its messages. One alert says so instead
// of a flood, and comes again at most once a minute while the wave lasts.
// Invariant: at most two events a minute, however often the counts cross the line: after each
// of them a wave lasts for a minute.
import type { ErrorCode } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Logger } from '../../../telemetry/logger.js'

export interface Wave {
  /** Some messages are done; of those that died, their codes. `newest` is where the last letter lies. */
  add(messages: number, codes: readonly ErrorCode[], newest: string | null): void
  /** To be called now and then: a wave ends also where nothing comes any more. */
  readonly look: () => void
  isOn(): boolean
}

/** What was done within a few seconds. */
interface Slice {
  readonly startMs: number
  messages: number
  readonly codes: Map<ErrorCode, number>
}

const WINDOW_MS = 60_000
const SLICE_MS = 5_000
const SHARE_MIN = 0.5

export function createWave(deps: {
  readonly clock: Clock
  readonly limits: Pick<Limits, 'kafkaDeadWaveMin'>
  readonly logger: Pick<Logger, 'event'>
}): Wave {
  const { clock, limits, logger } = deps
  let slices: Slice[] = []
  let isOn = false
  let saidAtMs = 0
  let newest = ''

  function sliceAt(nowMs: number): Slice {
    const last = slices.at(-1)
    if (last !== undefined && nowMs - last.startMs < SLICE_MS) return last
    const slice = { startMs: nowMs, messages: 0, codes: new Map() }
    slices.push(slice)
    return slice
  }

  /** The last minute, summed. */
  function sum(nowMs: number): { messages: number; dead: number; codes: Map<ErrorCode, number> } {
    slices = slices.filter(({ startMs }) => nowMs - startMs < WINDOW_MS)
    const codes = new Map<ErrorCode, number>()
    for (const slice of slices) {
      for (const [code, count] of slice.codes) codes.set(code, (codes.get(code) ?? 0) + count)
    }
    const messages = slices.reduce((all, slice) => all + slice.messages, 0)
    return { messages, dead: [...codes.values()].reduce((all, count) => all + count, 0), codes }
  }

  function look(): void {
    const nowMs = clock.monoMs()
    const { messages, dead, codes } = sum(nowMs)
    const holds = dead > limits.kafkaDeadWaveMin && dead > SHARE_MIN * messages
    if (!holds && !isOn) return
    if (isOn && nowMs - saidAtMs < WINDOW_MS) return
    isOn = holds
    saidAtMs = nowMs
    if (!holds) {
      logger.event('KafkaDeadLetterWaveEnded', { newest })
      return
    }
    const byCount = [...codes].sort(([, a], [, b]) => b - a)
    logger.event('KafkaDeadLetterWave', {
      ...{ count: dead, share: Number((dead / messages).toFixed(3)), newest },
      codes: byCount.map(([code, count]) => `${code} ${count}`),
    })
  }

  return {
    add(messages, codes, place) {
      const slice = sliceAt(clock.monoMs())
      slice.messages += messages
      for (const code of codes) slice.codes.set(code, (slice.codes.get(code) ?? 0) + 1)
      newest = place ?? newest
      look()
    },
    look,
    isOn: () => isOn,
  }
}
