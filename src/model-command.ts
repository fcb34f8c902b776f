// Composes `assay model`: the catalogue of the effective policy, compiled, handed to the gate's command; what is asked
// of a running server stands elsewhere.
import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { loadConfig, packageRoot } from './config.js'
import { compileCatalogue } from './features/compile.js'
import { LIMITS } from './limits.js'
import { catalogueFacts } from './models/columns.js'
import { modelCommand } from './models/command.js'
import { ADD_HELP, addCommand } from './models/onboard/command.js'
import { LIVE_HELP, LIVE_VERBS, liveModelCommand } from './scoring/model-command.js'

/** `assay model add | check | list | status | load | unload | approve`. */
export async function runModelCommand(args: readonly string[]): Promise<number> {
  const [verb = '', ...rest] = args
  if (LIVE_VERBS.includes(verb)) return liveModelCommand(args)
  const env = { ASSAY_MODELS_DIR: join(packageRoot, 'models'), ...process.env }
  const print = (text: string) => void process.stdout.write(text)
  const printError = (text: string) => void process.stderr.write(text)
  if (verb === 'add') {
    const isTerminal = process.stdin.isTTY && process.stdout.isTTY
    const confirm = isTerminal ? confirmAtTerminal : null
    return addCommand(rest, {
      readCatalogue,
      modelsDir: env.ASSAY_MODELS_DIR,
      confirm,
      limits: LIMITS,
      print,
      printError,
    })
  }
  const readFacts = (file: string | undefined) => Promise.resolve(readCatalogue(file).facts)
  return modelCommand(args, { moreHelp: ADD_HELP + LIVE_HELP, env, print, printError, readFacts })
}

function readCatalogue(file: string | undefined) {
  const { policy } = loadConfig({ ...(file !== undefined && { file }), env: process.env })
  const { catalogue, schema, currencies } = policy
  return { facts: catalogueFacts(compileCatalogue(catalogue, schema, currencies), catalogue), catalogue }
}

async function confirmAtTerminal(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const ended = new AbortController()
  terminal.once('SIGINT', () => ended.abort()).once('close', () => ended.abort())
  try {
    const answer = await terminal.question(`${question} [yes/no] `, { signal: ended.signal })
    return /^y(es)?$/i.test(answer.trim())
  } catch (error) {
    if (ended.signal.aborted) return false
    throw error
  } finally {
    terminal.close()
  }
}
