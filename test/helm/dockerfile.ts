// A Dockerfile as instructions, and which files of the repository its .dockerignore lets through. Only what this
// repository's two files use is understood; anything else throws. No test.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Instruction {
  readonly word: string
  /** Options such as `--from=build`. */
  readonly flags: Readonly<Record<string, string>>
  readonly text: string
}

export interface Stage {
  readonly base: string
  readonly name: string | null
  readonly instructions: readonly Instruction[]
}

/** The stages in their order; `ARG` before the first `FROM` is put in where `${NAME}` stands in a `FROM`. */
export function readDockerfile(file: string): Stage[] {
  const stages: { base: string; name: string | null; instructions: Instruction[] }[] = []
  const early: Record<string, string> = {}
  for (const instruction of instructionsOf(readFileSync(file, 'utf8'))) {
    const { word, text } = instruction
    const stage = stages.at(-1)
    if (word === 'FROM') {
      const [base = '', , name = null] = text.split(/\s+/)
      stages.push({ base: base.replace(/^\$\{(\w+)\}$/, (_, arg: string) => early[arg] ?? ''), name, instructions: [] })
    } else if (stage !== undefined) stage.instructions.push(instruction)
    else if (word === 'ARG') Object.assign(early, assignments(text))
    else throw new Error(`${word} before the first FROM`)
  }
  return stages
}

function instructionsOf(text: string): Instruction[] {
  const lines = text.split('\n').filter((line) => !/^\s*#/.test(line))
  const joined = lines.join('\n').replaceAll(/\\\n\s*/g, '')
  return joined.split('\n').flatMap((line) => {
    const [, word, rest = ''] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? []
    if (word === undefined) {
      if (line.trim() !== '') throw new Error(`not an instruction: ${line}`)
      return []
    }
    const flags = /^(?:--[a-z-]+=\S+\s+)*/.exec(rest)?.[0] ?? ''
    const options = [...flags.matchAll(/--([a-z-]+)=(\S+)/g)].map(([, name, value]) => [name, value] as const)
    return [{ word, flags: Object.fromEntries(options), text: rest.slice(flags.length).trim() }]
  })
}

/** `A=1 B="two words"`, as ARG, ENV and LABEL have it. */
export function assignments(text: string): Record<string, string> {
  const found = [...text.matchAll(/([\w.]+)=(?:"([^"]*)"|(\S*))/g)]
  return Object.fromEntries(found.map(([, name = '', quoted, bare = '']) => [name, quoted ?? bare]))
}

/** The words of an exec form; throws for a shell form. */
export function execForm(text: string): string[] {
  const words: unknown = JSON.parse(text)
  if (!Array.isArray(words)) throw new Error(`not the exec form: ${text}`)
  return words.map(String)
}

/** Files that the build is given: of each the last rule that fits it, or a folder above it, decides. */
export function buildContext(root: string): string[] {
  const rules = readFileSync(join(root, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ lets: line.startsWith('!'), path: line.replace(/^!/, '') }))
  for (const { path } of rules) if (path !== '*' && /[*?[\\]/.test(path)) throw new Error(`not understood: ${path}`)
  const isLet = (file: string): boolean =>
    rules.findLast(({ path }) => path === '*' || file === path || file.startsWith(`${path}/`))?.lets ?? true
  const skipped = new Set(['node_modules', 'dist', '.git'])
  const under = (folder: string): string[] =>
    readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (!entry.isDirectory()) return [path]
      // Nothing of these is let through, which is checked, and they hold tens of thousands of files.
      if (!skipped.has(path)) return under(path)
      if (isLet(path)) throw new Error(`${path} is let through`)
      return []
    })
  return under('').filter(isLet)
}
