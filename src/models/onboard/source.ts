// Where a new model comes from: a file, or a folder of a repository as Triton and KServe lay it out, which says the
// name and the version: <name>/<version>/model.onnx. It refuses what is neither, and files over their bound.
import { readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { AssayError } from '../../errors.js'
import type { Limits } from '../../limits.js'
import { codeOf } from '../bundle-files.js'

export interface ModelSource {
  /** Real path of the model file. */
  readonly path: string
  /** From the folders; null where a file was named. */
  readonly name: string | null
  readonly version: string | null
}

const MODEL_FILE = 'model.onnx'

/** Finds the model file; of several versions that of `version`, else the highest. Throws ASSAY_INPUT_INVALID. */
export async function findSource(given: string, version: string | undefined, limits: Limits): Promise<ModelSource> {
  const path = await realpath(given).catch((cause: unknown) => {
    throw invalid(given, `cannot be read: ${codeOf(cause)}`)
  })
  const isFolder = (await stat(path)).isDirectory()
  const source = isFolder ? await inRepository(path, version) : { path, name: null, version: null }
  const found = await stat(source.path)
  if (!found.isFile()) throw invalid(source.path, 'is not a file; a model that lies in one file is needed')
  if (found.size > limits.modelBytesMax) {
    throw invalid(source.path, `has ${found.size} bytes, at most ${limits.modelBytesMax} are allowed`)
  }
  return source
}

async function inRepository(folder: string, version: string | undefined): Promise<ModelSource> {
  // <name>/<version> was named itself.
  if (await exists(join(folder, MODEL_FILE))) return at(dirname(folder), basename(folder))
  const versions: string[] = []
  for (const entry of await readdir(folder)) if (await exists(join(folder, entry, MODEL_FILE))) versions.push(entry)
  versions.sort((a, b) => Number(a) - Number(b) || (a < b ? -1 : 1))
  const chosen = version ?? versions.at(-1)
  if (chosen === undefined) throw invalid(folder, `holds no <version>/${MODEL_FILE}`)
  if (versions.includes(chosen)) return at(folder, chosen)
  throw invalid(folder, `holds no ${chosen}/${MODEL_FILE}; there are versions ${versions.join(', ') || 'none'}`)
}

async function at(folder: string, version: string): Promise<ModelSource> {
  return { path: await realpath(join(folder, version, MODEL_FILE)), name: basename(folder), version }
}

/** Whether something is there, of whatever kind. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

function invalid(path: string, detail: string): AssayError {
  return new AssayError('ASSAY_INPUT_INVALID', `${path} ${detail}`)
}
