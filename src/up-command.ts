// `assay up`: the scoring server in this process, and the sidecar as a child that is started again as often as it ends.
// On an empty directory and built-in defaults the server begins with simulated history.
// Invariant: only the server's end ends it. The server is not a child, so nothing stands between it and its signals,
// and whatever kills it ends the sidecar too: the sidecar ends when the channel to this process closes.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { loadConfig } from './config.js'
import { chunksOf } from './features/row-chunks.js'
import { loggerOf, parseServe, serveCommand } from './serve-command.js'
import { LIMITS } from './limits.js'
import { systemClock } from './runtime/clock.js'
import { importHistory } from './scoring/history/import.js'
import { type HeldServer, intoLog } from './scoring/history/into-log.js'
import { prepareScript } from './scoring/history/script.js'
import { simulateHistory } from './simulate/history.js'
import type { Logger } from './telemetry/logger.js'

const HELP = `assay up [--config FILE] [--routes-from-file] [--policy-from-file] [--no-history]
    run the scoring server, and the governance sidecar beside it as a process of its own
    the server's end ends both; a sidecar that ends is started again with back-off, and the server does not notice
    SIGTERM and SIGINT drain the server, then end the sidecar
    --routes-from-file and --policy-from-file are the server's: see \`assay serve --help\`
    on an empty data directory and without a configuration file, simulated payments of the last 38 days are imported
    first, some 20,000, so that every window is full (event HistoryImported); --no-history leaves it empty, and
    \`assay history import\` takes your own

exit codes: those of \`assay serve\`
`

const CHILD_CLOSE_MS = 6_000

/**
 * Some of the customers of `assay traffic`, for as long as the longest window of the reference catalogue and its delay:
 * a second of a start.
 */
const SIMULATED = { seed: 1, customers: 250, terminals: 10_000, days: 38, idPrefix: 'h1' } as const
/** At night so few customers may leave hours between two payments. */
const GAP_MS_MAX = 86_400_000

/** Runs until the server ends; resolves with its exit code. */
export async function upCommand(args: readonly string[]): Promise<number> {
  const serverArgs = args.filter((arg) => arg !== '--no-history')
  const { values } = parseServe(serverArgs)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const config = loadConfig({ ...(values.config !== undefined && { file: values.config }), env: process.env })
  const logger = loggerOf(config)
  const sidecar = superviseSidecar({
    args: ['govern', '--supervised', ...(values.config === undefined ? [] : ['--config', values.config])],
    logger,
  })
  const isConfigured = values.config !== undefined || (process.env.ASSAY_CONFIG ?? '') !== ''
  const isFilled = serverArgs.length === args.length && !isConfigured && values['take-over'] !== true
  try {
    // The sidecar starts when the server is ready: the start of a server wants all cores.
    return await serveCommand(serverArgs, {
      onReady: () => sidecar.start(),
      ...(isFilled && { fill: fillWindows }),
    })
  } finally {
    await sidecar.close()
  }
}

/** Imports simulated history. */
async function fillWindows(server: HeldServer): Promise<void> {
  const { validator, limits, catalogue, policy } = server.fixed
  const nowMs = systemClock.nowMs()
  const chunks = chunksOf([simulateHistory({ ...SIMULATED, nowMs })])
  const script = await prepareScript(
    {
      ...{ name: 'simulated history', chunks, validator, schema: policy.schema, labels: null },
      labelDelayMs: catalogue.labelDelayMs,
      ...{ fromMs: -Infinity, untilMs: Infinity, gapMsMax: GAP_MS_MAX, nowMs },
    },
    limits,
  )
  const target = intoLog(server, 'simulated: `assay up --no-history` begins without it')
  try {
    const onProgress = (): void => undefined
    await importHistory(script, target, { clock: systemClock, catalogue, gapMsMax: GAP_MS_MAX, onProgress })
  } finally {
    target.close()
    script.close()
  }
}

interface SuperviseOptions {
  readonly args: readonly string[]
  readonly logger: Logger
}

interface Supervised {
  start(): void
  close(): Promise<void>
}

/** Keeps one sidecar running. */
function superviseSidecar({ args, logger }: SuperviseOptions): Supervised {
  let child: ChildProcess | null = null
  let timer: NodeJS.Timeout | null = null
  let retryMs = LIMITS.governRetryMs
  let isClosing = false

  const start = (): void => {
    if (isClosing) return
    const beganMs = performance.now()
    // A process group of its own: Ctrl-C reaches the server alone, which ends the sidecar in its turn.
    const started = spawn(process.execPath, [fileURLToPath(new URL('./cli.js', import.meta.url)), ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    })
    child = started
    started.on('error', (error) => logger.event('SidecarRestarted', { error }))
    started.on('exit', (code, signal) => {
      child = null
      if (isClosing) return
      if (performance.now() - beganMs > LIMITS.governRetryMsMax) retryMs = LIMITS.governRetryMs
      logger.event('SidecarRestarted', { code, signal, restart_in_ms: retryMs })
      timer = setTimeout(start, retryMs)
      retryMs = Math.min(2 * retryMs, LIMITS.governRetryMsMax)
    })
  }

  return {
    start,
    async close() {
      isClosing = true
      if (timer !== null) clearTimeout(timer)
      if (child === null) return
      const running: ChildProcess = child
      const gone = once(running, 'exit')
      running.kill('SIGTERM')
      const force = setTimeout(() => running.kill('SIGKILL'), CHILD_CLOSE_MS)
      await gone
      clearTimeout(force)
    },
  }
}
