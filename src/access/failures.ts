// How often an address presented a key that is nobody's: from too many on it waits, before any hashing.
// Invariant: an address waits no longer than one window, however often it asks meanwhile; what is held is bounded.
// While nobody waits the question costs one comparison. It refuses to count whoever presents no key, or one of the
// past: a page that has yet to ask for its token is no guess.
import { LRUCache } from 'lru-cache'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'

export interface Failures {
  /** Seconds that an address must wait, at least 1; 0 where it may ask. */
  waitS(from: Asker): number
  failed(from: Asker): void
}

/** Who asks, as the connection says; looked at only where it matters. */
export interface Asker {
  remoteAddress(): string
}

interface Window {
  readonly endMs: number
  count: number
}

export interface FailuresDeps {
  readonly clock: Pick<Clock, 'monoMs'>
  readonly limits: Pick<Limits, 'authFailuresMax' | 'authWindowMs' | 'authAddressesMax'>
}

/** Counts nothing yet. */
export function createFailures({ clock, limits }: FailuresDeps): Failures {
  const { authFailuresMax: max, authWindowMs: windowMs } = limits
  const windows = new LRUCache<string, Window>({ max: limits.authAddressesMax })
  /** When the last of those who wait may ask again; 0 while nobody waits. */
  let waitingUntilMs = 0
  return {
    waitS(from) {
      if (waitingUntilMs === 0) return 0
      const nowMs = clock.monoMs()
      if (nowMs >= waitingUntilMs) {
        waitingUntilMs = 0
        return 0
      }
      const window = windows.peek(networkOf(from.remoteAddress()))
      if (window === undefined || window.count < max || nowMs >= window.endMs) return 0
      return Math.ceil((window.endMs - nowMs) / 1_000)
    },
    failed(from) {
      const network = networkOf(from.remoteAddress())
      const nowMs = clock.monoMs()
      const held = windows.get(network)
      const window = held === undefined || nowMs >= held.endMs ? { endMs: nowMs + windowMs, count: 0 } : held
      window.count++
      if (window !== held) windows.set(network, window)
      if (window.count >= max) waitingUntilMs = Math.max(waitingUntilMs, window.endMs)
    },
  }
}

/** An address of IPv4, or the /64 that one of IPv6 lies in: whoever has one of those has all of it. */
function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [head, tail = ''] = address.split('::')
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'))
  const [left, right] = [groups(head), groups(tail)]
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0')
  return [...left, ...zeros, ...right].slice(0, 4).join(':')
}
