#!/usr/bin/env node
// The door of `npx assay` and `npm start`: builds when dist/ is missing or older than the sources, then runs the compiled
// command line. Where a build fails its messages and its exit code are what is seen.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const entry = join(root, 'dist', 'src', 'cli.js')
const stamp = join(root, 'dist', '.tsbuildinfo')
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')

function newestSource(folder) {
  let newest = statSync(join(root, 'tsconfig.json')).mtimeMs
  for (const name of readdirSync(folder, { recursive: true })) {
    if (name.endsWith('.ts')) newest = Math.max(newest, statSync(join(folder, name)).mtimeMs)
  }
  return newest
}

function isStale() {
  return !existsSync(entry) || !existsSync(stamp) || statSync(stamp).mtimeMs < newestSource(join(root, 'src'))
}

// An image ships dist/ without the compiler: then what is there is what runs.
if (existsSync(compiler) && isStale()) {
  process.stderr.write('building, which takes a moment after a change of the sources ...\n')
  const built = spawnSync(process.execPath, [compiler, '-p', root], { stdio: ['ignore', 2, 2] })
  if (built.status !== 0) process.exit(built.status ?? 1)
  // The compiler leaves the stamp alone where nothing but times has changed, and the next call would build again.
  utimesSync(stamp, new Date(), new Date())
}

await import(pathToFileURL(entry).href)
