// What a Dockerfile says, carried out without a container engine: each stage is a folder, its base the /usr and
// /etc of another tree; every RUN, and at last the image itself, runs in that folder as its root (mount and pid
// namespaces, chroot). The tree is this machine's, and `npm ci` and the compiler, which take a minute, link what
// they have laid down in this checkout from the same lock file and sources. ASSAY_IMAGE_BASE names another tree,
// such as debootstrap makes with Node.js 24 added; there every step is carried out as it is written. No test.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { rmSync, statSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { assignments, buildContext, execForm, readDockerfile, type Stage } from './dockerfile.js'

export interface Image {
  readonly tree: string
  readonly env: Readonly<Record<string, string>>
  readonly workdir: string
  readonly user: string
  readonly volumes: readonly string[]
  readonly ports: readonly number[]
  readonly healthcheck: readonly string[]
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
}

const { ASSAY_IMAGE_BASE: otherTree } = process.env
const BASE = otherTree ?? '/'
const BASE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
/** What of the machine's own settings the package manager needs to reach its registry. */
const OF_THE_MACHINE = ['NODE_EXTRA_CA_CERTS', 'HTTPS_PROXY', 'https_proxy', 'NO_PROXY', 'no_proxy']

/** The test runner puts a loader of its own into every Node.js; it does not lie in the tree. */
const OPENING = ['set -e', 'unset NODE_OPTIONS']

/** Why no tree can be run here, in words; null where one can. */
export function namespacesMissing(): string | null {
  const { status } = spawnSync('unshare', ['--mount', '--pid', '--fork', 'true'], { stdio: 'ignore' })
  return status === 0 ? null : 'mount and pid namespaces need root (unshare)'
}

/** Builds every stage under `folder`; the last one is the image. Throws with the output of a step that fails. */
export function buildImage(root: string, folder: string): Image {
  const context = buildContext(root)
  const built = new Map<string, string>()
  let image: Image | null = null
  for (const [index, stage] of readDockerfile(join(root, 'Dockerfile')).entries()) {
    const tree = join(folder, `stage-${index}`)
    layBase(tree)
    image = carryOut(stage, { tree, root, context, built })
    if (stage.name !== null) built.set(stage.name, tree)
  }
  if (image === null) throw new Error('the Dockerfile has no stage')
  return image
}

interface Building {
  readonly tree: string
  readonly root: string
  readonly context: readonly string[]
  readonly built: ReadonlyMap<string, string>
}

/** Folders to mount the base's on, and its links such as bin → usr/bin. */
function layBase(tree: string): void {
  for (const name of ['usr', 'etc', 'proc', 'dev', 'tmp', 'root/.npm']) mkdirSync(join(tree, name), { recursive: true })
  for (const name of readdirSync(BASE)) {
    const path = join(BASE, name)
    if (lstatSync(path).isSymbolicLink()) symlinkSync(readlinkSync(path), join(tree, name))
  }
}

function carryOut({ instructions }: Stage, { tree, root, context, built }: Building): Image {
  const env: Record<string, string> = { PATH: BASE_PATH }
  const words = { HEALTHCHECK: [] as string[], ENTRYPOINT: [] as string[], CMD: [] as string[] }
  const state = { workdir: '/', user: '0:0', volumes: [] as string[], ports: [] as number[] }
  const args: Record<string, string> = {}
  for (const { word, flags, text } of instructions) {
    if (word === 'WORKDIR') mkdirSync(join(tree, (state.workdir = text)), { recursive: true })
    else if (word === 'ARG') Object.assign(args, assignments(text))
    else if (word === 'ENV') {
      for (const [name, value] of Object.entries(assignments(text))) env[name] = value.replace('$PATH', env.PATH ?? '')
    } else if (word === 'USER') state.user = text
    else if (word === 'VOLUME') state.volumes.push(text)
    else if (word === 'EXPOSE') state.ports.push(...text.split(' ').map(Number))
    else if (word === 'HEALTHCHECK') words.HEALTHCHECK = execForm(text.replace(/^CMD\s+/, ''))
    else if (word === 'ENTRYPOINT' || word === 'CMD') words[word] = execForm(text)
    else if (word === 'COPY') {
      const to = join(tree, state.workdir)
      if (flags.from === undefined) copy(text, { from: root, files: context, to })
      else copy(text, { from: built.get(flags.from) ?? '', files: null, to })
    } else if (word === 'RUN') {
      const here = otherTree === undefined ? DONE_HERE[text] : undefined
      if (here !== undefined) {
        here(root, join(tree, state.workdir))
        continue
      }
      const { status, stdout, stderr } = runStep(text, { tree, workdir: state.workdir, env: { ...args, ...env } })
      if (status !== 0) throw new Error(`RUN ${text}\n${stdout}${stderr}`)
    } else if (word !== 'LABEL') throw new Error(`not understood: ${word}`)
  }
  const { HEALTHCHECK: healthcheck, ENTRYPOINT: entrypoint, CMD: command } = words
  return { tree, env, ...state, healthcheck, entrypoint, command }
}

/** Steps that this checkout has been through, by what they leave behind. */
const DONE_HERE: Readonly<Record<string, (root: string, to: string) => void>> = {
  'npm ci': (root, to) => linkPackages(join(root, 'node_modules'), to),
  'npx tsc -p .': (root, to) => {
    mkdirSync(join(to, 'dist'))
    link(join(root, 'dist', 'src'), join(to, 'dist', 'src'))
  },
}

/** Packages of the checkout by hard links, but for the one file that npm writes in place. */
function linkPackages(from: string, to: string): void {
  const hidden = '.package-lock.json'
  link(from, to)
  rmSync(join(to, 'node_modules', hidden))
  cpSync(join(from, hidden), join(to, 'node_modules', hidden))
}

/** A copy that takes no room; what it is of must not be written to any more. */
function link(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['--archive', '--link', from, to], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

/** The sources of a COPY to its target, under `to`; of the context only what it holds (`files`). */
function copy(text: string, { from, files, to }: { from: string; files: readonly string[] | null; to: string }): void {
  const sources = text.split(/\s+/)
  const target = sources.pop() ?? ''
  const intoFolder = target.endsWith('/') || sources.length > 1
  for (const source of sources) {
    const place = join(to, target, intoFolder ? basename(source) : '')
    if (files === null) {
      mkdirSync(dirname(place), { recursive: true })
      link(join(from, source), place)
      continue
    }
    if (!statSync(join(from, source)).isDirectory()) {
      if (!files.includes(source)) throw new Error(`COPY ${source}: .dockerignore holds it back`)
      mkdirSync(dirname(place), { recursive: true })
      cpSync(join(from, source), place)
      continue
    }
    for (const file of files.filter((each) => each.startsWith(`${source}/`))) {
      const at = join(place, file.slice(source.length + 1))
      mkdirSync(dirname(at), { recursive: true })
      cpSync(join(from, file), at)
      // As a checkout of anybody else would have it, whatever this one's umask was.
      chmodSync(at, statSync(at).mode | 0o444)
    }
  }
}

interface Place {
  readonly tree: string
  readonly workdir: string
  readonly env: Readonly<Record<string, string>>
}

/** The mounts of a tree: the base's /usr and /etc, read-only, and what a process needs of the kernel. */
function mounts(tree: string): string[] {
  const base = ['usr', 'etc'].flatMap((name) => [
    `mount --bind '${join(BASE, name)}' '${tree}/${name}'`,
    `mount -o remount,bind,ro '${tree}/${name}'`,
  ])
  return [...base, `mount -t proc proc '${tree}/proc'`, `mount --rbind /dev '${tree}/dev'`]
}

function runStep(text: string, { tree, workdir, env }: Place) {
  const cache = join(process.env.HOME ?? '/root', '.npm')
  mkdirSync(cache, { recursive: true })
  const script = [...OPENING, ...mounts(tree), `mount --bind '${cache}' '${tree}/root/.npm'`]
  script.push(`exec chroot '${tree}' /bin/sh -c 'cd "$0" && eval "$1"' "$0" "$1"`)
  const own = OF_THE_MACHINE.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  const inside = { ...Object.fromEntries(own), HOME: '/root', npm_config_prefer_offline: 'true', ...env }
  const args = ['--mount', '--pid', '--fork', '--kill-child', '/bin/sh', '-c', script.join('\n'), workdir, text]
  return spawnSync('unshare', args, { env: inside, encoding: 'utf8', maxBuffer: 64 << 20 })
}

/** Arguments of `unshare` for a command in the finished image: its user, no capability, a root that is read-only. */
function inImage({ tree, user, workdir, volumes }: Image, command: readonly string[], data: string): string[] {
  const [uid = '', gid = ''] = user.split(':')
  const drop = `setpriv --reuid ${uid} --regid ${gid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all`
  const script = [
    ...OPENING,
    ...[`mount --bind '${tree}' '${tree}'`, `mount -o remount,bind,ro '${tree}'`, ...mounts(tree)],
    ...volumes.map((volume) => `mount --bind '${data}' '${tree}${volume}'`),
    `exec chroot '${tree}' /usr/bin/${drop} -- /bin/sh -c 'cd "$0" && exec "$@"' '${workdir}' "$@"`,
  ]
  return ['--mount', '--pid', '--fork', '--kill-child', '/bin/sh', '-c', script.join('\n'), 'image', ...command]
}

export interface Container {
  readonly process: ChildProcess
  output(): string
  /** SIGTERM to process 1 of the image. */
  stop(): void
}

type Env = Readonly<Record<string, string>>

/** Starts the image with its own command and `data` as its volume. */
export function startImage(image: Image, { data, env }: { readonly data: string; readonly env: Env }): Container {
  const args = inImage(image, [...image.entrypoint, ...image.command], data)
  const child = spawn('unshare', args, { env: { ...image.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => void (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => void (output += chunk.toString()))
  return {
    process: child,
    output: () => output,
    stop() {
      const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
      process.kill(Number(children), 'SIGTERM')
    },
  }
}

/** Runs a command in the image and waits for its end. */
export function runInImage(
  image: Image,
  command: readonly string[],
  how: { readonly data: string; readonly env: Env },
) {
  const args = inImage(image, command, how.data)
  return spawnSync('unshare', args, { env: { ...image.env, ...how.env }, encoding: 'utf8' })
}

/** Bytes of everything that the image adds to its base. */
export function bytesOf(tree: string): number {
  const { stdout } = spawnSync('du', ['--summarize', '--block-size=1', '--one-file-system', tree], { encoding: 'utf8' })
  return Number(stdout.split('\t')[0])
}
