// The model file of a bundle that was read. Threads of lanes import this in place of bundle.ts, whose schemas take
// longer to compile (0.16 s of CPU) than the model takes to load.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Bundle } from './bundle.js'
import { refusal } from './bundle-files.js'

/** The model file's bytes, hashed again: what runs is what the manifest names, whatever happened since. */
export async function readModelBytes(bundle: Bundle): Promise<Uint8Array> {
  const bytes = await readFile(bundle.modelPath)
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if (digest !== bundle.digest) {
    throw refusal(bundle.directory, [{ path: '/file/digest', message: `changed since it was read: now ${digest}` }])
  }
  return bytes
}
