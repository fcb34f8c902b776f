// The rules of the house that a machine can check (design.md, style.md), as functions from sources to findings.
// A finding is one line: place and what is wrong. A rule never stops at its first finding.
import { posix } from 'node:path'
import ts from 'typescript'
import { lineOf, walk, type Source } from './sources.js'

export const FILE_LINES_MAX = 400
export const FUNCTION_LINES_MAX = 70
export const LINE_CHARS_MAX = 120
/** A literal longer than this may take its line over the bound: it reads and greps better whole. */
const LITERAL_CHARS = 80

const BANNED_NAMES = /^(utils?|helpers?|common|managers?|services?|misc|index)$/

/** What stands on one level may be imported by the levels after it. */
const LEVELS: readonly (readonly string[])[] = [
  ['contract', 'stats', 'limits', 'errors', 'config'],
  ['runtime', 'telemetry', 'kafka', 'access', 'redis'],
  ['features', 'models', 'decision', 'decision-log'],
  ['scoring', 'governance', 'simulate'],
  ['serve', 'govern', 'cli'],
]
/** Neither of these imports the other: they meet only in what lies below, or in a composition root. */
const APART = LEVELS[3] ?? []

/** Packages that only these folders may name, so that their types and quirks stay there. */
const AT_HOME: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^(uWebSockets\.js|uws-unofficial)/, ['src/scoring/transport/http/', 'src/governance/api/']],
  [/^onnxruntime-/, ['src/models/']],
  [/^opossum/, ['src/scoring/lane/']],
  [/^(kafkajs|@platformatic\/kafka)/, ['src/kafka/', 'src/scoring/transport/kafka/', 'src/governance/publish/']],
  [/^ioredis/, ['src/redis/']],
  [/^@duckdb\//, ['src/governance/store/']],
]

const inSrc = (source: Source): boolean => source.path.startsWith('src/')
const fileName = (path: string): string => posix.basename(path, '.ts')

/** Lines of files and functions. A function's length leaves out those inside it: a factory is judged part by part.
 * `longer` names files that may hold longer functions, and why. */
export function sizes(sources: readonly Source[], longer: ReadonlyMap<string, string> = new Map()): string[] {
  const found: string[] = []
  for (const { path, text, tree } of sources) {
    const lines = text.replace(/\n$/, '').split('\n')
    if (lines.length > FILE_LINES_MAX) found.push(`${path}: ${lines.length} lines, at most ${FILE_LINES_MAX}`)
    const unbreakable = literalLines(tree)
    lines.forEach((line, i) => {
      if (line.length > LINE_CHARS_MAX && !unbreakable.has(i + 1))
        found.push(`${path}:${i + 1}: ${line.length} characters, at most ${LINE_CHARS_MAX}`)
    })
    walk(tree, (node) => {
      if (!isFunction(node) || (path.startsWith('test/') && path.endsWith('.test.ts'))) return
      const own = ownLines(tree, node)
      if (own <= FUNCTION_LINES_MAX || longer.has(path)) return
      found.push(
        `${path}:${lineOf(tree, node.getStart(tree))}: a function of ${own} lines, at most ${FUNCTION_LINES_MAX}`,
      )
    })
  }
  return found
}

/** Lines that one text, template or expression fills so far that the formatter cannot break them. */
function literalLines(tree: ts.SourceFile): Set<number> {
  const found = new Set<number>()
  walk(tree, (node) => {
    const literal = ts.isStringLiteralLike(node) || ts.isTemplateExpression(node) || ts.isRegularExpressionLiteral(node)
    if (literal && node.end - node.getStart(tree) > LITERAL_CHARS) found.add(lineOf(tree, node.getStart(tree)))
  })
  return found
}

function isFunction(node: ts.Node): boolean {
  return ts.isFunctionLike(node) && 'body' in node && node.body !== undefined
}

function ownLines(tree: ts.SourceFile, root: ts.Node): number {
  const span = (node: ts.Node): number => lineOf(tree, node.end) - lineOf(tree, node.getStart(tree)) + 1
  let inner = 0
  const visit = (node: ts.Node): void => {
    if (isFunction(node)) inner += span(node) - 1
    else ts.forEachChild(node, visit)
  }
  ts.forEachChild(root, visit)
  return span(root) - inner
}

/** File names: kebab-case, none that says nothing, none that repeats its folder, no barrel. */
export function names(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, tree }) => {
    const found: string[] = []
    const name = fileName(path).replace(/\.test$/, '')
    const folder = posix.basename(posix.dirname(path))
    if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) found.push(`${path}: the name is not kebab-case`)
    if (BANNED_NAMES.test(name) || BANNED_NAMES.test(folder)) found.push(`${path}: a name that says nothing`)
    if (name === folder && path.startsWith('src/')) found.push(`${path}: repeats the name of its folder`)
    const code = tree.statements
    const forwards = code.some((node) => ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined)
    if (forwards && code.every((node) => ts.isExportDeclaration(node) || ts.isImportDeclaration(node)))
      found.push(`${path}: a barrel, which only forwards exports`)
    return found
  })
}

/** A file opens with a comment: what it owns, its invariant, what it refuses. */
export function openings(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, text }) => {
    const head = /^(?:#!.*\n)?((?:\/\/.*\n)+|\/\*[\s\S]*?\*\/)/.exec(text)?.[1]
    if (head === undefined) return [`${path}: does not open with a comment`]
    // A layout drawn in the comment (lines set in by three or more) is not counted: it is data, not prose.
    const prose = head.split('\n').filter((line) => /^(\/\/|\/?\*+) {0,2}\S/.test(line)).length
    return inSrcPath(path) && prose > 8 ? [`${path}: opens with ${prose} lines of prose, at most 8`] : []
  })
}

const inSrcPath = (path: string): boolean => path.startsWith('src/')

/** The level of a path under src, and its part: the folder or file right under src. */
function partOf(path: string): { part: string; level: number } {
  const name = (path.split('/')[1] ?? '').replace(/\.ts$/, '')
  // A file `<name>-command.ts` right under src is a piece of the command line.
  const part = /-command$/.test(name) ? 'cli' : name
  return { part, level: LEVELS.findIndex((level) => level.includes(part)) }
}

/** Imports point one way; scoring, governance and simulate do not know each other; entries are imported by none. */
export function directions(sources: readonly Source[]): string[] {
  const found: string[] = []
  for (const { path, imports } of sources.filter(inSrc)) {
    const from = partOf(path)
    if (from.level === -1) {
      found.push(`${path}: src/${from.part} has no place in the levels of design.md`)
      continue
    }
    for (const { target, typeOnly, line } of imports) {
      const place = `${path}:${line}`
      if (!target.startsWith('src/')) {
        if (/^(test|bench)\//.test(target)) found.push(`${place}: src imports ${target}`)
        continue
      }
      const to = partOf(target)
      if (to.level > from.level) found.push(`${place}: ${from.part} imports ${to.part}, which stands above it`)
      if (from.part !== to.part && APART.includes(from.part) && APART.includes(to.part))
        found.push(`${place}: ${from.part} imports ${to.part}; they stay apart`)
      const entry = to.level === 4 && !(from.part === 'cli' && target !== 'src/cli.ts')
      const thread = fileName(target).endsWith('-thread') && !typeOnly
      if (entry || thread) found.push(`${place}: imports the entry ${target}`)
    }
  }
  return found
}

/** Packages stay where they are at home. */
export function homes(sources: readonly Source[]): string[] {
  return sources
    .filter(inSrc)
    .flatMap(({ path, imports }) =>
      imports.flatMap(({ target, line }) =>
        AT_HOME.filter(
          ([name, folders]) => name.test(target) && !folders.some((folder) => path.startsWith(folder)),
        ).map(([, folders]) => `${path}:${line}: ${target} may be named only in ${folders.join(', ')}`),
      ),
    )
}

/** No file reaches itself through its imports; types count too, since they bind readers as much. */
export function cycles(sources: readonly Source[]): string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]))
  const found = new Set<string>()
  const state = new Map<string, 'open' | 'done'>()
  const trail: string[] = []
  const visit = (path: string): void => {
    if (state.get(path) === 'done') return
    if (state.get(path) === 'open') {
      const ring = trail.slice(trail.indexOf(path))
      const first = ring.indexOf([...ring].sort()[0] ?? '')
      found.add(`a cycle: ${[...ring.slice(first), ...ring.slice(0, first + 1)].join(' -> ')}`)
      return
    }
    state.set(path, 'open')
    trail.push(path)
    for (const { target } of byPath.get(path)?.imports ?? []) if (byPath.has(target)) visit(target)
    trail.pop()
    state.set(path, 'done')
  }
  for (const { path } of sources) visit(path)
  return [...found]
}

/** Neither `any` nor `as` outside contract/, but for `as const` and the places in `allowed` (path → reason). */
export function assertions(sources: readonly Source[], allowed: ReadonlyMap<string, string>): string[] {
  const found: string[] = []
  const used = new Set<string>()
  for (const { path, tree } of sources.filter(inSrc)) {
    if (path.startsWith('src/contract/')) continue
    walk(tree, (node) => {
      const cast =
        (ts.isAsExpression(node) && !ts.isConstTypeReference(node.type)) || ts.isTypeAssertionExpression(node)
      if (!cast && node.kind !== ts.SyntaxKind.AnyKeyword) return
      if (allowed.has(path)) {
        used.add(path)
        return
      }
      const place = `${path}:${lineOf(tree, node.getStart(tree))}`
      found.push(`${place}: ${cast ? 'as' : 'any'} outside contract/: ${node.getText(tree).slice(0, 60)}`)
    })
  }
  for (const path of allowed.keys()) if (!used.has(path)) found.push(`${path}: is allowed to use as, and does not`)
  return found
}
