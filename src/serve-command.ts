// `assay serve`: runs the scoring server until it is told to end, and prints where it listens and a request to try.
import { parseArgs } from 'node:util'
import { loadConfig } from './config.js'
import { AssayError } from './errors.js'
import { serve } from './serve.js'
import { createLogger, type Level } from './telemetry/logger.js'

const HELP = `assay serve [--config FILE]
    run the scoring server; ASSAY_CONFIG names the file too, ASSAY_PROCESS__HTTP__PORT and the like override keys
    SIGTERM and SIGINT drain: no request is cut, every answered decision is durable

exit codes: 0 ended after a drain · 1 could not start · 2 the command line is not valid
            137 ended by its own SIGKILL after the drain, because a model's thread hung in a native call
`

/** Runs until SIGTERM or SIGINT; resolves with the exit code. `onReady` is called once the server answers. */
export async function serveCommand(args: readonly string[], onReady?: () => void): Promise<number> {
  const { values } = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const config = loadConfig({ ...(values.config !== undefined && { file: values.config }), env: process.env })
  const logger = createLogger({ level: levelOf(config.process.logger.level) })
  const told = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
  const server = await serve(config, { logger })
  process.stdout.write(greeting(server))
  onReady?.()
  await told
  const { stuck } = await server.close()
  if (stuck) process.kill(process.pid, 'SIGKILL')
  return 0
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { help: { type: 'boolean', short: 'h' }, config: { type: 'string' } },
    })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

const LEVELS: readonly Level[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

/** The level that a configuration names. */
export function levelOf(text: unknown): Level {
  return LEVELS.find((level) => level === text) ?? 'info'
}

function greeting({ scoreUrl, operationsUrl, httpBinding }: Awaited<ReturnType<typeof serve>>): string {
  const example = {
    transaction_id: 't-1',
    occurred_at: new Date().toISOString(),
    amount_minor: 16364,
    currency: 'EUR',
    customer_id: '852',
    terminal_id: '5161',
  }
  return `assay is ready (${httpBinding})
  score       ${scoreUrl}
  operations  ${operationsUrl}

curl -s ${scoreUrl}/v1/score -H 'content-type: application/json' \\
  -d '${JSON.stringify(example)}'
`
}
