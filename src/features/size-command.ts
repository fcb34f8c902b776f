// The command line of `assay features size`: a load in, the memory of the catalogue's state out. Exit codes: 0 done,
// 1 an error with its code, 2 misuse.
import { parseArgs } from 'node:util'
import { durationText } from '../contract/time.js'
import { AssayError } from '../errors.js'
import { LIMITS } from '../limits.js'
import { effectiveSpec, readSpec } from './build-spec.js'
import { type CompiledCatalogue, compileCatalogue } from './compile.js'
import { type BucketMemory, estimateMemory, type FieldMemory, type Load, type MemoryReport } from './memory.js'

export const SIZE_HELP = `assay features size --rate R --entities N [--spec FILE] [--label-share S] [--json]

The memory of the feature state once every window is full, computed from how the state lays its data out.

  --rate R              transactions a second
  --entities N          how many different customers, terminals … pay: one number for every entity field of the
                        catalogue, or customer_id=450000,terminal_id=90000
  --spec FILE           a policy (JSON or YAML), or a catalogue alone; default: the policy of the configuration
  --label-share S       labels for each transaction, where a feature is a label rate; default 0.01
  --json                print the figures as JSON
  --help                this text

Assumed: transactions come at random, spread evenly over the entities, and each names one of every field. The state is
part of the memory of the server: models, id index and Node.js come on top. Every transaction has an issuer's answer,
where a feature asks for it. Where a bound of the state holds less than
the load asks for, it is named, and the figure is the one at the bound.

exit codes: 0 done · 1 an error with its code on stderr · 2 the command line is not valid
`

const OPTIONS = {
  rate: { type: 'string' },
  entities: { type: 'string' },
  spec: { type: 'string' },
  'label-share': { type: 'string', default: '0.01' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** Runs the command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function sizeCommand(args: readonly string[]): Promise<number> {
  const values = parse(args)
  if (values.help) {
    process.stdout.write(SIZE_HELP)
    return 0
  }
  const { rate, entities } = values
  if (rate === undefined || entities === undefined) {
    throw new AssayError('ASSAY_USAGE', '--rate and --entities are needed; --help says more')
  }
  const spec = values.spec === undefined ? effectiveSpec(process.env) : await readSpec(values.spec, 'EUR')
  const compiled = compileCatalogue(spec.catalogue, spec.schema, spec.currencies)
  const load: Load = {
    rate: number(rate, '--rate'),
    entities: readEntities(entities, compiled),
    labelShare: number(values['label-share'], '--label-share'),
  }
  const report = estimateMemory(compiled, load, LIMITS)
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : describe(report))
  return 0
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : 'unknown option', { cause })
  }
}

function number(text: string, name: string): number {
  const value = text.trim() === '' ? NaN : Number(text)
  if (Number.isFinite(value) && value > 0) return value
  throw new AssayError('ASSAY_USAGE', `${name}: a number above 0`)
}

/** Whole entities of every entity field of the catalogue. */
function readEntities(text: string, { plan }: CompiledCatalogue): Map<string, number> {
  const names = [...new Set([...plan.fields, ...plan.buckets].map(({ name }) => name))]
  const entities = new Map<string, number>()
  if (!text.includes('=')) {
    for (const name of names) entities.set(name, count(text, '--entities'))
    return entities
  }
  for (const part of text.split(',')) {
    const at = part.indexOf('=')
    const name = part.slice(0, at).trim()
    if (!names.includes(name)) {
      throw new AssayError(
        'ASSAY_USAGE',
        `--entities: ${name} is no entity of the catalogue; one of ${names.join(', ')}`,
      )
    }
    entities.set(name, count(part.slice(at + 1), `--entities ${name}`))
  }
  const absent = names.filter((name) => !entities.has(name))
  if (absent.length > 0) throw new AssayError('ASSAY_USAGE', `--entities: ${absent.join(', ')} is missing`)
  return entities
}

function count(text: string, name: string): number {
  const value = number(text, name)
  if (Number.isSafeInteger(value)) return value
  throw new AssayError('ASSAY_USAGE', `${name}: a whole number above 0`)
}

function describe({ fields, buckets, labels, bytes, bytes_max: most }: MemoryReport): string {
  const lines = [
    ...fields.flatMap(describeField),
    ...buckets.flatMap(describeBuckets),
    `labels: ${labels.held} held, ${mebibytes(labels.bytes)}`,
    `in all ${mebibytes(bytes)}; never more than ${mebibytes(most)}, whatever the load`,
  ]
  return `${lines.join('\n')}\n`
}

function describeField(field: FieldMemory): string[] {
  const { bytes } = field
  const all = bytes.events + bytes.entities + bytes.ids
  const known = (field.known_share * 100).toPrecision(3)
  const events = `${field.events_each.toPrecision(3)} of ${field.events_each_whole.toPrecision(3)} events each`
  const each = `${events} in ${field.slots_each.toPrecision(3)} slots`
  return [
    `${field.field}: ${mebibytes(all)}; events are held for ${(field.held_ms / 86_400_000).toPrecision(3)} days`,
    `  entities ${field.entities} (${known} % of those that pay), ${each} of ${field.bytes_per_slot} bytes`,
    `  events ${mebibytes(bytes.events)}, entities ${mebibytes(bytes.entities)}, ids ${mebibytes(bytes.ids)}`,
    ...field.bounds.map((bound) => `  ${bound} is reached, ${REACHED[bound]}`),
  ]
}

function describeBuckets(each: BucketMemory): string[] {
  const known = (each.known_share * 100).toPrecision(3)
  return [
    `${each.field}, in ${each.buckets_each} buckets of ${durationText(each.bucketed_ms)}: ${mebibytes(each.bytes)}`,
    `  entities ${each.entities} (${known} % of those that pay), ${each.bytes_each} bytes each`,
    ...each.bounds.map((bound) => `  ${bound} is reached, ${REACHED[bound]}`),
  ]
}

const REACHED = {
  entitiesMax: 'the least recently seen leave, and their windows begin anew; the catalogue may set bounds.entities_max',
  eventsPerEntityMax: `${LIMITS.eventsPerEntityMax} events of one entity: its windows are truncated; buckets hold none`,
  featureEventsMax: 'the least recently seen entities leave; the catalogue may set bounds.events_max',
} as const

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
