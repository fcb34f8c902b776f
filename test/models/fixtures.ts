// The tiny bundles of test/fixtures/models, copies of them to damage, and the facts of their catalogue.
import { createHash } from 'node:crypto'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { canonicalJson } from '../../src/contract/canonical-json.js'
import type { Catalogue } from '../../src/contract/catalogue.js'
import type { Manifest } from '../../src/contract/manifest.js'
import { type CatalogueFacts, catalogueFacts } from '../../src/models/columns.js'

/** Both dist/test/models and .dist-x/test/models lie three levels under the root. */
export const FIXTURES = fileURLToPath(new URL('../../../test/fixtures/models/', import.meta.url))

/** The folder of one bundle. */
export function fixture(name: string): string {
  return join(FIXTURES, name, '1')
}

export interface GoldenJson {
  format: number
  rows: (number | null)[][]
  score: number[]
  raw?: number[]
}

export function digestOf(bytes: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Facts of the fixtures' catalogue, digests by an independent line of code. */
export async function readFacts(): Promise<CatalogueFacts> {
  const catalogue = JSON.parse(await readFile(join(FIXTURES, 'catalogue.json'), 'utf8')) as Catalogue
  const names = catalogue.features.map((spec) => spec.name)
  const dtypes = catalogue.features.map((spec) => spec.dtype ?? 'float32')
  const featureDigests = catalogue.features.map((spec) => digestOf(canonicalJson(spec)))
  return catalogueFacts({ names, featureDigests, dtypes }, catalogue)
}

export interface Edit {
  manifest?: (manifest: Manifest) => void
  golden?: (golden: GoldenJson) => void
  /** New bytes of the model file; the manifest's digest and size follow. */
  file?: (bytes: Buffer) => Uint8Array
}

/** A copy of a bundle under `parent`, edited; digests are made right again, so that only the edit is wrong. */
export async function editedCopy(parent: string, name: string, edit: Edit): Promise<string> {
  const directory = join(parent, name, '1')
  await cp(fixture(name), directory, { recursive: true })
  const manifest = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8')) as Manifest
  const golden = JSON.parse(await readFile(join(directory, 'golden.json'), 'utf8')) as GoldenJson
  edit.golden?.(golden)
  const text = JSON.stringify(golden)
  await writeFile(join(directory, 'golden.json'), text)
  manifest.golden.digest = digestOf(text)
  const path = join(directory, manifest.file.path)
  const bytes = edit.file?.(await readFile(path)) ?? (await readFile(path))
  await writeFile(path, bytes)
  manifest.file.digest = digestOf(bytes)
  manifest.file.bytes = bytes.length
  edit.manifest?.(manifest)
  await writeFile(join(directory, 'manifest.json'), JSON.stringify(manifest))
  return directory
}
