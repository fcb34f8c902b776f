// `assay log verify --replay` as a program, over the directory of a stopped server.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { CLI, ROOT } from '../../bench/server.js'

export interface Verified {
  readonly code: number
  readonly output: string
  /** Ids of the decisions whose vectors it says cannot be recomputed, sorted. */
  readonly named: readonly string[]
}

/** Runs the command and reads its JSON. */
export async function verifyWithReplay(dataDir: string): Promise<Verified> {
  const args = [CLI, 'log', 'verify', '--replay', '--json']
  const env = { ...process.env, ASSAY_DATA_DIR: dataDir }
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code: code ?? 128, output: output + errors, named: namedIn(output) }
}

function namedIn(output: string): string[] {
  const start = output.indexOf('{')
  if (start === -1) return ['no JSON']
  const report = JSON.parse(output.slice(start)) as { replay?: { differing?: { decision_id: string }[] } }
  return (report.replay?.differing ?? []).map(({ decision_id: id }) => id).sort()
}
