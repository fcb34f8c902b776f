// A whole sidecar inside the test's process, on a directory of its own. No test.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { loadConfig } from '../../src/config.js'
import { govern, type GovernDeps, type Sidecar } from '../../src/govern.js'
import { LIMITS } from '../../src/limits.js'
import type { EventName, Fields } from '../../src/telemetry/logger.js'
import { until } from '../flow/server-rig.js'
import { createWindowMonitor } from './window-monitor.js'
import { openWriter } from './written-log.js'

const QUICK = { ...LIMITS, tailGatherMs: 1, tailPollMsMax: 5, watchMs: 5, governRetryMs: 5, governRetryMsMax: 50 }
export const SIDECAR = fileURLToPath(new URL('./sidecar.js', import.meta.url))

export interface GovernRig extends Sidecar {
  readonly dataDir: string
  readonly logDir: string
  readonly events: { readonly name: EventName; readonly fields: Fields }[]
}

export function folder(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'assay-govern-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

export async function startSidecar(
  t: Test,
  dataDir: string,
  deps: Partial<GovernDeps> = {},
  more: Readonly<Record<string, string>> = {},
): Promise<GovernRig> {
  const env = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN: '1000', ...more }
  const events: GovernRig['events'] = []
  const sidecar = await govern(loadConfig({ env }), {
    logger: { event: (name, fields = {}) => void events.push({ name, fields }), flush: () => undefined },
    ...{ limits: QUICK, createMonitors: () => [createWindowMonitor()], ...deps },
  })
  t.teardown(() => sidecar.close(5_000))
  return { ...sidecar, dataDir, logDir: join(dataDir, 'decision-log'), events }
}

export const reached = (sidecar: Sidecar, sequence: number): Promise<void> =>
  until(() => sidecar.facts().sequence >= sequence, `sequence ${sequence}`)

export async function writeLog(dataDir: string, decisions: number): Promise<void> {
  const writer = await openWriter(join(dataDir, 'decision-log'))
  await writer.decisions(decisions)
  await writer.close()
}
