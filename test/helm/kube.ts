// Kubernetes objects against the schemas of their kinds, offline: what kubernetes-models makes of the OpenAPI
// documents. Its validators judge types, required fields, closed sets and patterns; they let unknown fields pass,
// which the compiler finds in the same package's types, as excess properties of a literal. No test.
import { join } from 'node:path'
import { ServiceMonitor, PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
import { StatefulSet } from 'kubernetes-models/apps/v1'
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2'
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1'
import { ConfigMap, Pod, Service, ServiceAccount } from 'kubernetes-models/v1'
import ts from 'typescript'
import { ROOT } from '../../bench/server.js'

export interface KubeObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { name: string; readonly labels?: Record<string, string> }
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- rendered objects are looked at field by field
  readonly [field: string]: any
}

interface Kind {
  readonly from: string
  readonly check: (object: never) => { validate(): void }
}

const OPERATOR = '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
const KINDS: Readonly<Record<string, Kind>> = {
  'apps/v1 StatefulSet': { from: 'kubernetes-models/apps/v1', check: (object) => new StatefulSet(object) },
  'autoscaling/v2 HorizontalPodAutoscaler': {
    from: 'kubernetes-models/autoscaling/v2',
    check: (object) => new HorizontalPodAutoscaler(object),
  },
  'policy/v1 PodDisruptionBudget': {
    from: 'kubernetes-models/policy/v1',
    check: (object) => new PodDisruptionBudget(object),
  },
  'networking.k8s.io/v1 NetworkPolicy': {
    from: 'kubernetes-models/networking.k8s.io/v1',
    check: (object) => new NetworkPolicy(object),
  },
  'v1 ConfigMap': { from: 'kubernetes-models/v1', check: (object) => new ConfigMap(object) },
  'v1 Pod': { from: 'kubernetes-models/v1', check: (object) => new Pod(object) },
  'v1 Service': { from: 'kubernetes-models/v1', check: (object) => new Service(object) },
  'v1 ServiceAccount': { from: 'kubernetes-models/v1', check: (object) => new ServiceAccount(object) },
  'monitoring.coreos.com/v1 ServiceMonitor': { from: OPERATOR, check: (object) => new ServiceMonitor(object) },
  'monitoring.coreos.com/v1 PrometheusRule': { from: OPERATOR, check: (object) => new PrometheusRule(object) },
}

const kindOf = ({ apiVersion, kind }: KubeObject): string => `${apiVersion} ${kind}`

/** A line per fault; none where all are as their kinds say. */
export function kubeFaults(objects: readonly KubeObject[]): string[] {
  const known = objects.filter((object) => kindOf(object) in KINDS)
  return [
    ...objects
      .filter((object) => !known.includes(object))
      .map((object) => `${kindOf(object)} ${object.metadata.name}: not a kind known here`),
    ...known.flatMap((object) => judged(object)),
    ...typed(known),
  ]
}

function judged(object: KubeObject): string[] {
  try {
    KINDS[kindOf(object)]?.check(object as never).validate()
    return []
  } catch (error) {
    return [`${kindOf(object)} ${object.metadata.name}: ${error instanceof Error ? error.message : String(error)}`]
  }
}

/** All of them as literals of one program, which lies nowhere on disk. */
function typed(objects: readonly KubeObject[]): string[] {
  const lines = objects.map((object, index) => {
    const type = `import('${KINDS[kindOf(object)]?.from}').I${object.kind}`
    return `export const object${index}: ${type} = ${JSON.stringify(object)}`
  })
  const file = join(ROOT, 'test', 'helm', 'rendered.ts')
  const options: ts.CompilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: true, types: [] },
    ...{ target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext },
  }
  const host = ts.createCompilerHost(options)
  const disk = ts.createCompilerHost(options)
  host.fileExists = (name) => name === file || disk.fileExists(name)
  host.getSourceFile = (name, ...rest) =>
    name === file
      ? ts.createSourceFile(name, lines.join('\n'), ts.ScriptTarget.ES2022)
      : disk.getSourceFile(name, ...rest)
  const program = ts.createProgram([file], options, host)
  return ts.getPreEmitDiagnostics(program).map(({ messageText, file: at, start }) => {
    const line = at === undefined || start === undefined ? 0 : at.getLineAndCharacterOfPosition(start).line
    const object = objects[line]
    const place = object === undefined ? (at?.fileName ?? '') : `${kindOf(object)} ${object.metadata.name}`
    return `${place}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}
