#!/usr/bin/env node
// The door of `npx assay`: builds once when dist/ is missing or older than the sources, then runs the compiled CLI.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const entry = join(root, 'dist', 'src', 'cli.js')
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')

function newestSource(folder) {
  let newest = 0
  for (const name of readdirSync(folder, { recursive: true })) {
    if (name.endsWith('.ts')) newest = Math.max(newest, statSync(join(folder, name)).mtimeMs)
  }
  return newest
}

// An image ships dist/ without the compiler: then what is there is what runs.
if (existsSync(compiler)) {
  const stale =
    !existsSync(entry) || statSync(join(root, 'dist', '.tsbuildinfo')).mtimeMs < newestSource(join(root, 'src'))
  if (stale) {
    const built = spawnSync(process.execPath, [compiler, '-p', root], { stdio: ['ignore', 2, 2] })
    if (built.status !== 0) process.exit(built.status ?? 1)
  }
}

await import(pathToFileURL(entry).href)
