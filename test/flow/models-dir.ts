// A models directory of its own: the reference models, and later versions of one of them. Holds no test.
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { packageRoot } from '../../src/config.js'
import type { Manifest } from '../../src/contract/manifest.js'

const REFERENCE = join(packageRoot, 'models')

/** Copies the bundles that the default routes name; resolves with the directory. */
export async function copyModels(parent: string): Promise<string> {
  const directory = join(parent, 'models')
  await mkdir(directory, { recursive: true })
  for (const name of ['baseline', 'fraud-lgbm', 'fraud-xgb']) {
    await cp(join(REFERENCE, name), join(directory, name), { recursive: true })
  }
  return directory
}

/** The first version of a reference model under another version's name; resolves with its folder. */
export async function addVersion(
  directory: string,
  name: string,
  version: string,
  edit: (manifest: Manifest) => void = () => undefined,
): Promise<string> {
  const folder = join(directory, name, version)
  await cp(join(REFERENCE, name, '1'), folder, { recursive: true })
  const path = join(folder, 'manifest.json')
  const manifest = JSON.parse(await readFile(path, 'utf8')) as Manifest
  edit(manifest)
  await writeFile(path, JSON.stringify({ ...manifest, version }))
  return folder
}
