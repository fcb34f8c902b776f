// Composes `assay model`: the catalogue of the effective policy, compiled, handed to the gate's command; what is asked
// of a running server stands elsewhere.
import { join } from 'node:path'
import { loadConfig, packageRoot } from './config.js'
import { compileCatalogue } from './features/compile.js'
import { catalogueFacts } from './models/columns.js'
import { modelCommand } from './models/command.js'
import { LIVE_HELP, LIVE_VERBS, liveModelCommand } from './scoring/model-command.js'

/** `assay model check | list | status | load | unload | approve`. */
export async function runModelCommand(args: readonly string[]): Promise<number> {
  if (LIVE_VERBS.includes(args[0] ?? '')) return liveModelCommand(args)
  return modelCommand(args, {
    moreHelp: LIVE_HELP,
    env: { ASSAY_MODELS_DIR: join(packageRoot, 'models'), ...process.env },
    print: (text) => void process.stdout.write(text),
    printError: (text) => void process.stderr.write(text),
    readFacts(file) {
      const { policy } = loadConfig({ ...(file !== undefined && { file }), env: process.env })
      const compiled = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
      return Promise.resolve(catalogueFacts(compiled, policy.catalogue))
    },
  })
}
