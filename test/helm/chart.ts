// The chart as tests render it: by one of the sets of values in helm/assay/ci/, or by what is set. No test.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { ROOT } from '../../bench/server.js'
import type { KubeObject } from './kube.js'
import { helm } from './tools.js'

export const CHART = join(ROOT, 'helm', 'assay')
export const SETS = readdirSync(join(CHART, 'ci'))

/** Its objects by one set of values. */
export function rendered(set: string): KubeObject[] {
  const { status, stdout, stderr } = helm('template', [CHART, '--values', join(CHART, 'ci', set)])
  if (status !== 0) throw new Error(stderr)
  return parseAllDocuments(stdout).flatMap((document) => (document.toJS() as KubeObject | null) ?? [])
}

/** Why it does not render; empty where it does. */
export function refusal(...args: string[]): string {
  return helm('template', [CHART, '--set', 'auth.insecure=true', ...args]).stderr
}

/** The object of that kind. */
export function one(objects: readonly KubeObject[], kind: string): KubeObject {
  const found = objects.find((object) => object.kind === kind)
  if (found === undefined) throw new Error(`no ${kind}`)
  return found
}
