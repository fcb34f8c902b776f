// Runs schemathesis against the OpenAPI document that a real server serves: requests that fit it and requests that do
// not, in every part. No 5xx, no status or header that the document does not name, no answer against its schema,
// nothing taken that it forbids. No test.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { QUICK_SERVE } from '../flow/quick.js'
import { startServer } from './clients.js'
import { PYTHON_SOURCES, pythonWith, runPython } from './python.js'

export interface Checked {
  readonly code: number | null
  /** Requests that were made up and sent. */
  readonly cases: number
  /** Requests of the Open Inference Protocol that got as far as scores. */
  readonly scored: number
  readonly text: string
}

async function scoredBy(url: string): Promise<number> {
  const { model_stats: all } = (await (await fetch(url)).json()) as {
    readonly model_stats: readonly { readonly inference_stats: { readonly success: { readonly count: number } } }[]
  }
  return all.reduce((sum, { inference_stats }) => sum + inference_stats.success.count, 0)
}

/** At most `examples` made-up requests for each operation, beside those that cover its parts. */
export async function checkOpenApi(
  examples: number,
  { seed, onLine }: { readonly seed: number; readonly onLine?: (line: string) => void },
): Promise<Checked> {
  // A busy machine misses the budgets of a payment and is then right to answer 503: that is not what is asked here.
  process.env['ASSAY_POLICY__BUDGETS__DEADLINE_MS'] = '1000'
  process.env['ASSAY_POLICY__BUDGETS__LOG_WAIT_MS'] = '10000'
  const server = await startServer(QUICK_SERVE)
  const folder = await mkdtemp(join(tmpdir(), 'assay-schemathesis-'))
  try {
    const { code, text } = await runPython(
      pythonWith('schemathesis'),
      [
        ...['-m', 'schemathesis.cli', '--config-file', join(PYTHON_SOURCES, 'schemathesis.toml'), 'run'],
        `http://127.0.0.1:${server.port}/openapi.json`,
        ...['--phases', 'examples,coverage,fuzzing', '--max-examples', String(examples)],
        ...[
          '--seed',
          String(seed),
          '--continue-on-failure',
          '--suppress-health-check',
          'all',
          '--request-timeout',
          '30',
        ],
        ...['--generation-database', 'none', '--no-color'],
      ],
      { cwd: folder, path: PYTHON_SOURCES, ...(onLine !== undefined && { onLine }) },
    )
    const scored = await scoredBy(`http://127.0.0.1:${server.port}/v2/models/stats`)
    return { scored, code, cases: Number(/([\d,]+) generated/.exec(text)?.[1].replaceAll(',', '') ?? 0), text }
  } finally {
    await server.close()
    await rm(folder, { recursive: true })
  }
}
