// `assay serve`: runs the scoring server until it is told to end, and prints where it listens and a request to try.
// On a terminal people read it; otherwise events are JSON lines on standard error and the greeting is one on standard
// output, so that a supervisor or a test can wait for it.
import { parseArgs } from 'node:util'
import { type Config, loadConfig } from './config.js'
import { AssayError } from './errors.js'
import { serve, type ServeDeps, type Server } from './serve.js'
import { createLogger, type Level, type Logger } from './telemetry/logger.js'
import { textLines } from './telemetry/text-lines.js'

const HELP = `assay serve [--config FILE] [--routes-from-file] [--policy-from-file] [--take-over]
    run the scoring server

  --config FILE        YAML or JSON; ASSAY_CONFIG names it too, ASSAY_PROCESS__HTTP__PORT and the like override keys
  --routes-from-file   take the routes of the configuration as a new revision; without it the routes that the decision
                       log ends with stand, and a difference is shown (event RoutesDiffered, /v1/status,
                       assay_routes_differ_from_config). Not for routes that servers share (process.state.kind: redis)
  --policy-from-file   take rules, lists, segments, cuts and guards of the configuration as a new revision; without it
                       those that operators have set live stand, and a difference is shown (event PolicyDiffered)
  --take-over          follow the server that runs on this directory and these addresses: load, fold its log and warm up
                       beside it, then take log and addresses over while it drains. Requests wait meanwhile, and
                       connections to the other one are closed with their next answer; where none runs, a plain start

On a terminal events and greeting are text; elsewhere events are JSON lines on stderr, and once ready one JSON line on
stdout says {"score","operations","http_binding","try"}. SIGTERM and SIGINT (Ctrl-C) drain: no request is cut, every
answered decision is durable. A second one, a second or more later, ends the process at once: what was answered is on
disk, what was not answered is lost.

exit codes: 0 ended after a drain · 1 could not start, with the code on stderr · 2 the command line is not valid
            137 ended by its own SIGKILL: after the drain where a model's thread hung in a native call, or at a second
            signal
`

/** A terminal's Ctrl-C can come twice, from the terminal and by way of npm; a person's second one comes later. */
const SECOND_SIGNAL_MS = 1_000
const SIGNALS = ['SIGTERM', 'SIGINT'] as const

/** Runs until SIGTERM or SIGINT; resolves with the exit code. `onReady` is called once the server answers. */
export async function serveCommand(
  args: readonly string[],
  { onReady, ...deps }: { readonly onReady?: () => void } & Pick<ServeDeps, 'fill' | 'limits'> = {},
): Promise<number> {
  const { values } = parseServe(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const config = loadConfig({ ...(values.config !== undefined && { file: values.config }), env: process.env })
  const logger = loggerOf(config)
  const told = signalled()
  let ready = false
  void told.then(() => (ready ? undefined : logger.event('ServerDraining', { detail: 'ends once it has started' })))
  const server = await serve(config, {
    logger,
    fromFile: { routes: values['routes-from-file'] === true, policy: values['policy-from-file'] === true },
    takeOver: values['take-over'] === true,
    ...deps,
  })
  ready = true
  process.stdout.write(process.stdout.isTTY ? greeting(server) : `${JSON.stringify(facts(server))}\n`)
  onReady?.()
  await Promise.race([told, server.left])
  const { stuck } = await server.close()
  if (stuck) process.kill(process.pid, 'SIGKILL')
  return 0
}

/** Resolves at the first signal; a later second one ends the process. */
function signalled(): Promise<void> {
  let firstMs: number | null = null
  return new Promise((resolve) => {
    const onSignal = (): void => {
      const nowMs = performance.now()
      firstMs ??= nowMs
      if (nowMs - firstMs >= SECOND_SIGNAL_MS) process.kill(process.pid, 'SIGKILL')
      resolve()
    }
    for (const signal of SIGNALS) process.on(signal, onSignal)
  })
}

/** The options of `serve`, which are those of `up`. */
export function parseServe(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        help: { type: 'boolean', short: 'h' },
        config: { type: 'string' },
        'routes-from-file': { type: 'boolean' },
        'policy-from-file': { type: 'boolean' },
        'take-over': { type: 'boolean' },
      },
    })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

const LEVELS: readonly Level[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

/** Text where a terminal reads it, JSON lines elsewhere. */
export function loggerOf(config: Config): Logger {
  const level = levelOf(config.process.logger.level)
  const stream = process.stderr.isTTY ? textLines((line) => void process.stderr.write(line)) : undefined
  return createLogger({ level, ...(stream !== undefined && { stream }) })
}

/** The level that a configuration names. */
function levelOf(text: unknown): Level {
  return LEVELS.find((level) => level === text) ?? 'info'
}

function facts({ scoreUrl, operationsUrl, httpBinding }: Server) {
  return { score: scoreUrl, operations: operationsUrl, http_binding: httpBinding, try: example(scoreUrl, ' ') }
}

function greeting(server: Server): string {
  const { score, operations, http_binding } = facts(server)
  return `
Assay is ready; Ctrl-C ends it
  score       ${score}/v1/score
  operations  ${operations}/v1/status and /metrics
  HTTP        ${http_binding}

Try it:

${example(score, ' \\\n  ')}

`
}

/** A request that works at once: of now, and with an id that no earlier start has printed. */
function example(scoreUrl: string, between: string): string {
  const now = new Date()
  const transaction = {
    transaction_id: `try-${now.getTime().toString(36)}`,
    occurred_at: now.toISOString(),
    amount_minor: 16364,
    currency: 'EUR',
    customer_id: '852',
    terminal_id: '5161',
  }
  return [
    `curl -s ${scoreUrl}/v1/score`,
    `-H 'content-type: application/json'`,
    `-d '${JSON.stringify(transaction)}'`,
  ].join(between)
}
