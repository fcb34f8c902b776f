// The execution provider of a session. What is missing is looked for before ONNX Runtime is asked: it passes over a
// provider that it was built without, and names no file, library or device of one that it cannot load.
// Invariant: a session runs on the providers that were asked for, or on the CPU alone where that is allowed, and says
// why. Which parts of a model a provider takes is ONNX Runtime's choice; what none takes runs on the CPU.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { InferenceSession, listSupportedBackends } from 'onnxruntime-node'
import type { LaneProviders, ProviderInUse, ProviderName } from '../contract/providers.js'
import { AssayError, errorOf } from '../errors.js'

/** What is known of this machine and of the package. */
export interface ProviderFacts {
  /** Such as linux/x64. */
  readonly platform: string
  /** Names of the providers that the package was built with. */
  readonly built: readonly string[]
  /** Where its libraries are. */
  readonly folder: string
  exists(path: string): boolean
  /** Libraries that the system's loader does not find for this one. */
  unresolved(path: string): readonly string[]
}

/** Files that the package is published without, by provider. */
const FILES: Partial<Record<ProviderName, readonly string[]>> = {
  cuda: ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'],
  tensorrt: ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_tensorrt.so'],
}
const INSTALL = 'ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js'
const NEEDS = { cuda: 'CUDA 12 and cuDNN 9', tensorrt: 'CUDA 12, cuDNN 9 and TensorRT 10' }
/** Of Linux, and of Linux under Windows. */
const DEVICES = ['/dev/nvidiactl', '/dev/dxg']

/** What a provider lacks here and how to get it; null where nothing is seen to be missing. */
export function absenceOf(name: ProviderName, facts: ProviderFacts): string | null {
  if (!facts.built.includes(name)) {
    return `onnxruntime-node for ${facts.platform} is built without ${name}; it has ${facts.built.join(', ')}`
  }
  if (name !== 'cuda' && name !== 'tensorrt') return null
  const files = FILES[name] ?? []
  const missing = files.filter((file) => !facts.exists(join(facts.folder, file)))
  if (missing.length > 0) {
    return `${name} needs ${missing.join(' and ')} in ${facts.folder}; the package's own script fetches it: ${INSTALL}`
  }
  const libraries = [...new Set(files.flatMap((file) => facts.unresolved(join(facts.folder, file))))]
  if (libraries.length > 0) {
    return `${name} needs ${libraries.join(', ')}, which the system's loader does not find: install ${NEEDS[name]}`
  }
  if (DEVICES.some((device) => facts.exists(device))) return null
  return `${name} needs an NVIDIA device and its driver: there is no ${DEVICES.join(' and no ')}`
}

/** Of this process. */
export function machineFacts(): ProviderFacts {
  const platform = `${process.platform}/${process.arch}`
  const main = createRequire(import.meta.url).resolve('onnxruntime-node')
  return {
    platform,
    built: listSupportedBackends().map(({ name }) => name),
    folder: join(dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch),
    exists: existsSync,
    unresolved(path) {
      const found = spawnSync('ldd', [path], { encoding: 'utf8' })
      // Without ldd ONNX Runtime's own words have to do.
      if (found.error !== undefined) return []
      return [...found.stdout.matchAll(/^\s*(\S+) => not found$/gm)].map(([, library]) => library)
    },
  }
}

export interface Native {
  readonly session: InferenceSession
  readonly provider: ProviderInUse
}

/**
 * Makes a session. Rejects as ONNX Runtime does where the model itself does not load, and with ASSAY_PROVIDER_MISSING
 * where a provider cannot be used and nothing else is allowed.
 */
export async function createNative(bytes: Uint8Array, { list, onMissing }: LaneProviders): Promise<Native> {
  const [{ name }] = list
  const beside = list.filter((one) => one.name !== 'cpu')
  if (beside.length === 0) return { session: await create(bytes, list), provider: { name, missing: null } }
  const facts = machineFacts()
  const absent = beside.map((one) => absenceOf(one.name, facts)).find((each) => each !== null) ?? null
  const made = absent === null ? await create(bytes, list).catch(errorOf) : new Error(absent)
  if (!(made instanceof Error)) return { session: made, provider: { name, missing: null } }
  // A model that does not load on the CPU either is itself at fault.
  const onCpu = await create(bytes, [{ name: 'cpu' }])
  const missing = absent ?? `${name} cannot be used: ${made.message.trim()}`
  if (onMissing === 'cpu') return { session: onCpu, provider: { name: 'cpu', missing } }
  await onCpu.release()
  throw new AssayError('ASSAY_PROVIDER_MISSING', missing, { cause: made })
}

/**
 * Where weights outside of the model's file are looked for: no such folder can be. Without it they are those of the
 * working directory, which no digest covers.
 */
const NOWHERE = '/dev/null/none'

function create(bytes: Uint8Array, list: LaneProviders['list']): Promise<InferenceSession> {
  return InferenceSession.create(bytes, {
    executionProviders: [...list],
    executionMode: 'sequential',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 4, // errors reach us as exceptions; the runtime would print them to stderr as well
    extra: { session: { model_external_initializers_file_folder_path: NOWHERE } },
  })
}
