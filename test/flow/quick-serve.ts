// `assay serve` under the limits of tests, as a process of its own. No test.
import { LIMITS } from '../../src/limits.js'
import { serveCommand } from '../../src/serve-command.js'
import { QUICK } from './quick.js'

process.exitCode = await serveCommand(process.argv.slice(2), { limits: { ...LIMITS, ...QUICK } })
