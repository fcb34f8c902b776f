// A sidecar as a process for tests that kill it: that of the release (monitors, shadow models, alerts), and a monitor
// that notices every lost or repeated record. With `--until N` it ends once it has read up to sequence N.
//   node dist/test/governance/sidecar.js [--until N]     configuration from the environment
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '../../src/config.js'
import { derivingParts, eventsOf } from '../../src/govern-command.js'
import { govern } from '../../src/govern.js'
import { createLogger } from '../../src/telemetry/logger.js'
import { createWindowMonitor } from './window-monitor.js'

const at = process.argv.indexOf('--until')
const until = at < 0 ? Infinity : Number(process.argv[at + 1])
const config = loadConfig({ env: process.env })
const logger = createLogger({ level: 'warn' })
// No lag is told, so that nothing is shed: a shed pair would be another row in a store made afresh.
const parts = await derivingParts(config, { logger, lag: () => 0 })
const sidecar = await govern(config, {
  logger,
  ...parts,
  createEvents: eventsOf,
  createMonitors: () => [...parts.createMonitors(config), createWindowMonitor()],
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
