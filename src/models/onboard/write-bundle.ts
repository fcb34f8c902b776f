// A new bundle on disk, whole or not at all: written into a folder beside its place, sent through the gate there, then
// renamed. A model that lies in the models directory already, as Triton and KServe keep it, is completed where it lies:
// its manifest comes last, and without one it is no bundle. What is there is never overwritten.
import { createHash, randomUUID } from 'node:crypto'
import { copyFile, mkdir, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Manifest } from '../../contract/manifest.js'
import { AssayError } from '../../errors.js'
import { codeOf } from '../bundle-files.js'
import type { Admission } from '../gate.js'
import { exists } from './source.js'

export interface Place {
  readonly modelsDir: string
  readonly name: string
  readonly version: string
  /** Real path of the model file. */
  readonly modelPath: string
  /** The model lies in its place already. */
  readonly isInPlace: boolean
}

export interface BundleContent {
  /** Without what follows from the files. */
  readonly manifest: Omit<Manifest, 'golden' | 'reference_profile'>
  readonly golden: { readonly format: 1; readonly rows: (number | null)[][]; readonly score: readonly number[] }
  readonly tolerance: number
  readonly profile: object | null
  readonly card: (admission: Admission) => string
}

/** Looks whether the place is free. Throws ASSAY_INPUT_INVALID. */
export async function checkPlace(place: Place): Promise<void> {
  const folder = folderOf(place)
  const taken = place.isInPlace ? join(folder, 'manifest.json') : folder
  if (await exists(taken)) throw invalid(`${taken} is there already; choose another version`)
}

export function folderOf({ modelsDir, name, version }: Place): string {
  return join(modelsDir, name, version)
}

/** Writes the bundle where the gate admits it; resolves with its folder and what the gate measured. */
export async function writeBundle(
  place: Place,
  content: BundleContent,
  gate: (directory: string) => Promise<Admission>,
): Promise<{ readonly directory: string; readonly admission: Admission }> {
  // Listings pass over names with a dot.
  const staged = join(place.modelsDir, `.add-${randomUUID()}`)
  const failed = (cause: unknown) => invalid(`cannot write into ${place.modelsDir}: ${codeOf(cause)}`)
  await mkdir(staged, { recursive: true }).catch((cause: unknown) => {
    throw failed(cause)
  })
  try {
    await copyFile(place.modelPath, join(staged, 'model.onnx'))
    const names = await writeFiles(staged, content)
    const admission = await gate(staged)
    await writeFile(join(staged, 'MODEL_CARD.md'), content.card(admission))
    await checkPlace(place)
    const directory = folderOf(place)
    if (place.isInPlace) await complete(staged, directory, names)
    else await moveWhole(staged, directory, place)
    return { directory, admission }
  } catch (cause) {
    throw cause instanceof AssayError ? cause : failed(cause)
  } finally {
    await rm(staged, { recursive: true, force: true })
  }
}

/** Writes all but the card; gives the names, the manifest last. */
async function writeFiles(folder: string, content: BundleContent): Promise<string[]> {
  const golden = compact(content.golden)
  await writeFile(join(folder, 'golden.json'), golden)
  const profile = content.profile === null ? null : compact(content.profile)
  if (profile !== null) await writeFile(join(folder, 'reference-profile.json'), profile)
  const { training, ...facts } = content.manifest
  const manifest: Manifest = {
    ...facts,
    golden: { path: 'golden.json', digest: digestOf(golden), tolerance: content.tolerance },
    ...(profile !== null && { reference_profile: { path: 'reference-profile.json', digest: digestOf(profile) } }),
    training,
  }
  await writeFile(join(folder, 'manifest.json'), `${JSON.stringify(manifest, null, 1)}\n`)
  return ['golden.json', ...(profile === null ? [] : ['reference-profile.json']), 'MODEL_CARD.md', 'manifest.json']
}

async function moveWhole(staged: string, directory: string, { modelsDir, name }: Place): Promise<void> {
  const parent = join(modelsDir, name)
  const isNew = (await mkdir(parent, { recursive: true })) !== undefined
  try {
    await rename(staged, directory)
  } catch (cause) {
    if (isNew) await rmdir(parent)
    throw cause
  }
}

async function complete(staged: string, directory: string, names: readonly string[]): Promise<void> {
  const moved: string[] = []
  try {
    for (const name of names) {
      const to = join(directory, name)
      if (await exists(to)) throw invalid(`${to} is there already, and would be overwritten`)
      await rename(join(staged, name), to)
      moved.push(to)
    }
  } catch (cause) {
    for (const path of moved) await rm(path, { force: true })
    throw cause
  }
}

/** One line per item of the outer lists: readable in a diff, small on disk. */
function compact(value: object): string {
  const parts = Object.entries(value).map(([key, item]: [string, unknown]) => {
    const isLong = Array.isArray(item) && typeof item[0] === 'object'
    const text = isLong ? `[\n  ${item.map((each) => JSON.stringify(each)).join(',\n  ')}\n ]` : JSON.stringify(item)
    return `${JSON.stringify(key)}: ${text}`
  })
  return `{\n ${parts.join(',\n ')}\n}\n`
}

function digestOf(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`
}

function invalid(detail: string): AssayError {
  return new AssayError('ASSAY_INPUT_INVALID', detail)
}
