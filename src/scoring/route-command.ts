// `assay route show | set | rollback | resume | status` and `assay breaker open | panic | release`: what operators read
// and change on a running server. A change names the revision that it was decided upon, so that nobody's is lost.
import { parseArgs } from 'node:util'
import { parseDuration } from '../contract/time.js'
import { AssayError } from '../errors.js'
import { createOperationsClient, type OperationsAnswer, type OperationsClient } from './operations-client.js'
import { nameOf, routesText, statusText } from './route-text.js'

const SERVER = `  --url URL            operations listener (ASSAY_OPERATIONS_URL, else process.operations of the configuration);
                       https where it has TLS: NODE_EXTRA_CA_CERTS names the file of an authority of your own
  --token-file FILE    a token with the role operator; ASSAY_TOKEN_FILE and ASSAY_TOKEN name it too. Needed where the
                       listener has tokens; reading takes any role
  --json               print the answer of the server

exit codes: 0 done, and on disk · 1 refused, with the code on stderr · 2 the command line is not valid
            3 taken, but not on disk yet: a rollback or a forced model acts, other changes will (route status says);
              or of a fleet by this server alone, which Redis does not answer: the answer says so
`
const ROUTE_HELP = `assay route show
    champion, challenger, share and revision that serve now
assay route status [--url URL]…
    for each server: its revision, what is forced, the ramp and what it has counted, who changed the routes last; of a
    fleet (process.state.kind: redis) also whether Redis is seen, and every server with the revision that it serves
assay route set [--champion M] [--challenger M|none] [--share S] [--experiment E] --reason TEXT [--revision N]
assay route set [--champion M] [--challenger M] --to S --then S [--then S]… --every DURATION --reason TEXT
    change what is named, leave the rest. M is name@version of a loaded model, S a percentage (5%) or 1/10,000 (500);
    --to is --share. With --then the server raises the share by itself, a step each DURATION (30s, 30m, 2h), and only
    once it has seen enough decisions; it stops by itself where a guard of the policy (ramp_guards) trips
assay route rollback --reason TEXT
    back to the routes before the last change, at once; ends a ramp
assay route resume --reason TEXT
    let a ramp go on that a restart or a forced model has paused

Servers that share their routes (process.state.kind: redis) are asked through any one of them.

  --reason TEXT        stands in the decision log, for good
  --revision N         refuse unless N is the newest revision; default: the one that the command has just read
${SERVER}`
const BREAKER_HELP = `assay breaker open NAME@VERSION --reason TEXT
    hold the breaker of a model open: the next in line answers, with the fallback reason forced, at once
assay breaker panic --reason TEXT
    the baseline answers everything, at once
assay breaker release [NAME@VERSION] --reason TEXT
    give a model back, or everything that is forced; its breaker closes once golden rows match

All of it is recorded like a change of routes, kept over restarts and shown by \`assay route status\`. Of servers that
share their routes all obey; where Redis does not answer, \`open\` and \`panic\` act on the asked one alone (code 3)
until they are released there.
  --reason TEXT        stands in the decision log, for good
${SERVER}`

type Values = ReturnType<typeof parse>['values']

/** Options that only some verbs take. */
const TAKEN: Readonly<Record<string, readonly string[]>> = {
  show: [],
  status: [],
  set: ['champion', 'challenger', 'share', 'to', 'then', 'every', 'experiment', 'reason', 'revision'],
  ...{ rollback: ['reason', 'revision'], resume: ['reason', 'revision'] },
  ...{ open: ['reason'], panic: ['reason'], release: ['reason'] },
}
const EVERYWHERE = ['url', 'token-file', 'json', 'help']

/** Runs `assay route`; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function routeCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) return help(ROUTE_HELP)
  const [verb = '', ...rest] = positionals
  if (!['show', 'status', 'set', 'rollback', 'resume'].includes(verb) || rest.length > 0) {
    throw usage('expected `route show`, `set`, `rollback`, `resume` or `status`; see `assay route --help`')
  }
  checkOptions(`route ${verb}`, verb, values)
  if (verb === 'status') return status(values)
  const client = clientOf(values)
  if (verb === 'show') return print(await client.ask('GET', '/v1/routes'), values, routesText)
  const reason = reasonOf(verb, values)
  const wanted = verb === 'set' ? wantedOf(values) : {}
  const tag = values.revision === undefined ? (await client.ask('GET', '/v1/routes')).tag : tagOf(values.revision)
  const [method, path] = verb === 'set' ? (['PUT', ''] as const) : (['POST', `:${verb}`] as const)
  return print(await client.ask(method, `/v1/routes${path}`, { ...wanted, reason }, tag), values, routesText)
}

/** Runs `assay breaker`; as `routeCommand`. */
export async function breakerCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) return help(BREAKER_HELP)
  const [verb = '', model, ...rest] = positionals
  const most = verb === 'panic' ? 0 : 1
  const count = positionals.length - 1
  if (
    !['open', 'panic', 'release'].includes(verb) ||
    rest.length > 0 ||
    count > most ||
    (verb === 'open' && count < 1)
  ) {
    throw usage('expected `breaker open NAME@VERSION`, `breaker panic` or `breaker release [NAME@VERSION]`')
  }
  checkOptions(`breaker ${verb}`, verb, values)
  const body = { reason: reasonOf(verb, values), ...(model !== undefined && { model }) }
  const path = `/v1/routes:${verb === 'release' ? 'release' : 'force'}`
  return print(await clientOf(values).ask('POST', path, body), values, statusText)
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const many = { type: 'string', multiple: true } as const
  const flag = { type: 'boolean' } as const
  const routes = { champion: text, challenger: text, share: text, to: text, then: many, every: text, experiment: text }
  const options = { ...routes, reason: text, revision: text, url: many, 'token-file': text, json: flag } as const
  try {
    const help = { ...flag, short: 'h' } as const
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, help } })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function checkOptions(command: string, verb: string, values: Values): void {
  const foreign = Object.keys(values).find((name) => !EVERYWHERE.includes(name) && !TAKEN[verb].includes(name))
  if (foreign !== undefined) throw usage(`\`${command}\` takes no --${foreign}`)
  if (verb !== 'status' && (values.url?.length ?? 0) > 1) throw usage(`\`${command}\` takes one --url`)
}

function help(text: string): number {
  process.stdout.write(text)
  return 0
}

function usage(detail: string): AssayError {
  return new AssayError('ASSAY_USAGE', detail)
}

function clientOf(values: Values, url = values.url?.[0]): OperationsClient {
  return createOperationsClient({ url, tokenFile: values['token-file'] }, process.env)
}

function reasonOf(verb: string, { reason = '' }: Values): string {
  if (reason.trim() === '') throw usage(`\`${verb}\` needs --reason TEXT: it stands in the decision log`)
  return reason
}

function tagOf(text: string): string {
  if (!/^\d{1,15}$/.test(text)) throw usage('--revision must be an integer ≥ 0')
  return `"${text}"`
}

/** The body of a `set` but for its reason. */
function wantedOf(values: Values): object {
  const { champion, challenger, share, to, then, every, experiment } = values
  if (share !== undefined && to !== undefined) throw usage('--to is --share: give one of them')
  if ((then === undefined) !== (every === undefined)) throw usage('a ramp needs both --then S and --every DURATION')
  const first = share ?? to
  const wanted = {
    ...(champion !== undefined && { champion }),
    ...(challenger !== undefined && { challenger: challenger === 'none' ? null : challenger }),
    ...(first !== undefined && { share: shareOf(first) }),
    ...(experiment !== undefined && { experiment }),
    ...(then !== undefined &&
      every !== undefined && { ramp: { then: then.map(shareOf), every_ms: durationOf(every) } }),
  }
  if (Object.keys(wanted).length > 0) return wanted
  throw usage('`route set` needs what to set: --champion, --challenger, --share or --experiment')
}

/** 5%, 0.25% or 500: in 1/10,000. */
function shareOf(text: string): number {
  const percent = /^(\d{1,3}(?:\.\d{1,2})?)%$/.exec(text)
  const share = percent !== null ? Math.round(Number(percent[1]) * 100) : /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (share >= 0 && share <= 10_000) return share
  throw usage('a share is 0% to 100%, in steps of 0.01%, or 0 to 10000 in 1/10,000')
}

function durationOf(text: string): number {
  const ms = parseDuration(text)
  if (ms === null || ms < 1_000) throw usage('--every must be a duration such as 30s, 30m or 2h')
  return ms
}

type Text = (body: OperationsAnswer['body']) => string

function print({ status, body }: OperationsAnswer, { json }: Values, text: Text): number {
  process.stdout.write(json === true ? `${JSON.stringify(body)}\n` : text(body))
  return status === 202 ? 3 : 0
}

/** Every server that can be asked is shown; one that cannot is named, and the exit code says so. */
async function status(values: Values): Promise<number> {
  let code = 0
  const urls: (string | undefined)[] = values.url ?? [undefined]
  for (const url of urls) {
    const client = clientOf(values, url)
    try {
      const { body } = await client.ask('GET', '/v1/routes')
      const line = JSON.stringify({ url: client.url, ...body })
      process.stdout.write(values.json === true ? `${line}\n` : `${client.url}\n${statusText(body)}`)
    } catch (error) {
      if (!(error instanceof AssayError) || urls.length === 1) throw error
      process.stderr.write(`${nameOf(error.code)}: ${error.message}\n`)
      code = 1
    }
  }
  return code
}
