// Tests ask whether a server works, not how fast: what a server in a test does more briefly than in production, and the
// program that is `assay serve` under these limits. No test.
import { fileURLToPath } from 'node:url'
import type { Limits } from '../../src/limits.js'

/**
 * Code and models are run in for a moment, a late client is hardly waited for, and a client in the same event loop, or
 * on the same busy core, is no overload.
 */
export const QUICK: Partial<Limits> = {
  ...{ warmUpRows: 500, gateMeasureMs: 5, laneWarmMs: 20, drainQuietMs: 50, loopLagMsMax: 1e6 },
}

/** For `startServer`, in place of the package's own command line. */
export const QUICK_SERVE: readonly string[] = [
  process.execPath,
  fileURLToPath(new URL('./quick-serve.js', import.meta.url)),
]
