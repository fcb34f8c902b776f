// A sidecar as a process for tests that kill it: that of the release, with a monitor that notices every lost or
// repeated record. With `--until N` it ends once it has read up to sequence N.
//   node dist/test/governance/sidecar.js [--until N]     configuration from the environment
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '../../src/config.js'
import { govern } from '../../src/govern.js'
import { createLogger } from '../../src/telemetry/logger.js'
import { createWindowMonitor } from './window-monitor.js'

const at = process.argv.indexOf('--until')
const until = at < 0 ? Infinity : Number(process.argv[at + 1])
const sidecar = await govern(loadConfig({ env: process.env }), {
  logger: createLogger({ level: 'warn' }),
  createMonitors: () => [createWindowMonitor()],
})
process.once('SIGTERM', () => void sidecar.close(5_000))
let isEnded = false
void sidecar.ended.then(
  () => (isEnded = true),
  (error: unknown) => {
    console.error(error)
    process.exitCode = 1
    isEnded = true
  },
)
while (!isEnded && sidecar.facts().sequence < until) await delay(20)
await sidecar.close(5_000)
