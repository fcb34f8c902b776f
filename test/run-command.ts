// Runs a command within the test's process: what it prints, and the exit code and line that the command line would end
// with. Holds no test.
import { AssayError } from '../src/errors.js'

export interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

export async function runCommand(
  command: (args: readonly string[]) => Promise<number>,
  args: readonly string[],
): Promise<Ended> {
  const write = process.stdout.write.bind(process.stdout)
  let out = ''
  process.stdout.write = (text) => Boolean((out += String(text)))
  try {
    return { code: await command(args), out, err: '' }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    return { code: error.code === 'ASSAY_USAGE' ? 2 : 1, out, err: `${error.code}: ${error.message}` }
  } finally {
    process.stdout.write = write
  }
}
