// Where prose and tables must equal code: the error table of src/README.md, the bounds of limits.ts, the scripts of
// package.json, and what must never be committed. Run as a program it prints the error table to paste into the README.
import { argv } from 'node:process'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { ERRORS, type ErrorEntry } from '../../src/errors.js'
import { LIMITS, TINY, type Limits } from '../../src/limits.js'
import { lineOf, type Source } from './sources.js'

/** The error table as src/README.md must show it, row by row. */
export function errorTable(errors: Record<string, ErrorEntry> = ERRORS): string[] {
  return [
    '| code | kind | status | retry | message |',
    '| --- | --- | --- | --- | --- |',
    ...Object.entries(errors).map(
      ([code, entry]) =>
        `| \`${code}\` | ${entry.kind} | ${entry.status} | ${entry.retryable ? 'yes' : 'no'} | ${entry.message} |`,
    ),
  ]
}

/** Table = README = raised somewhere = tested. */
export function errorCodes(readme: string, sources: readonly Source[]): string[] {
  const shown = new Set(readme.split('\n').map((line) => line.replace(/\s+/g, ' ').trim()))
  const found = errorTable()
    .slice(2)
    .filter((row) => !shown.has(row))
    .map((row) => `src/README.md lacks the row: ${row}`)
  for (const [code] of readme.matchAll(/\bASSAY_[A-Z_]+\b/g)) {
    if (!(code in ERRORS) && isErrorRow(readme, code))
      found.push(`src/README.md shows ${code}, which is not in the table`)
  }
  const others = sources.filter(({ path }) => path !== 'src/errors.ts' && !path.startsWith('test/tidy/'))
  const names = (code: string, folder: string): boolean =>
    others.some(({ path, text }) => path.startsWith(folder) && new RegExp(`\\b${code}\\b`).test(text))
  for (const code of Object.keys(ERRORS)) {
    if (!names(code, 'src/')) found.push(`${code} is raised nowhere in src`)
    if (!names(code, 'test/')) found.push(`${code} appears in no test`)
  }
  return found
}

const isErrorRow = (readme: string, code: string): boolean => readme.includes(`| \`${code}\` |`)

type Bound = keyof Limits

/** Relations between bounds: left ≤ right, with the reason. */
const RELATIONS: readonly (readonly [Bound, Bound, string])[] = [
  ['bodyBytesMax', 'pendingBytesMax', 'one body must fit into what may be pending'],
  ['recordBytesMax', 'logRingBytes', 'one record must fit into the ring'],
  ['recordBytesMax', 'segmentBytes', 'one record must fit into a segment'],
  ['batchRowsMax', 'inFlightMax', 'a full batch must be admissible'],
  ['flightRowsMax', 'laneRowsMax', 'a full flight must fit into the ring of a lane'],
  ['duplicatesWaitingMax', 'inFlightMax', 'duplicates wait for something in flight'],
]

/** Every bound is documented, positive, used, smaller in tests, and in the right relation to the others. */
export function bounds(sources: readonly Source[], sets = { LIMITS, TINY }): string[] {
  const found: string[] = []
  const keys = Object.keys(sets.LIMITS).filter((key): key is Bound => key in sets.LIMITS)
  for (const key of keys) {
    const [real, tiny] = [sets.LIMITS[key], sets.TINY[key]]
    if (!Number.isSafeInteger(real) || real <= 0) found.push(`limits.ts: ${key} is ${real}, not a positive integer`)
    if (!(tiny > 0) || tiny > real) found.push(`limits.ts: TINY.${key} is ${tiny}; LIMITS has ${real}`)
    const user = new RegExp(`\\b${key}\\b`)
    if (!sources.some(({ path, text }) => path.startsWith('src/') && path !== 'src/limits.ts' && user.test(text)))
      found.push(`limits.ts: ${key} bounds nothing in src`)
  }
  for (const [less, more, why] of RELATIONS) {
    for (const [name, set] of Object.entries(sets)) {
      if (set[less] > set[more]) found.push(`limits.ts: ${name}.${less} exceeds ${more}: ${why}`)
    }
  }
  return [...found, ...undocumented(sources)]
}

function undocumented(sources: readonly Source[]): string[] {
  const source = sources.find(({ path }) => path === 'src/limits.ts')
  if (source === undefined) return ['src/limits.ts is missing']
  const { tree, text } = source
  return tree.statements
    .filter(ts.isInterfaceDeclaration)
    .flatMap((declaration) =>
      declaration.members
        .filter((member) => !text.slice(member.pos, member.getStart(tree)).includes('/**'))
        .map((member) => `src/limits.ts:${lineOf(tree, member.getStart(tree))}: no comment with unit and reason`),
    )
}

/** Scripts that contract.md promises, each present and naming files that exist. */
export function scripts(manifest: string, exists: (path: string) => boolean): string[] {
  const { scripts: declared = {} } = JSON.parse(manifest) as { scripts?: Record<string, string> }
  const found = ['build', 'start', 'test', 'lint', 'traffic', 'bench']
    .filter((name) => declared[name] === undefined)
    .map((name) => `package.json: no script ${name}`)
  for (const [name, command] of Object.entries(declared)) {
    for (const [path] of command.matchAll(/\b(?:src|test|bench|dist)\/[\w./-]+/g)) {
      const source = path.startsWith('dist/') ? path.slice('dist/'.length).replace(/\.js$/, '.ts') : path
      if (!exists(source)) found.push(`package.json: script ${name} names ${path}, which does not exist`)
    }
  }
  return found
}

// Put together from pieces, so that this file does not name what it forbids.
const MACHINE = new RegExp(
  `(^|[\\s"'\`(=:])/(${['wo' + 'rk', 'ro' + 'ot', 'ho' + 'me', 'Us' + 'ers'].join('|')})/[\\w.-]`,
)
const REGISTRY = new RegExp(`https?://[^/\\s"'$]*(regis` + `try|artifac` + `tory|nexus|mirror)`, 'i')
const PRIVATE = /https?:\/\/(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|[^/\s"']*\.(internal|corp|lan)\b)/

/** No path of somebody's machine, no address of a registry or of a private host. */
export function addresses(files: readonly { path: string; text: string }[]): string[] {
  return files.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, i) => {
      const place = `${path}:${i + 1}`
      if (MACHINE.test(line)) return [`${place}: a path of a machine`]
      if (REGISTRY.test(line)) return [`${place}: the address of a registry`]
      return PRIVATE.test(line) ? [`${place}: a private address`] : []
    }),
  )
}

if (argv[1] !== undefined && import.meta.url === pathToFileURL(argv[1]).href) console.log(errorTable().join('\n'))
