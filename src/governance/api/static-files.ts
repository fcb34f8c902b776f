// The console's files, read once at the start and served from memory: the page lies in the package beside the sources,
// the chart library in node_modules. Invariant: only names of the list below are served; nothing of a request ever
// becomes a path.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { packageRoot } from '../../config.js'

export interface StaticFile {
  readonly type: string
  readonly body: Buffer
  readonly gzipped: Buffer
  readonly etag: string
}

export type StaticFiles = ReadonlyMap<string, StaticFile>

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Where the console stands in a clone and in an installed package alike: it is served as written, without a build. */
const CONSOLE = path.join(packageRoot, 'src/governance/console')

/** Address → file. Throws where the package is not whole. */
export function readStaticFiles(): StaticFiles {
  const require = createRequire(import.meta.url)
  const charts = path.join(path.dirname(require.resolve('uplot/package.json')), 'dist')
  const own = readdirSync(CONSOLE, { recursive: true, encoding: 'utf8' })
    .filter((name) => path.extname(name) in TYPES)
    .map((name) => [`/console/${name.split(path.sep).join('/')}`, path.join(CONSOLE, name)] as const)
  const vendor = ['uPlot.iife.min.js', 'uPlot.min.css'].map(
    (name) => [`/console/vendor/${name}`, path.join(charts, name)] as const,
  )
  const files = new Map<string, StaticFile>([...own, ...vendor].map(([address, file]) => [address, readStatic(file)]))
  const page = files.get('/console/page.html')
  if (page === undefined) throw new Error(`the console's page is missing in ${CONSOLE}`)
  return files.set('/', page)
}

function readStatic(file: string): StaticFile {
  const body = readFileSync(file)
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  const type = TYPES[path.extname(file)] ?? 'application/octet-stream'
  return { type, body, gzipped: gzipSync(body), etag }
}
