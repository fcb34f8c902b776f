// assay <command>: each command is a thin door to a function elsewhere. Exit codes: 0 done, 1 a coded error, 2 misuse.
// A command's modules are loaded when it runs, so that `--help` needs none of them.
import { AssayError } from './errors.js'

type Run = (args: readonly string[]) => Promise<number>

interface Command {
  readonly words: readonly string[]
  readonly help: string
  readonly load: () => Promise<Run>
}

const io = {
  env: process.env,
  out: (text: string) => void process.stdout.write(text),
  err: (text: string) => void process.stderr.write(text),
}

const COMMANDS: readonly Command[] = [
  {
    words: ['serve'],
    help: 'run the scoring server',
    load: async () => (await import('./serve-command.js')).serveCommand,
  },
  {
    words: ['govern'],
    help: 'run the governance sidecar; `govern rebuild` makes its store anew',
    load: async () => (await import('./govern-command.js')).governCommand,
  },
  {
    words: ['up'],
    help: 'run the scoring server and, restarted as often as needed, the sidecar',
    load: async () => (await import('./up-command.js')).upCommand,
  },
  {
    words: ['config'],
    help: 'check a configuration file, print the effective configuration',
    load: async () => {
      const { configCommand } = await import('./config.js')
      return (args) => Promise.resolve(configCommand(args, io))
    },
  },
  {
    words: ['model'],
    help: 'run the gate over a bundle, list bundles',
    load: async () => (await import('./model-command.js')).runModelCommand,
  },
  {
    words: ['features', 'build'],
    help: 'replay history through the feature code of the server',
    load: async () => (await import('./features/build.js')).featuresCommand,
  },
  {
    words: ['log'],
    help: 'verify, print and export a decision log',
    load: async () => (await import('./scoring/log-command.js')).logCommand,
  },
  {
    words: ['decision'],
    help: 'recompute decisions from log and bundles',
    load: async () => (await import('./scoring/decision-command.js')).decisionCommand,
  },
  {
    words: ['shadow'],
    help: 'compare a model with the champion over a past range of the log',
    load: async () => (await import('./shadow-command.js')).shadowCommand,
  },
  {
    words: ['simulate'],
    help: 'write simulated transactions to a file',
    load: async () => (await import('./simulate/simulate-command.js')).simulateCommand,
  },
  {
    words: ['traffic'],
    help: 'drive a running server with simulated traffic',
    load: async () => (await import('./simulate/traffic-command.js')).trafficCommand,
  },
]

function usage(): string {
  const rows = COMMANDS.map(({ words, help }) => `  ${words.join(' ').padEnd(16)} ${help}`)
  return `assay <command> [options]    --help after a command says more\n\n${rows.join('\n')}\n`
}

async function main(args: readonly string[]): Promise<number> {
  const command = COMMANDS.find(({ words }) => words.every((word, at) => args[at] === word))
  if (command === undefined) {
    const asked = args.length === 0 || args[0] === '--help' || args[0] === 'help'
    if (asked) io.out(usage())
    else io.err(`ASSAY_USAGE: there is no command ${args[0]}\n\n${usage()}`)
    return asked && args.length > 0 ? 0 : 2
  }
  try {
    const run = await command.load()
    return await run(args.slice(command.words.length))
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    io.err(`${error.code}: ${error.message}\n`)
    return error.code === 'ASSAY_USAGE' ? 2 : 1
  }
}

// The exit code is set, not forced: what was printed is flushed first.
process.exitCode = await main(process.argv.slice(2))
