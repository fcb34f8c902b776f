// Runs the test files it is given, each in a process of its own and two at a time, and prints one TAP stream with a
// subtest a file. `tap run` would have every process that a test starts, servers and their threads included, import its
// record of what a process has loaded: a second of a processor each, for the coverage that only `--coverage` is for.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

const JOBS = 2
/** Seconds that a test may take where it sets nothing else, and a file, which then is asked what it waits for. */
const SECONDS_MAX = 600
/** Milliseconds for its answer. */
const END_MS = 10_000

const files = process.argv.slice(2)
let results = 0
process.stdout.write(`TAP version 14\n1..${files.length}\n`)

/** What each thread of a process waits for, in the kernel's words; empty where that cannot be read. */
function waitsOf(pid: number): string {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}`)
    const read = (path: string): string => readFileSync(path, 'utf8').trim()
    return tasks.map((task) => `${read(`${task}/comm`)} ${read(`${task}/wchan`)}`).join(', ')
  } catch {
    return ''
  }
}

/** Resolves to what the file printed, and whether it ended well. Its stderr goes through as it comes. */
function run(file: string): Promise<{ output: string; ok: boolean; why: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, TAP_TIMEOUT: String(SECONDS_MAX) }
    const child = spawn(process.execPath, ['--enable-source-maps', file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => void (output += text))
    let waits = ''
    const end = setTimeout(() => {
      waits = `; its threads after ${SECONDS_MAX} s: ${waitsOf(child.pid ?? 0)}`
      child.kill('SIGTERM')
    }, SECONDS_MAX * 1_000)
    const kill = setTimeout(() => child.kill('SIGKILL'), SECONDS_MAX * 1_000 + END_MS)
    child.on('close', (code, signal) => {
      clearTimeout(end)
      clearTimeout(kill)
      const planned = /^1\.\.\d/m.test(output)
      const why = (planned ? `exit code ${code}, signal ${signal}` : `no test has run, signal ${signal}`) + waits
      resolve({ output, ok: code === 0 && planned, why })
    })
  })
}

async function runNext(): Promise<void> {
  for (let file = files.shift(); file !== undefined; file = files.shift()) {
    const beganMs = performance.now()
    const { output, ok, why } = await run(file)
    const title = `${file} # time=${Math.round(performance.now() - beganMs)}ms`
    const inner = output.replace(/\n*$/, '\n').replace(/^(?=.)/gm, '    ')
    const point = `${ok ? 'ok' : 'not ok'} ${++results} - ${title}${ok ? '' : `\n  ---\n  ended: ${why}\n  ...`}`
    process.stdout.write(`# Subtest: ${file}\n${inner}${point}\n`)
    if (!ok) process.exitCode = 1
  }
}

await Promise.all(Array.from({ length: JOBS }, runNext))
