// Composes `assay features`: build, check and size stand with the features, snapshot with the state of the server.
import { AssayError } from './errors.js'
import { BUILD_HELP, buildCommand } from './features/build.js'
import { CHECK_HELP, checkCommand } from './features/check-command.js'
import { SIZE_HELP, sizeCommand } from './features/size-command.js'
import { SNAPSHOT_HELP, snapshotCommand } from './scoring/snapshot-command.js'

const VERBS: Readonly<Record<string, (args: readonly string[]) => Promise<number>>> = {
  build: buildCommand,
  check: checkCommand,
  size: sizeCommand,
  snapshot: snapshotCommand,
}

/** `assay features build | check | size | snapshot`; resolves to the exit code. Throws AssayError. */
export async function featuresCommand([verb = '', ...args]: readonly string[]): Promise<number> {
  if (verb === '--help' || verb === '-h') {
    process.stdout.write([BUILD_HELP, CHECK_HELP, SIZE_HELP, SNAPSHOT_HELP].join('\n'))
    return 0
  }
  if (Object.hasOwn(VERBS, verb)) return VERBS[verb](args)
  const known = Object.keys(VERBS).join(', ')
  throw new AssayError('ASSAY_USAGE', `expected \`features\` with one of ${known}; see \`assay features --help\``)
}
