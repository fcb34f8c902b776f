// A model bundle on disk: models/<name>/<version>/. Reads the manifest, confines its paths, checks digests and sizes,
// loads the golden rows. Whatever this returns is whole and unaltered; whether the model behaves is the gate's question.
// It refuses a path that leaves the bundle, files over their bound, and names every fault it can see at once.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { isAbsolute, join, sep } from 'node:path'
import { type Static, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { Manifest } from '../contract/manifest.js'
import { AssayError, type InputFault } from '../errors.js'
import { LIMITS, type Limits } from '../limits.js'

const GoldenFile = Type.Object(
  {
    format: Type.Literal(1),
    rows: Type.Array(Type.Array(Type.Union([Type.Number(), Type.Null()])), { minItems: 2 }),
    score: Type.Array(Type.Number({ minimum: 0, maximum: 1 })),
    raw: Type.Optional(Type.Array(Type.Number())),
  },
  { additionalProperties: false },
)
const checkManifest = TypeCompiler.Compile(Manifest)
const checkGolden = TypeCompiler.Compile(GoldenFile)

/** Rows with known scores: `values` is row-major, `columns` wide, NaN where nothing is known. */
export interface Golden {
  readonly count: number
  readonly columns: number
  readonly values: Float64Array
  readonly scores: Float64Array
  readonly raw: Float64Array | null
  readonly tolerance: number
}

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

interface Found {
  readonly path: string
  readonly digest: string
  readonly bytes: number
}

/** Reads and checks the bundle in `directory`. Throws ASSAY_BUNDLE_REFUSED with one error per misfit. */
export async function readBundle(directory: string, options: BundleOptions = {}): Promise<Bundle> {
  const limits = options.limits ?? LIMITS
  const root = await realpath(directory).catch((cause: unknown) => {
    throw refusal(directory, [{ path: '', message: 'the folder does not exist' }], cause)
  })
  const manifest = await readManifest(root, limits)
  const faults: InputFault[] = identityFaults(manifest, options.identity)
  const model = await look(root, '/file', manifest.file, limits.modelBytesMax, faults)
  if (model !== null && model.bytes !== manifest.file.bytes) {
    faults.push({ path: '/file/bytes', message: `${manifest.file.path} has ${model.bytes} bytes, the manifest says ${manifest.file.bytes}` })
  }
  const goldenFile = await look(root, '/golden', manifest.golden, limits.bundleJsonBytesMax, faults)
  const golden = goldenFile === null ? null : await readGolden(goldenFile.path, manifest, { limits, faults })
  const profile =
    manifest.reference_profile === undefined
      ? null
      : await look(root, '/reference_profile', manifest.reference_profile, limits.bundleJsonBytesMax, faults)
  if (faults.length > 0 || model === null || golden === null) throw refusal(root, faults)
  return { directory: root, manifest, digest: model.digest, modelPath: model.path, golden, profilePath: profile?.path ?? null }
}

/** One folder under a models directory: its manifest, or why it cannot be read. */
export interface Listed {
  readonly name: string
  readonly version: string
  readonly directory: string
  readonly bundle: Bundle | null
  readonly error: AssayError | null
}

/** Every models/<name>/<version>/ that holds a manifest.json, by name and version; at most `bundlesMax` are looked at. */
export async function listBundles(modelsDir: string, options: BundleOptions = {}): Promise<Listed[]> {
  const limits = options.limits ?? LIMITS
  const found: Listed[] = []
  for (const name of await folders(modelsDir)) {
    for (const version of await folders(join(modelsDir, name))) {
      const directory = join(modelsDir, name, version)
      if (!(await exists(join(directory, 'manifest.json')))) continue
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

/** The model file's bytes, hashed again: what a session is made of is what the manifest names, whatever happened since. */
export async function readModelBytes(bundle: Bundle): Promise<Uint8Array> {
  const bytes = await readFile(bundle.modelPath)
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if (digest !== bundle.digest) {
    throw refusal(bundle.directory, [{ path: '/file/digest', message: `changed since it was read: now ${digest}` }])
  }
  return bytes
}

/** The refusal of a bundle, its misfits named. */
export function refusal(directory: string, faults: readonly InputFault[], cause?: unknown): AssayError {
  const listed = faults.map((fault) => (fault.path === '' ? fault.message : `${fault.path}: ${fault.message}`)).join('; ')
  return new AssayError('ASSAY_BUNDLE_REFUSED', `bundle ${directory}: ${listed}`, { cause, errors: faults })
}

/** Parses a JSON file of at most `bytesMax` bytes; the fault, if any, is added to `faults` and null returned. */
async function readJson(path: string, bytesMax: number): Promise<{ value: unknown } | { fault: string }> {
  try {
    const { size } = await stat(path)
    if (size > bytesMax) return { fault: `has ${size} bytes, at most ${bytesMax} are allowed` }
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return { value }
  } catch (error) {
    return { fault: error instanceof SyntaxError ? `is not JSON: ${error.message}` : `cannot be read: ${codeOf(error)}` }
  }
}

async function readManifest(root: string, limits: Limits): Promise<Manifest> {
  const json = await readJson(join(root, 'manifest.json'), limits.bundleJsonBytesMax)
  if ('fault' in json) throw refusal(root, [{ path: '', message: `manifest.json ${json.fault}` }])
  const { value } = json
  if (!checkManifest.Check(value)) throw refusal(root, schemaFaults(checkManifest, value, ''))
  const faults: InputFault[] = []
  if (value.kind === 'onnx') {
    if (value.input === undefined) faults.push({ path: '/input', message: 'required for kind onnx: name and dtype' })
    if (value.output === undefined) faults.push({ path: '/output', message: 'required for kind onnx: name and column' })
  } else {
    if (value.input !== undefined) faults.push({ path: '/input', message: 'not allowed for kind scorecard' })
    if (value.output !== undefined) faults.push({ path: '/output', message: 'not allowed for kind scorecard' })
    if (value.score_map !== undefined && value.score_map.kind !== 'sigmoid') {
      faults.push({ path: '/score_map', message: 'for kind scorecard only sigmoid, or absent' })
    }
  }
  if (value.score_map?.kind === 'linear' && value.score_map.from === value.score_map.to) {
    faults.push({ path: '/score_map', message: 'linear needs from and to that differ' })
  }
  const { tolerance } = value.golden
  if (!(tolerance >= 0 && tolerance <= 0.01)) {
    faults.push({ path: '/golden/tolerance', message: `0 to 0.01 is allowed, here ${tolerance}` })
  }
  if (faults.length > 0) throw refusal(root, faults)
  return value
}

function identityFaults(manifest: Manifest, identity: BundleOptions['identity']): InputFault[] {
  if (identity === undefined || (identity.name === manifest.name && identity.version === manifest.version)) return []
  const said = `${manifest.name}@${manifest.version}`
  return [{ path: '/name', message: `the folder is ${identity.name}/${identity.version}, the manifest says ${said}` }]
}

/** Confines, bounds and hashes one file that the manifest names; null with a fault added where it does not fit. */
async function look(
  root: string,
  pointer: string,
  named: { path: string; digest: string },
  bytesMax: number,
  faults: InputFault[],
): Promise<Found | null> {
  const path = await confine(root, named.path)
  if ('fault' in path) {
    faults.push({ path: `${pointer}/path`, message: `${named.path} ${path.fault}` })
    return null
  }
  const { size } = await stat(path.real)
  if (size > bytesMax) {
    faults.push({ path: `${pointer}/path`, message: `${named.path} has ${size} bytes, at most ${bytesMax} are allowed` })
    return null
  }
  const digest = await digestFile(path.real)
  if (digest === named.digest) return { path: path.real, digest, bytes: size }
  faults.push({ path: `${pointer}/digest`, message: `${named.path} is ${digest}, the manifest says ${named.digest}` })
  return null
}

async function confine(root: string, relative: string): Promise<{ real: string } | { fault: string }> {
  const parts = relative.split('/')
  if (isAbsolute(relative) || relative.includes('\\') || parts.some((part) => part === '' || part === '..')) {
    return { fault: 'is not a plain path inside the bundle' }
  }
  try {
    const real = await realpath(join(root, relative))
    if (!real.startsWith(root + sep)) return { fault: 'leads out of the bundle' }
    return (await stat(real)).isFile() ? { real } : { fault: 'is not a file' }
  } catch (error) {
    return { fault: `cannot be read: ${codeOf(error)}` }
  }
}

async function digestFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return `sha256:${hash.digest('hex')}`
}

async function readGolden(
  path: string,
  manifest: Manifest,
  rest: { limits: Limits; faults: InputFault[] },
): Promise<Golden | null> {
  const { limits, faults } = rest
  const json = await readJson(path, limits.bundleJsonBytesMax)
  if ('fault' in json) {
    faults.push({ path: '/golden/path', message: `${manifest.golden.path} ${json.fault}` })
    return null
  }
  const { value } = json
  if (!checkGolden.Check(value)) {
    faults.push(...schemaFaults(checkGolden, value, manifest.golden.path))
    return null
  }
  const before = faults.length
  faults.push(...goldenFaults(value, manifest, limits))
  if (faults.length > before) return null
  const columns = manifest.features.length
  const values = Float64Array.from(value.rows.flat(), (cell) => cell ?? NaN)
  const raw = value.raw === undefined ? null : Float64Array.from(value.raw)
  const { tolerance } = manifest.golden
  return { count: value.rows.length, columns, values, scores: Float64Array.from(value.score), raw, tolerance }
}

function goldenFaults(file: Static<typeof GoldenFile>, manifest: Manifest, limits: Limits): InputFault[] {
  const columns = manifest.features.length
  const faults: InputFault[] = []
  const fault = (message: string) => faults.push({ path: '/golden/path', message: `${manifest.golden.path} ${message}` })
  const count = file.rows.length
  if (count > limits.goldenRowsMax) fault(`has ${count} rows, at most ${limits.goldenRowsMax} are allowed`)
  if (file.score.length !== count) fault(`has ${count} rows but ${file.score.length} scores`)
  if (file.raw !== undefined && file.raw.length !== count) fault(`has ${count} rows but ${file.raw.length} raw outputs`)
  if (new Set(file.score).size < 2) fault('has the same score for every row, which could not show a wrong feature order')
  file.rows.forEach((row, index) => {
    if (row.length !== columns) fault(`row ${index} has ${row.length} values, the manifest lists ${columns} features`)
    if (!manifest.takes_nan && row.includes(null)) fault(`row ${index} has a missing value, but takes_nan is false`)
  })
  return faults
}

function schemaFaults(check: TypeCheck<typeof Manifest | typeof GoldenFile>, value: unknown, file: string): InputFault[] {
  const faults = [...check.Errors(value)].map(({ path, message }) => ({ path, message }))
  return file === '' ? faults : faults.map(({ path, message }) => ({ path: '/golden/path', message: `${file}${path}: ${message}` }))
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

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : String(error)
}
