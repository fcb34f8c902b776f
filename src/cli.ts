// assay <command>: each command is a thin door to a function elsewhere. Exit codes: 0 done, 1 a coded error, 2 misuse.
// A command's modules are loaded when it runs, so that `--help` needs none of them. An operating error is one line with
// its code on stderr; only a bug shows a stack.
import { AssayError } from './errors.js'

type Run = (args: readonly string[]) => Promise<number>

interface Command {
  readonly word: string
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
    word: 'serve',
    help: 'run the scoring server',
    load: async () => {
      const { serveCommand } = await import('./serve-command.js')
      return (args) => serveCommand(args)
    },
  },
  {
    word: 'govern',
    help: 'run the governance sidecar; `govern rebuild` makes its store anew',
    load: async () => (await import('./govern-command.js')).governCommand,
  },
  {
    word: 'up',
    help: 'run the scoring server and, restarted as often as needed, the sidecar',
    load: async () => (await import('./up-command.js')).upCommand,
  },
  {
    word: 'config',
    help: 'check FILE: check a configuration; print: show the effective one',
    load: async () => {
      const { configCommand } = await import('./config.js')
      return (args) => Promise.resolve(configCommand(args, io))
    },
  },
  {
    word: 'model',
    help: 'add, check, list: bundles on disk; status, load, unload, approve: models of a running server',
    load: async () => (await import('./model-command.js')).runModelCommand,
  },
  {
    word: 'features',
    help: 'build, check: history through the feature code of the server; size: its memory; snapshot: write its state down',
    load: async () => (await import('./features-command.js')).featuresCommand,
  },
  {
    word: 'schema',
    help: 'try: how many of your own values the policy would refuse, and why',
    load: async () => (await import('./schema-command.js')).schemaCommand,
  },
  {
    word: 'history',
    help: 'import: fill the windows of a server, at rest or running, from past transactions and labels',
    load: async () => (await import('./history-command.js')).historyCommand,
  },
  {
    word: 'log',
    help: 'verify [--replay], cat, export: check, print or export a decision log',
    load: async () => (await import('./scoring/log-command.js')).logCommand,
  },
  {
    word: 'decision',
    help: 'verify: recompute decisions from log and bundles',
    load: async () => (await import('./scoring/decision-command.js')).decisionCommand,
  },
  {
    word: 'route',
    help: 'show, set, rollback, resume, status: who answers on a running server, and changing it',
    load: async () => (await import('./scoring/route-command.js')).routeCommand,
  },
  {
    word: 'policy',
    help: 'show, try, set, rollback, list: rules, lists and cuts of a running server',
    load: async () => (await import('./scoring/policy-command.js')).policyCommand,
  },
  {
    word: 'breaker',
    help: 'open, panic, release: keep payments from a model, or from all of them',
    load: async () => (await import('./scoring/route-command.js')).breakerCommand,
  },
  {
    word: 'dlq',
    help: 'list, show, replay: look at the dead letters of the Kafka transport, send them again',
    load: async () => {
      const { dlqCommand } = await import('./scoring/transport/kafka/dlq-command.js')
      return (args) => dlqCommand(args, io)
    },
  },
  {
    word: 'backup',
    help: 'copy the decision log and the bundles continuously; `backup status` says how far behind the copy is',
    load: async () => (await import('./backup-command.js')).backupCommand,
  },
  {
    word: 'restore',
    help: 'make a data directory of a backup',
    load: async () => (await import('./backup-command.js')).restoreCommand,
  },
  {
    word: 'shadow',
    help: 'compare a model with the champion over a past range of the log',
    load: async () => (await import('./shadow-command.js')).shadowCommand,
  },
  {
    word: 'simulate',
    help: 'write simulated transactions to a file',
    load: async () => (await import('./simulate/simulate-command.js')).simulateCommand,
  },
  {
    word: 'traffic',
    help: 'drive a running server with simulated traffic',
    load: async () => (await import('./simulate/traffic-command.js')).trafficCommand,
  },
]

function usage(): string {
  const rows = COMMANDS.map(({ word, help }) => `  ${word.padEnd(10)} ${help}`)
  return `assay <command> [options]    --help after a command says more, --version says which release this is

${rows.join('\n')}

exit codes: 0 done · 1 an error, with its code on stderr · 2 the command line is not valid
            what 1 means for a command, and codes of its own, stand in its --help
`
}

async function main([word, ...args]: readonly string[]): Promise<number> {
  if (word === '--help' || word === '-h' || word === 'help') {
    io.out(usage())
    return 0
  }
  if (word === '--version') {
    const { packageVersion } = await import('./config.js')
    io.out(`${packageVersion()}\n`)
    return 0
  }
  try {
    const command = COMMANDS.find((known) => known.word === word)
    if (command !== undefined) return await (await command.load())(args)
    const known = COMMANDS.map((each) => each.word).join(', ')
    const asked = word === undefined ? 'a command is needed' : `there is no command ${word}`
    throw new AssayError('ASSAY_USAGE', `${asked}: one of ${known}; see \`assay --help\``)
  } catch (error) {
    if (error instanceof AssayError) {
      io.err(`${error.code}: ${error.message}\n`)
      return error.code === 'ASSAY_USAGE' ? 2 : 1
    }
    // A bug: whoever reports it needs to say where.
    io.err(`ASSAY_INTERNAL: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    return 1
  }
}

// Whoever reads along may stop early, as `assay log cat | head` does: that is no error of this end.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})

// The exit code is set, not forced: what was printed is flushed first.
process.exitCode = await main(process.argv.slice(2))
