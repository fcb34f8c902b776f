// `assay up`: the scoring server in this process, and the sidecar as a child that is started again as often as it ends.
// Invariant: only the server's end ends it. The server is not a child, so nothing stands between it and its signals,
// and whatever kills it ends the sidecar too: the sidecar ends when the channel to this process closes.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { loadConfig } from './config.js'
import { loggerOf, parseServe, serveCommand } from './serve-command.js'
import { LIMITS } from './limits.js'
import type { Logger } from './telemetry/logger.js'

const HELP = `assay up [--config FILE] [--routes-from-file] [--policy-from-file]
    run the scoring server, and the governance sidecar beside it as a process of its own
    the server's end ends both; a sidecar that ends is started again with back-off, and the server does not notice
    SIGTERM and SIGINT drain the server, then end the sidecar
    --routes-from-file and --policy-from-file are the server's: see \`assay serve --help\`

exit codes: those of \`assay serve\`
`

const CHILD_CLOSE_MS = 6_000

/** Runs until the server ends; resolves with its exit code. */
export async function upCommand(args: readonly string[]): Promise<number> {
  const { values } = parseServe(args)
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
  try {
    // The sidecar starts when the server is ready: the start of a server wants all cores.
    return await serveCommand(args, () => sidecar.start())
  } finally {
    await sidecar.close()
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
