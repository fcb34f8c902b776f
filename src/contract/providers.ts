// Execution providers of ONNX Runtime, as a configuration names them: on what lanes run, in which order, with which of
// the options that onnxruntime-node takes, and what is done where one is missing. Other providers of ONNX Runtime (of
// browsers and phones, OpenVINO) are not in that package, which would pass over them in silence: they are refused.
import { type Static, Type } from '@sinclair/typebox'
import type { InputFault } from '../errors.js'

const NAMES = ['cpu', 'cuda', 'tensorrt', 'dml', 'coreml', 'webgpu', 'qnn'] as const
export type ProviderName = (typeof NAMES)[number]

const Device = Type.Integer({ minimum: 0, maximum: 255 })

/** A provider with options; each is one of the package's own (`OPTIONS`). */
const ProviderOptions = Type.Object(
  {
    name: Type.Union(NAMES.map((name) => Type.Literal(name))),
    deviceId: Type.Optional(Device),
    useArena: Type.Optional(Type.Boolean()),
    coreMlFlags: Type.Optional(Type.Integer({ minimum: 0, maximum: 0x3f })),
    preferredLayout: Type.Optional(Type.Union([Type.Literal('NCHW'), Type.Literal('NHWC')])),
    forceCpuNodeNames: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 64 })),
    backendType: Type.Optional(Type.Union([Type.Literal('cpu'), Type.Literal('htp')])),
    backendPath: Type.Optional(Type.String({ minLength: 1 })),
    enableFp16Precision: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)
export type Provider = Static<typeof ProviderOptions>

/** Which provider takes which option. */
const OPTIONS: Readonly<Record<Exclude<keyof Provider, 'name'>, readonly ProviderName[]>> = {
  deviceId: ['cuda', 'tensorrt', 'dml'],
  useArena: ['cpu'],
  coreMlFlags: ['coreml'],
  preferredLayout: ['webgpu'],
  forceCpuNodeNames: ['webgpu'],
  backendType: ['qnn'],
  backendPath: ['qnn'],
  enableFp16Precision: ['qnn'],
}

/** The first that can run a part of the model gets it; what none of them can is the CPU's. */
const Providers = Type.Array(Type.Union([...NAMES.map((name) => Type.Literal(name)), ProviderOptions]), {
  minItems: 1,
  maxItems: NAMES.length,
})

export const ProvidersConfig = Type.Object(
  {
    /** Where one is missing: refuse the model (and the start), or run it on the CPU and say so. */
    on_missing: Type.Union([Type.Literal('refuse'), Type.Literal('cpu')]),
    default: Providers,
    /** By name@version, in place of the default. */
    models: Type.Record(Type.String({ pattern: '^[^@/]+@[^@/]+$' }), Providers, { additionalProperties: false }),
  },
  { additionalProperties: false },
)
export type ProvidersConfig = Static<typeof ProvidersConfig>

export const PROVIDERS_DEFAULTS: ProvidersConfig = { on_missing: 'refuse', default: ['cpu'], models: {} }

/** What a lane is to run on. */
export interface LaneProviders {
  readonly list: readonly Provider[]
  readonly onMissing: ProvidersConfig['on_missing']
}

export const CPU_ALONE: LaneProviders = { list: [{ name: 'cpu' }], onMissing: 'refuse' }

/** What a lane runs on: the first provider of its list, or the CPU where that is missing and why. */
export interface ProviderInUse {
  readonly name: ProviderName
  readonly missing: string | null
}

export function providersFor(config: ProvidersConfig, reference: string): LaneProviders {
  const listed = Object.hasOwn(config.models, reference) ? config.models[reference] : config.default
  return { list: listed.map(withName), onMissing: config.on_missing }
}

const withName = (one: ProviderName | Provider): Provider => (typeof one === 'string' ? { name: one } : one)

/** Faults that the schema cannot say. */
export function providersFaults({ default: own, models }: ProvidersConfig): InputFault[] {
  const lists = [
    ['default', own] as const,
    ...Object.entries(models).map(([key, list]) => [`models/${key}`, list] as const),
  ]
  return lists.flatMap(([key, list]) => listFaults(list.map(withName), `/process/providers/${key}`))
}

function listFaults(list: readonly Provider[], path: string): InputFault[] {
  return list.flatMap(({ name, ...options }, at) => {
    const faults: InputFault[] = []
    const isRepeated = list.findIndex((one) => one.name === name) < at
    if (isRepeated) faults.push({ path: `${path}/${at}`, message: `${name} once` })
    if (name === 'cpu' && at < list.length - 1)
      faults.push({ path: `${path}/${at}`, message: 'cpu last: it takes whatever is left' })
    for (const [option, takenBy] of Object.entries(OPTIONS)) {
      if (!Object.hasOwn(options, option) || takenBy.includes(name)) continue
      faults.push({ path: `${path}/${at}/${option}`, message: `an option of ${takenBy.join(', ')}, not of ${name}` })
    }
    if (options.backendType !== undefined && options.backendPath !== undefined) {
      faults.push({ path: `${path}/${at}/backendPath`, message: 'either backendType or backendPath' })
    }
    return faults
  })
}
