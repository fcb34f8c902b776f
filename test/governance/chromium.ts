// The browser that the console is shown in; no test.
import { execFileSync } from 'node:child_process'

/** Its path; null where there is none. */
export function chromiumOnPath(): string | null {
  try {
    return execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim()
  } catch {
    return null
  }
}
