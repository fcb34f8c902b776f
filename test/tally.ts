// Reads a TAP stream on stdin, shows what failed and what was skipped, and closes with `N passed, N failed, N skipped`.
// It counts test cases: a subtest that holds no other subtest is one; a group counts only where it fails by itself (its
// own assertion, a wrong plan, a crash of the file). Under CI=true a skip is a failure unless its reason names
// ASSAY_HANDBOOK: the published stream may be absent, a part of the machine may not. It says which files took longest.
import { createInterface } from 'node:readline'

interface Node {
  readonly title: string
  readonly depth: number
  /** Subtests inside. */
  groups: number
  /** Subtests inside that failed. */
  failures: number
  /** Assertions of its own that failed. */
  assertions: number
}

const DIRECTIVE = /\s# (SKIP|TODO)\b\s*(.*)$/i
const POINT = /^( *)(not ok|ok)(?: \d+)?(?: - (.*))?$/
const TIME = /\s# time=(\d+)ms$/
const SLOWEST = 10
const HEADER = /^( *)# Subtest(?:: (.*))?$/

const counts = { passed: 0, failed: 0, skipped: 0 }
const skips = new Map<string, number>()
const failed: string[] = []
const files: { readonly title: string; readonly ms: number }[] = []
const open: Node[] = []
let forbidden = 0
let bailed = ''

function place(title: string): string {
  return [...open.map((node) => node.title), title].join(' > ')
}

function onHeader(depth: number, title: string): void {
  const parent = open.at(-1)
  if (parent !== undefined) parent.groups += 1
  open.push({ title, depth, groups: 0, failures: 0, assertions: 0 })
}

function onSkip(title: string, reason: string): void {
  counts.skipped += 1
  const shown = reason === '' ? `no reason given: ${place(title)}` : reason
  skips.set(shown, (skips.get(shown) ?? 0) + 1)
  if (process.env['CI'] === 'true' && !reason.includes('ASSAY_HANDBOOK')) {
    forbidden += 1
    failed.push(`skipped under CI: ${place(title)} (${shown})`)
  }
}

/** The result of a subtest stands at the depth of its header, after everything inside it. True where it is news. */
function onClose(node: Node, ok: boolean): boolean {
  const parent = open.at(-1)
  if (ok) {
    if (node.groups === 0) counts.passed += 1
    return false
  }
  if (parent !== undefined) parent.failures += 1
  if (node.groups > 0 && node.failures > 0) return false
  counts.failed += 1
  failed.push(place(node.title))
  return node.assertions === 0
}

/** Takes one `ok` or `not ok`; true where its diagnostic is to be shown. */
function onPoint(depth: number, ok: boolean, rest: string): boolean {
  const directive = DIRECTIVE.exec(rest)
  const title = rest.replace(DIRECTIVE, '').replace(/\s# time=.*$/, '')
  const [, ms] = TIME.exec(rest) ?? []
  if (depth === 0 && ms !== undefined) files.push({ title, ms: Number(ms) })
  // A file that was ended, or crashed, closes nothing.
  let last = open.at(-1)
  for (; last !== undefined && last.depth > depth; last = open.at(-1)) {
    open.pop()
    onClose(last, false)
  }
  if (last !== undefined && last.depth === depth) {
    open.pop()
    // The exit code of a file does not tell of what fails beside its tests.
    if (directive === null) return onClose(last, ok && last.assertions === 0)
    onSkip(title, directive[2] ?? '')
    return false
  }
  if (directive !== null) onSkip(title, directive[2] ?? '')
  else if (!ok) {
    if (last !== undefined) last.assertions += 1
    process.stdout.write(`\nnot ok: ${place(title)}\n`)
  }
  return directive === null && !ok
}

// A YAML diagnostic follows its point at once; those of groups only repeat where the group stands, and are left out.
let afterPoint = false
let diagnostic = false
let shown = false
for await (const line of createInterface({ input: process.stdin })) {
  const text = line.trim()
  if (afterPoint && text === '---') diagnostic = true
  afterPoint = false
  if (diagnostic) {
    if (shown) process.stdout.write(`${line}\n`)
    if (text === '...') diagnostic = false
    continue
  }
  const header = HEADER.exec(line)
  const point = POINT.exec(line)
  if (header !== null) onHeader(header[1]?.length ?? 0, header[2] ?? '')
  else if (point !== null) {
    shown = onPoint(point[1]?.length ?? 0, point[2] === 'ok', point[3] ?? '')
    afterPoint = true
  } else if (text.startsWith('Bail out!')) bailed = text
  else if (text !== '' && !/^(TAP version|#|\d+\.\.\d+)/.test(text)) process.stdout.write(`${line}\n`)
}

for (const node of open) failed.push(`not closed: ${node.title}`)
counts.failed += open.length
if (bailed !== '') failed.push(bailed)

files.sort((one, other) => other.ms - one.ms)
for (const { title, ms } of files.slice(0, SLOWEST)) {
  process.stdout.write(`${(ms / 1_000).toFixed(1).padStart(6)} s  ${title}\n`)
}
for (const [reason, count] of skips) process.stdout.write(`skipped ${count}: ${reason}\n`)
if (failed.length > 0) process.stdout.write(`\nfailures:\n${failed.map((title) => `  ${title}`).join('\n')}\n`)
process.stdout.write(
  `${counts.passed} passed, ${counts.failed + forbidden} failed, ${counts.skipped - forbidden} skipped\n`,
)
if (failed.length > 0 || counts.passed + counts.failed === 0) process.exitCode = 1
