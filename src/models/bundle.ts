// A model bundle on disk: models/<name>/<version>/. Reads the manifest, confines its paths, checks digests and sizes,
// loads the golden rows. What this returns is whole and unaltered; whether the model behaves is the gate's question.
// It refuses a path that leaves the bundle, files over their bound, and names every fault it can see at once.
import { readdir, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { Manifest } from '../contract/manifest.js'
import { AssayError, type InputFault } from '../errors.js'
import { LIMITS, type Limits } from '../limits.js'
import { OWN_COLUMNS } from './columns.js'
import { codeOf, findFile, readJson, refusal, schemaFaults } from './bundle-files.js'
import { type Golden, readGolden } from './golden-file.js'
import type { ModelInput } from './inputs.js'
import { scoreMapFaults } from './score-map.js'

/** A larger difference of scores than this is another model. */
const TOLERANCE_MAX = 0.01

const checkManifest = TypeCompiler.Compile(Manifest)

export interface Bundle {
  /** Real path of the folder. */
  readonly directory: string
  readonly manifest: Manifest
  /** sha256:… of the model file; what decisions and records name. */
  readonly digest: string
  /** Real path of model.onnx or scorecard.json. */
  readonly modelPath: string
  readonly golden: Golden
  /** Real path of reference-profile.json, where the manifest names one. */
  readonly profilePath: string | null
}

export interface BundleOptions {
  readonly limits?: Limits
  /** Refuse the bundle unless its manifest says this name and version. */
  readonly identity?: { readonly name: string; readonly version: string }
}

/** Reads and checks the bundle in `directory`. Throws ASSAY_BUNDLE_REFUSED with one error per misfit. */
export async function readBundle(directory: string, options: BundleOptions = {}): Promise<Bundle> {
  const limits = options.limits ?? LIMITS
  const root = await realpath(directory).catch((cause: unknown) => {
    throw refusal(directory, [{ path: '', message: 'the folder does not exist' }], cause)
  })
  const manifest = await readManifest(root, limits)
  const faults: InputFault[] = identityFaults(manifest, options.identity)
  const { modelBytesMax, bundleJsonBytesMax } = limits
  const { file, golden: goldenRef, reference_profile: profileRef } = manifest
  const model = await findFile(root, file, { pointer: '/file', bytesMax: modelBytesMax, faults })
  const json = { bytesMax: bundleJsonBytesMax, faults }
  const goldenFile = await findFile(root, goldenRef, { pointer: '/golden', ...json })
  const golden = goldenFile === null ? null : await readGolden(goldenFile.path, manifest, { limits, faults })
  const profile =
    profileRef === undefined ? null : await findFile(root, profileRef, { pointer: '/reference_profile', ...json })
  if (faults.length > 0 || model === null || golden === null) throw refusal(root, faults)
  return {
    directory: root,
    manifest,
    digest: model.digest,
    modelPath: model.path,
    golden,
    profilePath: profile?.path ?? null,
  }
}

/** One folder under a models directory: its manifest, or why it cannot be read. */
export interface Listed {
  readonly name: string
  readonly version: string
  readonly directory: string
  readonly bundle: Bundle | null
  readonly error: AssayError | null
}

/** Every models/<name>/<version>/ that holds a manifest.json, in order; more than `bundlesMax` are a fault. */
export async function listBundles(modelsDir: string, options: BundleOptions = {}): Promise<Listed[]> {
  const limits = options.limits ?? LIMITS
  const found: Listed[] = []
  for (const name of await folders(modelsDir)) {
    for (const version of await folders(join(modelsDir, name))) {
      const directory = join(modelsDir, name, version)
      if (!(await holdsManifest(directory))) continue
      if (found.length === limits.bundlesMax) {
        throw new AssayError('ASSAY_INPUT_INVALID', `more than ${limits.bundlesMax} bundles under ${modelsDir}`)
      }
      found.push(await listOne({ name, version, directory }, limits))
    }
  }
  return found
}

async function listOne(place: { name: string; version: string; directory: string }, limits: Limits): Promise<Listed> {
  try {
    const bundle = await readBundle(place.directory, { limits, identity: place })
    return { ...place, bundle, error: null }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    return { ...place, bundle: null, error }
  }
}

async function readManifest(root: string, limits: Limits): Promise<Manifest> {
  const json = await readJson(join(root, 'manifest.json'), limits.bundleJsonBytesMax)
  if ('fault' in json) throw refusal(root, [{ path: '', message: `manifest.json ${json.fault}` }])
  const { value } = json
  if (!checkManifest.Check(value)) throw refusal(root, schemaFaults(checkManifest, value))
  const faults = manifestFaults(value)
  if (faults.length > 0) throw refusal(root, faults)
  return value
}

/** Faults that the schema cannot say. */
function manifestFaults(manifest: Manifest): InputFault[] {
  const { kind, input, inputs, output, score_map: map, golden } = manifest
  const faults: InputFault[] = []
  const fault = (path: string, message: string) => void faults.push({ path, message })
  if (kind === 'onnx') {
    if (input === undefined && inputs === undefined) fault('/input', 'required for kind onnx: name and dtype')
    if (inputs !== undefined) faults.push(...inputsFaults(manifest, inputs))
    if (output === undefined) fault('/output', 'required for kind onnx: name and column')
  } else {
    if (input !== undefined) fault('/input', 'not allowed for kind scorecard')
    if (inputs !== undefined) fault('/inputs', 'not allowed for kind scorecard')
    if (output !== undefined) fault('/output', 'not allowed for kind scorecard')
    if (map !== undefined && map.kind !== 'sigmoid') fault('/score_map', 'for kind scorecard only sigmoid, or absent')
  }
  faults.push(...scoreMapFaults(map), ...featureFaults(manifest))
  if (!(golden.tolerance >= 0 && golden.tolerance <= TOLERANCE_MAX)) {
    fault('/golden/tolerance', `0 to ${TOLERANCE_MAX} is allowed, here ${golden.tolerance}`)
  }
  return faults
}

function featureFaults({ kind, features, thresholds }: Manifest): InputFault[] {
  const without = features.findIndex(({ digest }) => digest === undefined)
  if (without < 0) return []
  const faults: InputFault[] = []
  if (features.some(({ digest }) => digest !== undefined)) {
    faults.push({ path: `/features/${without}/digest`, message: 'a digest for every feature, or for none' })
  }
  if (kind === 'scorecard') faults.push({ path: '/features', message: 'those of a scorecard have digests' })
  if (thresholds !== undefined) faults.push({ path: '/thresholds', message: `not allowed: ${OWN_COLUMNS}` })
  return faults
}

function inputsFaults({ input, features }: Manifest, inputs: readonly ModelInput[]): InputFault[] {
  const faults: InputFault[] = []
  if (input !== undefined) faults.push({ path: '/input', message: 'not allowed beside inputs' })
  const columns = inputs.reduce((sum, one) => sum + one.columns, 0)
  if (columns !== features.length) {
    faults.push({ path: '/inputs', message: `they take ${columns} columns, there are ${features.length} features` })
  }
  const names = inputs.map((one) => one.name)
  names.forEach((name, at) => {
    if (names.indexOf(name) < at) faults.push({ path: `/inputs/${at}/name`, message: `${name} is named twice` })
  })
  return faults
}

function identityFaults(manifest: Manifest, identity: BundleOptions['identity']): InputFault[] {
  if (identity === undefined || (identity.name === manifest.name && identity.version === manifest.version)) return []
  const said = `${manifest.name}@${manifest.version}`
  return [{ path: '/name', message: `the folder is ${identity.name}/${identity.version}, the manifest says ${said}` }]
}

async function folders(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((cause: unknown) => {
    throw new AssayError('ASSAY_INPUT_INVALID', `cannot list ${directory}: ${codeOf(cause)}`, { cause })
  })
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort()
}

async function holdsManifest(directory: string): Promise<boolean> {
  return stat(join(directory, 'manifest.json')).then(
    () => true,
    () => false,
  )
}
