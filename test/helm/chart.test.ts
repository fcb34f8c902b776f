// The chart: linted and rendered in each of helm/assay/ci/, every object against the schema of its kind, every
// configuration and environment through the server's own check. What must not render does not, and says why. The
// two programs that stand in the templates, the sidecar's loop and `helm test`, run here.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { startServer } from '../../bench/server.js'
import { loadConfig, packageVersion } from '../../src/config.js'
import { until } from '../flow/server-rig.js'
import { QUICK_SERVE } from '../flow/quick.js'
import { CHART, one, refusal, rendered, SETS } from './chart.js'
import { kubeFaults, type KubeObject } from './kube.js'
import { helm } from './tools.js'

const all = new Map(SETS.map((set) => [set, rendered(set)]))

void t.test('each set of values lints and renders objects that its schemas allow', { timeout: 110_000 }, (t) => {
  t.equal(SETS.length, 13)
  const linted = helm('lint', ['--strict', CHART, ...SETS.flatMap((set) => ['--values', join(CHART, 'ci', set)])])
  t.equal(linted.status, 0, linted.stdout)
  const objects = [...all.values()].flat()
  t.same(kubeFaults(objects), [])
  const kinds = new Set(objects.map(({ kind }) => kind))
  t.same([...kinds].sort(), [
    ...['ConfigMap', 'HorizontalPodAutoscaler', 'NetworkPolicy', 'Pod', 'PodDisruptionBudget', 'PrometheusRule'],
    ...['Service', 'ServiceAccount', 'ServiceMonitor', 'StatefulSet'],
  ])
  t.end()
})

void t.test('a fault in an object is found: a field unknown, missing, of another type', { timeout: 60_000 }, (t) => {
  const set = one(all.get('defaults-values.yaml') ?? [], 'StatefulSet')
  const monitor = one(all.get('monitored-values.yaml') ?? [], 'ServiceMonitor')
  const spoilt = (object: KubeObject, edit: (copy: KubeObject) => void): KubeObject => {
    const copy = structuredClone(object)
    edit(copy)
    return copy
  }
  const faults = [
    spoilt(set, ({ spec }) => (spec.template.spec.containers[0].livenesProbe = {})),
    spoilt(set, ({ spec }) => delete spec.selector),
    spoilt(set, ({ spec }) => (spec.replicas = '1')),
    spoilt(set, ({ spec }) => (spec.template.spec.containers[0].resources.requests.cpu = 'lots')),
    spoilt(monitor, ({ spec }) => (spec.endpoints[0].intervall = '5s')),
    { ...structuredClone(set), kind: 'StatefulSets' },
  ]
  for (const [index, object] of faults.entries()) object.metadata.name = `fault-${index}`
  const found = kubeFaults(faults)
  for (const index of faults.keys())
    t.ok(
      found.some((line) => line.includes(`fault-${index}:`)),
      `fault ${index}`,
    )
  t.end()
})

void t.test('every configuration and environment is one that the server takes', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-chart-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [set, objects] of all) {
    const file = join(folder, set)
    writeFileSync(file, one(objects, 'ConfigMap').data['assay.yaml'])
    const { containers, terminationGracePeriodSeconds: grace } = one(objects, 'StatefulSet').spec.template.spec
    for (const container of containers) {
      const env = Object.fromEntries(container.env.map(({ name, value }: Record<string, string>) => [name, value]))
      t.equal(env.ASSAY_CONFIG, '/etc/assay/config/assay.yaml')
      const config = loadConfig({ file, env: { ...env, ASSAY_CONFIG: undefined } })
      t.ok(grace * 1000 >= config.process.drain_ms + 10_000, `${set}: longer than the drain`)
      const ports = container.ports.map((port: { containerPort: number }) => port.containerPort)
      const { http, operations, governance } = config.process
      t.same(ports, container.name === 'server' ? [http.port, operations.port] : [governance.port])
      const mounted = container.volumeMounts.map(({ mountPath }: { mountPath: string }) => `${mountPath}/`)
      const named = [http.keys_file, operations.tokens_file, config.process.data_dir, governance.data_dir]
      for (const path of named.flatMap((each) => (each === null ? [] : [`${each}/`]))) {
        t.ok(
          mounted.some((mount: string) => path.startsWith(mount)),
          `${set}: ${path} is mounted`,
        )
      }
    }
  }
  writeFileSync(join(folder, 'bad'), 'process: { http: { prot: 1 } }')
  t.throws(() => loadConfig({ file: join(folder, 'bad'), env: {} }), { code: 'ASSAY_CONFIG_INVALID' })
  const chart = parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')) as { version: string; appVersion: string }
  t.equal(chart.appVersion, packageVersion(), 'the chart is of this release')
  t.end()
})

void t.test('the pod is hardened, and the sidecar cannot make it unready', (t) => {
  for (const [set, objects] of all) {
    for (const kind of ['StatefulSet', 'Pod']) {
      const object = one(objects, kind)
      const spec = kind === 'Pod' ? object.spec : object.spec.template.spec
      t.equal(spec.automountServiceAccountToken, false, set)
      t.match(spec.securityContext, { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } })
      for (const { securityContext, resources } of spec.containers) {
        t.same(securityContext, {
          ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
          capabilities: { drop: ['ALL'] },
        })
        t.equal(resources.limits?.cpu, undefined, 'no limit of CPU')
      }
    }
    const [server, sidecar] = one(objects, 'StatefulSet').spec.template.spec.containers
    t.ok(server.startupProbe && server.readinessProbe && server.livenessProbe)
    t.notOk(sidecar.readinessProbe ?? sidecar.livenessProbe ?? sidecar.startupProbe)
  }
  t.end()
})

void t.test('what the chart cannot give is refused with the reason', (t) => {
  t.equal(refusal(), '')
  t.match(refusal('--set', 'replicas=2'), /replicas: at most 1.*in one server's memory/)
  t.match(refusal('--set', 'auth.insecure=false'), /auth: name keysSecret and tokensSecret/)
  t.match(refusal('--set', 'config.process.data_dir=/elsewhere'), /mounted at \/data/)
  t.match(refusal('--set', 'replica=1'), /replica/)
  t.match(refusal('--set', 'resources.server.limit=1'), /limit/)
  t.match(refusal('--set', 'persistence.size=lots'), /size/)
  t.end()
})

void t.test('the sidecar is started again when it ends, and SIGTERM ends both', { timeout: 60_000 }, async (t) => {
  const [, sidecar] = one(all.get('defaults-values.yaml') ?? [], 'StatefulSet').spec.template.spec.containers
  const script = String(sidecar.args[0]).replace('node /app/dist/src/cli.js govern', 'echo started; exec sleep 100')
  t.not(script, sidecar.args[0])
  const loop = spawn(
    '/bin/sh',
    ['-c', script.replace('echo started; exec sleep 100 &', '{ echo started; exec sleep 100; } &')],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let output = ''
  loop.stdout.on('data', (chunk: Buffer) => void (output += chunk.toString()))
  const childOf = (): string => readFileSync(`/proc/${loop.pid}/task/${loop.pid}/children`, 'utf8').trim()
  const isSleep = (): boolean => childOf() !== '' && readFileSync(`/proc/${childOf()}/comm`, 'utf8') === 'sleep\n'
  await until(() => output === 'started\n' && isSleep(), 'the first')
  process.kill(Number(childOf()), 'SIGKILL')
  await until(() => output === 'started\nstarted\n' && isSleep(), 'the second', { msMax: 30_000 })
  const last = childOf()
  loop.kill('SIGTERM')
  t.same(await once(loop, 'exit'), [0, null])
  t.throws(() => process.kill(Number(last), 0), 'its child has ended')
})

void t.test('`helm test` passes against a server, and fails where none is', { timeout: 110_000 }, async (t) => {
  const { command, args } = one(all.get('trial-values.yaml') ?? [], 'Pod').spec.containers[0]
  const dataDir = mkdtempSync(join(tmpdir(), 'assay-chart-'))
  t.teardown(() => rmSync(dataDir, { recursive: true }))
  const server = await startServer({ dataDir, command: QUICK_SERVE })
  // The sidecar's /livez is the server's here: names and ports are those of the cluster.
  const here = String(args[0])
    .replaceAll(/release-assay-operations:\d+/g, `127.0.0.1:${server.operationsPort}`)
    .replaceAll(/release-assay:\d+/g, `127.0.0.1:${server.scorePort}`)
  const run = () => spawnSync(process.execPath, [...command.slice(1), here], { encoding: 'utf8' })
  const passed = run()
  t.equal(passed.status, 0, passed.stderr)
  await server.stop()
  t.not(run().status, 0)
})
