// `assay model status | load | unload | approve`: the models of a running server. What stands on disk is looked at by
// `assay model check | list` (models/command.ts).
import { parseArgs } from 'node:util'
import { AssayError } from '../errors.js'
import { LIMITS } from '../limits.js'
import { createOperationsClient, type OperationsAnswer } from './operations-client.js'
import { modelsText } from './route-text.js'

export const LIVE_VERBS = ['status', 'load', 'unload', 'approve']

export const LIVE_HELP = `assay model status
    the models of a running server: role, state, breaker, digest, approval
assay model load NAME@VERSION --reason TEXT
    read the bundle from the server's models directory, run the gate beside the payments, start its lane; it can be
    routed to from then on, and a restart loads it as well
assay model unload NAME@VERSION --reason TEXT
    take out a model that neither the routes nor a rollback need
assay model approve NAME@VERSION --digest sha256:… --reason TEXT
    say of a loaded bundle that it may be routed to (policy.model_approval); takes a token with the role approver

  --url URL            operations listener (ASSAY_OPERATIONS_URL, else process.operations of the configuration)
  --token-file FILE    a token with the role operator, or approver; ASSAY_TOKEN_FILE and ASSAY_TOKEN name it too
  --reason TEXT        stands in the decision log, for good
  --json               print the answer of the server

exit codes: as above · 3 taken, but not on disk yet: it acts then (model status says)
`

/** Milliseconds for a load: the gate and the lane may each take `laneStartMs`. */
const LOAD_MS_MAX = 2 * LIMITS.laneStartMs + 5_000

/** Runs one of the live verbs; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function liveModelCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    process.stdout.write(LIVE_HELP)
    return 0
  }
  const [verb, reference, ...rest] = positionals
  const reach = { url: values.url, tokenFile: values['token-file'], answerMsMax: LOAD_MS_MAX }
  const { reason, digest } = values
  if (verb === 'status') {
    if (reference !== undefined || reason !== undefined || digest !== undefined)
      throw usage('`model status` names none')
    return print(await createOperationsClient(reach, process.env).ask('GET', '/v1/models'), values.json)
  }
  const match = /^([^@/]+)@([^@/]+)$/.exec(reference ?? '')
  if (match === null || rest.length > 0) throw usage(`\`model ${verb}\` needs one NAME@VERSION`)
  if (reason === undefined || reason.trim() === '') throw usage(`\`model ${verb}\` needs --reason TEXT`)
  if ((verb === 'approve') !== (digest !== undefined)) {
    throw usage('--digest goes with `model approve`: the bundle that was looked at, as `model status` shows it')
  }
  const path = `/v1/models/${match[1]}/${match[2]}:${verb}`
  const body = { reason, ...(digest !== undefined && { digest }) }
  return print(await createOperationsClient(reach, process.env).ask('POST', path, body), values.json)
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = { url: text, 'token-file': text, reason: text, digest: text, json: flag } as const
  try {
    const help = { ...flag, short: 'h' } as const
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, help } })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function usage(detail: string): AssayError {
  return new AssayError('ASSAY_USAGE', `${detail}; see \`assay model --help\``)
}

function print({ status, body }: OperationsAnswer, json = false): number {
  process.stdout.write(json ? `${JSON.stringify(body)}\n` : modelsText(body))
  return status === 202 ? 3 : 0
}
