// The sources of this package as the tidy rules see them: path from the root, text, syntax tree, imports.
// Reads files; judges nothing.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** The package's root: the compiled tree lies one level under it. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..')

export interface Import {
  /** A path from the root (`src/errors.ts`) for a relative import, else the specifier as written. */
  readonly target: string
  readonly typeOnly: boolean
  readonly line: number
}

export interface Source {
  /** From the root, with slashes. */
  readonly path: string
  readonly text: string
  readonly tree: ts.SourceFile
  readonly imports: readonly Import[]
}

const LEFT_OUT = /^(node_modules|dist|\.dist-.*|\.git|\.tap|\.nyc_output|coverage|data|__pycache__|\.venv)$/

/** Every file of the package that could be committed, from the root. */
export function listFiles(folder = ''): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name)
    if (LEFT_OUT.test(entry.name)) return []
    return entry.isDirectory() ? listFiles(path) : entry.isFile() ? [path] : []
  })
}

/** Reads a file by its path from the root. */
export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Parses one source. */
export function parseSource(path: string, text: string): Source {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true)
  return { path, text, tree, imports: importsOf(path, tree) }
}

/** All TypeScript sources of src, test and bench. */
export function readSources(): Source[] {
  return ['src', 'test', 'bench']
    .flatMap((folder) => listFiles(folder))
    .filter((path) => path.endsWith('.ts'))
    .map((path) => parseSource(path, readText(path)))
}

/** 1-based line of a position. */
export function lineOf(tree: ts.SourceFile, position: number): number {
  return tree.getLineAndCharacterOfPosition(position).line + 1
}

/** Calls `visit` for every node, parents first. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node)
  ts.forEachChild(node, (child) => {
    walk(child, visit)
  })
}

function importsOf(path: string, tree: ts.SourceFile): Import[] {
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, typeOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return
    const { text } = specifier
    const target = text.startsWith('.') ? posix.join(posix.dirname(path), text).replace(/\.js$/, '.ts') : text
    found.push({ target, typeOnly, line: lineOf(tree, specifier.getStart(tree)) })
  }
  walk(tree, (node) => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly === true)
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false)
  })
  return found
}
