// The configuration: built-in defaults, then one YAML or JSON file, then the environment; checked as a whole, frozen.
// Two halves: `process` may differ from replica to replica, `policy` may not. Unknown keys are refused with the nearest
// known one. Secrets stand in files that this configuration names, never in it.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { parse as parseYaml, stringify as stringifyYaml } from 'yaml'
import { KeysFile, keysFaults } from './contract/keys.js'
import { policyFaults } from './contract/policy-check.js'
import { Policy } from './contract/policy.js'
import { PROVIDERS_DEFAULTS, ProvidersConfig, providersFaults } from './contract/providers.js'
import { shapeFaults } from './contract/shape.js'
import { silenceFaults, Silences } from './contract/silence.js'
import { STATE_DEFAULTS, StateConfig, stateFaults } from './contract/state.js'
import { ListenerTls } from './contract/tls.js'
import { isLoopback } from './contract/address.js'
import { brokersFaults, EVENTS_DEFAULTS, EventsConfig } from './contract/kafka.js'
import { KAFKA_DEFAULTS, KafkaConfig, kafkaFaults } from './contract/kafka.js'
import { AssayError, type InputFault } from './errors.js'

const Port = Type.Integer({ minimum: 0, maximum: 65_535 })
const File = Type.Union([Type.String({ minLength: 1 }), Type.Null()])

export const ProcessConfig = Type.Object(
  {
    http: Type.Object(
      { host: Type.String({ minLength: 1 }), port: Port, insecure: Type.Boolean(), keys_file: File, tls: ListenerTls },
      { additionalProperties: false },
    ),
    operations: Type.Object(
      {
        host: Type.String({ minLength: 1 }),
        port: Port,
        insecure: Type.Boolean(),
        tokens_file: File,
        tls: ListenerTls,
      },
      { additionalProperties: false },
    ),
    data_dir: Type.String({ minLength: 1 }),
    models_dir: Type.String({ minLength: 1 }),
    providers: ProvidersConfig,
    state: StateConfig,
    log: Type.Object(
      {
        disk_bytes_max: Type.Integer({ minimum: 1 << 20 }),
        /** At the bound: take no more records, or let the oldest segments go unarchived, counted as dropped. */
        on_full: Type.Union([Type.Literal('refuse'), Type.Literal('drop_oldest')]),
        /** null: `archive` under data_dir. Segments stay there for so many days; 0 keeps them for ever. */
        archive_dir: File,
        archive_days: Type.Integer({ minimum: 0, maximum: 36_500 }),
        unready_ms: Type.Integer({ minimum: 100, maximum: 600_000 }),
        write_version: Type.Literal(1),
      },
      { additionalProperties: false },
    ),
    logger: Type.Object(
      {
        level: Type.Union(
          ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'].map((level) => Type.Literal(level)),
        ),
      },
      { additionalProperties: false },
    ),
    drain_ms: Type.Integer({ minimum: 0, maximum: 600_000 }),
    kafka: KafkaConfig,
    governance: Type.Object(
      {
        host: Type.String({ minLength: 1 }),
        port: Port,
        insecure: Type.Boolean(),
        tokens_file: File,
        tls: ListenerTls,
        /** null: `governance` under data_dir. Another volume than the log's is better. */
        data_dir: File,
        /** Days that rows stay in the store, and days that the lake's partitions stay; 0 keeps them for ever. */
        retention_days: Type.Integer({ minimum: 0, maximum: 36_500 }),
        lake_retention_days: Type.Integer({ minimum: 0, maximum: 36_500 }),
        lake: Type.Boolean(),
        /** The sidecar stops writing below it; the decision log holds what waits. */
        disk_free_bytes_min: Type.Integer({ minimum: 0 }),
        memory_bytes_max: Type.Integer({ minimum: 64 << 20 }),
        threads: Type.Integer({ minimum: 1, maximum: 64 }),
        /** Records that may stand behind the newest snapshot of the server's state; 0: none is made. */
        snapshot_records: Type.Integer({ minimum: 0 }),
        /**
         * What the sidecar gets of cores that others want: nothing (SCHED_IDLE, by util-linux's chrt), or a tenth (nice
         * 10), for machines whose cores are busy for longer than it may be behind.
         */
        priority: Type.Union([Type.Literal('idle'), Type.Literal('nice')]),
        /** name@version of the models to compare with the champion; null: every ONNX bundle, up to the bound. */
        shadows: Type.Union([Type.Array(Type.String({ pattern: '^[^@/]+@[^@/]+$' }), { maxItems: 64 }), Type.Null()]),
        alerts: Type.Object(
          {
            /** Share of decisions that a shadow may flip before somebody is told. */
            flip_share_max: Type.Number({ minimum: 0, maximum: 1 }),
            /** Seconds that the sidecar may be behind the log before somebody is told. */
            lag_seconds_max: Type.Integer({ minimum: 1, maximum: 86_400 }),
            /** Alerts that nobody is told of, by record time; they are kept and shown all the same. */
            silences: Silences,
            webhook: Type.Union([
              Type.Object(
                {
                  url: Type.String({ pattern: '^https?://' }),
                  /** `webhook`: what Alertmanager sends; `v2`: what it takes at /api/v2/alerts. */
                  format: Type.Union([Type.Literal('webhook'), Type.Literal('v2')]),
                  /** Holds the value of the Authorization header. */
                  authorization_file: File,
                },
                { additionalProperties: false },
              ),
              Type.Null(),
            ]),
          },
          { additionalProperties: false },
        ),
        kafka: EventsConfig,
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
)
export type ProcessConfig = Static<typeof ProcessConfig>

export const ConfigSchema = Type.Object({ process: ProcessConfig, policy: Policy }, { additionalProperties: false })
export type Config = Static<typeof ConfigSchema>

export type Environment = Readonly<Record<string, string | undefined>>

/** Where models/ and the other files of the package stand: one level above the compiled tree. */
export const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')

/** The version in package.json. */
export function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8'))
  return isTree(manifest) ? String(manifest.version) : 'unknown'
}

/** Defaults of the process half; relative directories are those of the working directory. */
const PROCESS_DEFAULTS: ProcessConfig = {
  http: { host: '127.0.0.1', port: 8080, insecure: false, keys_file: null, tls: null },
  operations: { host: '127.0.0.1', port: 8081, insecure: false, tokens_file: null, tls: null },
  ...{ data_dir: './data', models_dir: path.join(packageRoot, 'models'), drain_ms: 10_000 },
  providers: PROVIDERS_DEFAULTS,
  state: STATE_DEFAULTS,
  log: {
    ...{ disk_bytes_max: 64 * 2 ** 30, on_full: 'refuse', archive_dir: null, archive_days: 0 },
    ...{ unready_ms: 5_000, write_version: 1 },
  },
  logger: { level: 'info' },
  kafka: KAFKA_DEFAULTS,
  governance: {
    ...{ host: '127.0.0.1', port: 8090, insecure: false, tokens_file: null, tls: null, data_dir: null },
    ...{ retention_days: 90, lake_retention_days: 0, lake: true, disk_free_bytes_min: 2 ** 30 },
    ...{ memory_bytes_max: 512 << 20, threads: 2, priority: 'idle', snapshot_records: 100_000 },
    ...{ shadows: null, alerts: { flip_share_max: 0.02, lag_seconds_max: 60, silences: [], webhook: null } },
    kafka: EVENTS_DEFAULTS,
  },
}

/** Maps whose keys are the user's own: a file that gives one replaces it as a whole. */
const REPLACED = new Set(['/policy/currencies/list', '/policy/thresholds', '/policy/lists'])

/** Reads, merges, checks and freezes. Throws ASSAY_CONFIG_INVALID with every fault and its path. */
export function loadConfig(options: { file?: string; env: Environment }): Config {
  const { env } = options
  const file = options.file ?? env.ASSAY_CONFIG
  const reference = readFile(path.join(packageRoot, 'models/policy.yaml'))
  const given = file === undefined || file === '' ? {} : readFile(file)
  const merged = merge({ process: PROCESS_DEFAULTS, policy: ruledAsGiven(reference, given) }, given, '')
  const config = applyEnvironment(merged, env)
  checkShape(ConfigSchema, config, '')
  const checked = config as Config
  const faults = [
    ...policyFaults(checked.policy),
    ...listenerFaults(checked.process),
    ...kafkaFaults(checked.process.kafka),
    ...brokersFaults(checked.process.governance.kafka, '/process/governance/kafka'),
    ...providersFaults(checked.process.providers),
    ...stateFaults(checked.process.state),
    ...silenceFaults(checked.process.governance.alerts.silences),
  ]
  if (faults.length > 0) throw invalid(faults)
  return deepFreeze(checked)
}

/** Reads a file of keys. Throws ASSAY_CONFIG_INVALID; the error names the file and the path, never a value. */
export function loadKeys(file: string): KeysFile {
  const keys = readFile(file)
  checkShape(KeysFile, keys, '')
  const faults = keysFaults(keys as KeysFile)
  if (faults.length > 0) throw invalid(faults)
  return keys as KeysFile
}

function invalid(errors: readonly InputFault[], cause?: unknown): AssayError {
  const list = errors.map((fault) => `${fault.path === '' ? '/' : fault.path}: ${fault.message}`).join('; ')
  return new AssayError('ASSAY_CONFIG_INVALID', list, { errors, cause })
}

function readFile(file: string): unknown {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw invalid([{ path: '', message: `the file ${file} cannot be read` }], cause)
  }
  try {
    return parseYaml(text, { maxAliasCount: 0, prettyErrors: false, logLevel: 'error' }) ?? {}
  } catch (cause) {
    throw invalid([{ path: '', message: `the file ${file} is neither YAML nor JSON` }], cause)
  }
}

type Tree = Record<string, unknown>

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The reference policy as a file is laid over it. Its rules, lists, segments and cuts belong together, and to its
 * fields, features and base currency: a file that has any of these of its own takes none of those.
 */
function ruledAsGiven(reference: unknown, file: unknown): unknown {
  const partOf = (tree: unknown, key: string): unknown => (isTree(tree) ? tree[key] : undefined)
  const given = partOf(file, 'policy')
  const own = [
    ...['rules', 'lists', 'segments'].map((key) => partOf(given, key)),
    partOf(partOf(given, 'schema'), 'fields'),
    partOf(partOf(given, 'catalogue'), 'features'),
    partOf(partOf(given, 'currencies'), 'base'),
  ]
  if (!isTree(reference) || own.every((part) => part === undefined)) return reference
  const { rules: _, lists: __, segments: ___, ...rest } = reference
  return { ...rest, thresholds: {} }
}

/** `over` laid on `base`: objects key by key, everything else as a whole. */
function merge(base: unknown, over: unknown, at: string): unknown {
  if (!isTree(base) || !isTree(over) || REPLACED.has(at)) return over
  const result: Tree = { ...base }
  for (const [key, value] of Object.entries(over)) {
    define(result, key, Object.hasOwn(base, key) ? merge(base[key], value, `${at}/${key}`) : value)
  }
  return result
}

function define(tree: Tree, key: string, value: unknown): void {
  Object.defineProperty(tree, key, { value, enumerable: true, writable: true, configurable: true })
}

/** ASSAY_PROCESS__HTTP__PORT=8080 → /process/http/port; ASSAY_DATA_DIR and ASSAY_MODELS_DIR are short for theirs. */
function applyEnvironment(base: unknown, env: Environment): unknown {
  let result = base
  const set = (keys: readonly string[], raw: string) => (result = setAt(result, keys, raw))
  if (env.ASSAY_DATA_DIR) set(['process', 'data_dir'], env.ASSAY_DATA_DIR)
  if (env.ASSAY_MODELS_DIR) set(['process', 'models_dir'], env.ASSAY_MODELS_DIR)
  for (const [name, raw] of Object.entries(env)) {
    if (name.startsWith('ASSAY_') && name.includes('__') && raw !== undefined) set(name.slice(6).split('__'), raw)
  }
  return result
}

function setAt(tree: unknown, keys: readonly string[], raw: string): unknown {
  const [first, ...rest] = keys
  if (first === undefined) return typeof tree === 'string' ? raw : scalar(raw, tree === null)
  const source = isTree(tree) ? tree : {}
  const key = Object.keys(source).find((known) => known.toLowerCase() === first.toLowerCase()) ?? first.toLowerCase()
  const result: Tree = { ...source }
  define(result, key, setAt(source[key], rest, raw))
  return result
}

/** The value that an environment variable means; where a file name is allowed, only `null` is not a text. */
function scalar(raw: string, isFile: boolean): unknown {
  if (isFile) return raw === 'null' ? null : raw
  try {
    return parseYaml(raw, { maxAliasCount: 0, logLevel: 'error' })
  } catch {
    return raw
  }
}

function checkShape(schema: TSchema, value: unknown, prefix: string): void {
  const faults = shapeFaults(schema, value, prefix)
  if (faults.length > 0) throw invalid(faults)
}

function listenerFaults(process: ProcessConfig): InputFault[] {
  const open = (host: string, key: string | null, insecure: boolean) => !isLoopback(host) && key === null && !insecure
  const message = (key: string) => `beyond loopback only with ${key}, or with insecure: true written out`
  const { http, operations, governance } = process
  const faults: InputFault[] = []
  if (open(http.host, http.keys_file, http.insecure))
    faults.push({ path: '/process/http/host', message: message('keys_file') })
  if (open(operations.host, operations.tokens_file, operations.insecure)) {
    faults.push({ path: '/process/operations/host', message: message('tokens_file') })
  }
  if (open(governance.host, governance.tokens_file, governance.insecure)) {
    faults.push({ path: '/process/governance/host', message: message('tokens_file') })
  }
  // The binding would ask for a certificate, and let in whoever has none.
  for (const [name, { tls }] of Object.entries({ http, operations })) {
    if ((tls?.ca_file ?? null) === null) continue
    const noClients = 'this listener cannot require client certificates: a proxy in front of it can (nginx, Envoy)'
    faults.push({ path: `/process/${name}/tls/ca_file`, message: noClients })
  }
  return faults
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value)
    for (const member of Object.values(value)) deepFreeze(member)
  }
  return value
}

export interface CommandIo {
  readonly env: Environment
  out(text: string): void
  err(text: string): void
}

const USAGE = `assay config check FILE [--json]
    check a configuration file, with the environment applied
assay config print [--config FILE] [--json]
    show the effective configuration; secrets stand in files that it names, and are not read

exit codes: 0 valid · 1 refused, each fault with its path on stderr · 2 the command line is not valid
`

/** Null where an option is unknown or lacks its value. */
function parseConfigArgs(args: readonly string[]) {
  const options = {
    config: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options })
  } catch {
    return null
  }
}

/** `assay config check FILE | print`. Returns the exit code: 0, 1 for a configuration that is refused, 2 for misuse. */
export function configCommand(args: readonly string[], io: CommandIo): number {
  const parsed = parseConfigArgs(args)
  if (parsed?.values.help === true) {
    io.out(USAGE)
    return 0
  }
  const [verb, given, ...rest] = parsed?.positionals ?? []
  const isCheck = verb === 'check' && given !== undefined
  if (parsed === null || rest.length > 0 || !(isCheck || (verb === 'print' && given === undefined))) {
    io.err(`ASSAY_USAGE: expected \`config check FILE\` or \`config print\`; see \`assay config --help\`\n`)
    return 2
  }
  const file = isCheck ? given : parsed.values.config
  const json = parsed.values.json === true
  try {
    const config = loadConfig(file === undefined ? { env: io.env } : { file, env: io.env })
    if (isCheck) io.out(json ? '{"ok":true}\n' : 'the configuration is valid\n')
    else io.out(json ? `${JSON.stringify(config, null, 2)}\n` : stringifyYaml(config))
    return 0
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    const faults = error.errors.map((fault) => `  ${fault.path || '/'}: ${fault.message}\n`)
    io.err(
      `${error.code}: ${faults.length === 1 ? faults[0].trimStart() : `${faults.length} faults\n${faults.join('')}`}`,
    )
    return 1
  }
}
