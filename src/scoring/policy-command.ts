// `assay policy show | try | set | rollback | list`: what operators read and change of the policy on a running server.
// A change names the revision that it was decided upon, so that nobody's is lost.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { parse as parseYaml } from 'yaml'
import type { Policy } from '../contract/policy.js'
import type { ListEntry, ValueList } from '../contract/rules.js'
import { isoTime, parseDuration } from '../contract/time.js'
import { hashedValue } from '../decision/condition.js'
import { AssayError } from '../errors.js'
import { createOperationsClient, type OperationsAnswer, type OperationsClient } from './operations-client.js'
import { policyFixedText } from './policy-fixed-text.js'
import { policyText, trialText } from './policy-text.js'
import type { Trial } from './policy-trial.js'

const HELP = `assay policy show
    in words what the policy that serves does, its revision and fingerprint; --json: as it is
assay policy try FILE [--last N]
    how FILE differs, and what it would have made of the newest N decisions (10,000); nothing is changed
assay policy set FILE --reason TEXT
    keys that stand in FILE (YAML or JSON; under policy: or alone) replace those that hold, null takes one out, the rest
    stays. What changes live: rules, lists, segments, thresholds, ramp_guards, model_approval, governance
assay policy rollback --reason TEXT
    back to the policy before the last change, at once
assay policy list NAME
assay policy list NAME add VALUE… [--until TIME|DURATION] --reason TEXT
assay policy list NAME remove VALUE… --reason TEXT
    the values of a list; add and take out some. TIME is RFC 3339, DURATION such as 2h: then they leave by themselves.
    Of a hashed list values are given as they are, and sent as SHA-256

  --reason TEXT        stands in the decision log, for good
  --revision N         refuse unless N is the newest revision; default: the one that the command has just read
  --url URL            operations listener (ASSAY_OPERATIONS_URL, else process.operations of the configuration)
  --token-file FILE    a token with the role operator; ASSAY_TOKEN_FILE and ASSAY_TOKEN name it too
  --json               print the answer of the server

exit codes: 0 done, and on disk · 1 refused, with the code on stderr · 2 the command line is not valid
            3 taken, but not on disk yet
`

/** Milliseconds for a trial: more than the server gives itself. */
const TRIAL_MS_MAX = 45_000

type Values = ReturnType<typeof parse>['values']

/** Runs the command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function policyCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const [verb, ...rest] = positionals
  const client = createOperationsClient(
    { url: values.url, tokenFile: values['token-file'], ...(verb === 'try' && { answerMsMax: TRIAL_MS_MAX }) },
    process.env,
  )
  if (verb === 'show' && rest.length === 0) return show(await client.ask('GET', '/v1/policy'), values, true)
  if (verb === 'try' && rest.length === 1) return tryFile(client, rest[0], values)
  if (verb === 'set' && rest.length === 1)
    return change(client, values, 'PUT', '/v1/policy', { policy: readFile(rest[0]) })
  if (verb === 'rollback' && rest.length === 0) return change(client, values, 'POST', '/v1/policy:rollback', {})
  if (verb === 'list' && rest.length > 0) return list(client, values, rest)
  throw usage('expected `policy show`, `try FILE`, `set FILE`, `rollback` or `list NAME`; see `assay policy --help`')
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const options = { last: text, until: text, reason: text, revision: text, url: text, 'token-file': text } as const
  const flags = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, ...flags } })
  } catch (cause) {
    throw usage(cause instanceof Error ? cause.message : String(cause))
  }
}

function usage(detail: string): AssayError {
  return new AssayError('ASSAY_USAGE', detail)
}

/** The keys of a policy in a file. Throws ASSAY_INPUT_INVALID. */
function readFile(file: string): object {
  let value: unknown
  try {
    value = parseYaml(readFileSync(file, 'utf8'), { maxAliasCount: 0, logLevel: 'error' })
  } catch (cause) {
    throw new AssayError('ASSAY_INPUT_INVALID', `${file} cannot be read as YAML or JSON`, { cause })
  }
  const inner = isObject(value) && isObject(value.policy) ? value.policy : value
  if (isObject(inner)) return inner
  throw new AssayError('ASSAY_INPUT_INVALID', `${file} holds no keys of a policy`)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

interface Shown {
  readonly revision: number
  readonly fingerprint: string
  readonly differs_from_config: readonly string[]
  readonly policy: Policy
}

function isShown(body: object): body is Shown {
  return 'policy' in body && 'revision' in body
}

function isTrial(body: object): body is Trial {
  return 'would_change' in body
}

/** `whole`: with what needs a restart, too; a change shows what can have changed. */
function show({ status, body }: OperationsAnswer, { json }: Values, whole = false): number {
  if (json === true || !isShown(body)) process.stdout.write(`${JSON.stringify(body)}\n`)
  else {
    const { revision, fingerprint, differs_from_config: differs, policy } = body
    const origin = differs.length === 0 ? 'as configured' : `differs from the configuration in ${differs.join(', ')}`
    const live = policyText(policy, Date.now())
    const text = whole
      ? `What changes live (\`assay policy set\`):\n${live}What needs a restart:\n${policyFixedText(policy)}`
      : live
    process.stdout.write(`revision ${revision}, ${fingerprint}, ${origin}\n${text}`)
  }
  return status === 202 ? 3 : 0
}

async function tryFile(client: OperationsClient, file: string, { last, json }: Values): Promise<number> {
  if (last !== undefined && !/^[1-9]\d{0,8}$/.test(last)) throw usage('--last must be an integer from 1 on')
  const path = `/v1/policy?dry_run=true${last === undefined ? '' : `&last=${last}`}`
  const { body } = await client.ask('PUT', path, { policy: readFile(file), reason: 'a trial' })
  const text = json === true || !isTrial(body) ? `${JSON.stringify(body)}\n` : trialText(body, Date.now())
  process.stdout.write(text)
  return 0
}

async function change(
  client: OperationsClient,
  values: Values,
  method: 'PUT' | 'POST',
  path: string,
  body: object,
  read: string | null = null,
): Promise<number> {
  const { reason = '', revision } = values
  if (reason.trim() === '') throw usage('a change needs --reason TEXT: it stands in the decision log')
  if (revision !== undefined && !/^\d{1,15}$/.test(revision)) throw usage('--revision must be an integer ≥ 0')
  const tag = revision === undefined ? (read ?? (await client.ask('GET', '/v1/policy')).tag) : `"${revision}"`
  return show(await client.ask(method, path, { ...body, reason }, tag), values)
}

async function list(client: OperationsClient, values: Values, [name, verb, ...given]: string[]): Promise<number> {
  const { body, tag } = await client.ask('GET', '/v1/policy')
  const { lists = {} } = isShown(body) ? body.policy : {}
  if (!Object.hasOwn(lists, name)) {
    throw new AssayError('ASSAY_INPUT_INVALID', `no list ${name}; there is ${Object.keys(lists).join(', ') || 'none'}`)
  }
  const held = lists[name]
  if (verb === undefined) {
    process.stdout.write(values.json === true ? `${JSON.stringify(held)}\n` : listText(held))
    return 0
  }
  if ((verb !== 'add' && verb !== 'remove') || given.length === 0)
    throw usage('expected `list NAME add | remove VALUE…`')
  const wanted = given.map((text) => valueOf(text, held))
  const others = held.values.filter(({ value }) => !wanted.includes(value))
  if (verb === 'remove' && others.length === held.values.length) {
    throw new AssayError('ASSAY_INPUT_INVALID', `the list ${name} holds none of them`)
  }
  const until = verb === 'add' && values.until !== undefined ? { until: timeOf(values.until) } : {}
  const added: ListEntry[] = verb === 'add' ? wanted.map((value) => ({ value, ...until })) : []
  const path = `/v1/lists/${encodeURIComponent(name)}`
  return change(client, values, 'PUT', path, { ...held, values: [...others, ...added] }, tag)
}

function listText({ values }: ValueList): string {
  return values.map(({ value, until }) => `${value}${until === undefined ? '' : `  until ${until}`}\n`).join('')
}

/** As the list keeps its values: as SHA-256, as numbers where it holds such, else as they are. */
function valueOf(text: string, { values, hashed }: ValueList): string | number {
  if (hashed !== undefined) return hashedValue(text)
  return typeof values.at(0)?.value === 'number' ? Number(text) : text
}

function timeOf(text: string): string {
  const ms = parseDuration(text)
  return ms === null ? text : isoTime(Date.now() + ms)
}
