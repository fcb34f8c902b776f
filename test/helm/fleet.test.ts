// The chart with several servers: what only they need is rendered for them and for nobody else, each server keeps its
// log, the Redis is named and its secrets are mounted where the server looks, and what cannot work is refused.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { type Config, loadConfig } from '../../src/config.js'
import { one, refusal, rendered } from './chart.js'
import type { KubeObject } from './kube.js'

const fleet = rendered('fleet-values.yaml')
const autoscaled = rendered('autoscaled-values.yaml')
const cluster = rendered('cluster-values.yaml')
const alone = rendered('defaults-values.yaml')

const has = (objects: readonly KubeObject[], kind: string): boolean => objects.some((object) => object.kind === kind)
const setOf = (objects: readonly KubeObject[]): KubeObject => one(objects, 'StatefulSet')

/** What the server makes of the configuration that is rendered. */
function configOf(objects: readonly KubeObject[]): Config {
  const folder = mkdtempSync(join(tmpdir(), 'assay-fleet-'))
  const file = join(folder, 'assay.yaml')
  try {
    writeFileSync(file, one(objects, 'ConfigMap').data['assay.yaml'])
    return loadConfig({ file, env: {} })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

void t.test('several servers are spread, leave one at a time, and keep a log each', (t) => {
  const { spec } = setOf(fleet)
  const { matchLabels } = spec.selector
  t.match(spec, { replicas: 3, podManagementPolicy: 'Parallel' })
  t.same(spec.persistentVolumeClaimRetentionPolicy, { whenScaled: 'Retain', whenDeleted: 'Retain' })
  t.match(spec.volumeClaimTemplates, [{ metadata: { name: 'data' } }])
  const soft = { maxSkew: 1, whenUnsatisfiable: 'ScheduleAnyway', labelSelector: { matchLabels } }
  t.same(spec.template.spec.topologySpreadConstraints, [
    { topologyKey: 'topology.kubernetes.io/zone', ...soft },
    { topologyKey: 'kubernetes.io/hostname', ...soft },
  ])
  t.same(one(fleet, 'PodDisruptionBudget').spec, {
    ...{ maxUnavailable: 1, unhealthyPodEvictionPolicy: 'AlwaysAllow' },
    selector: { matchLabels },
  })
  t.notOk(has(fleet, 'HorizontalPodAutoscaler'), 'off unless asked for')
  const [server] = spec.template.spec.containers
  const [program, seconds] = server.lifecycle.preStop.exec.command
  t.equal(program, 'sleep')
  const leavesMs = Number(seconds) * 1000 + configOf(fleet).process.drain_ms
  t.ok(Number(seconds) > 0 && spec.template.spec.terminationGracePeriodSeconds * 1000 >= leavesMs + 10_000)
  t.end()
})

void t.test('as many as the load of the server itself asks for', (t) => {
  const set = setOf(autoscaled)
  t.notOk('replicas' in set.spec, 'an upgrade does not set it back')
  const { spec } = one(autoscaled, 'HorizontalPodAutoscaler')
  t.match(spec, { minReplicas: 3, maxReplicas: 9 })
  t.same(spec.scaleTargetRef, { apiVersion: set.apiVersion, kind: set.kind, name: set.metadata.name })
  const [{ containerResource }] = spec.metrics
  t.match(containerResource, { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } })
  const watched = set.spec.template.spec.containers.find(({ name }: KubeObject) => name === containerResource.container)
  t.equal(watched.args[0], 'serve')
  t.ok(watched.resources.requests.cpu, 'that of which it is a share')
  t.equal(spec.behavior.scaleDown.policies[0].value, 1)
  t.same(
    set.spec.template.spec.topologySpreadConstraints.map(({ topologyKey, whenUnsatisfiable }: KubeObject) => {
      return { topologyKey, whenUnsatisfiable }
    }),
    [{ topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'DoNotSchedule' }],
    'what values say instead',
  )
  t.ok(has(autoscaled, 'PodDisruptionBudget'))
  t.end()
})

void t.test('one server has nothing of it, whatever its state is in', (t) => {
  for (const objects of [alone, cluster]) {
    t.notOk(has(objects, 'PodDisruptionBudget') || has(objects, 'HorizontalPodAutoscaler'))
    t.equal(setOf(objects).spec.replicas, 1)
    t.notMatch(JSON.stringify(setOf(objects)), /topologySpread|preStop/)
  }
  t.equal(setOf(alone).spec.podManagementPolicy, 'Parallel', 'cannot be changed when others are to join')
  t.notMatch(JSON.stringify(alone), /redis/i)
  t.equal(configOf(alone).process.state.kind, 'memory')
  t.end()
})

void t.test('the server is told of the Redis, and reads its secrets where they are mounted', (t) => {
  const { state } = configOf(fleet).process
  t.equal(state.kind, 'redis')
  t.match(state.redis, {
    ...{ nodes: ['redis.data:6380'], username: 'assay', password_file: '/etc/assay/redis/password' },
    tls: { ca_file: '/etc/assay/redis-tls/ca.crt', cert_file: null, key_file: null },
  })
  const { redis } = configOf(autoscaled).process.state
  t.match(redis, {
    ...{ topology: 'sentinel', password_file: '/etc/assay/redis/server' },
    ...{ sentinel_password_file: '/etc/assay/redis/sentinels' },
    tls: { ca_file: '/etc/assay/redis-tls/authority.pem', cert_file: '/etc/assay/redis-tls/tls.crt' },
  })
  t.match(configOf(cluster).process.state, { kind: 'redis', redis: { topology: 'cluster', password_file: null } })

  const { containers, volumes } = setOf(autoscaled).spec.template.spec
  const [server, sidecar] = containers
  const mounts = new Map<string, string>(
    server.volumeMounts.map(({ name, mountPath }: KubeObject) => [String(mountPath), String(name)]),
  )
  const secrets = new Map<string, string>(
    volumes.map(({ name, secret }: KubeObject) => [String(name), String(secret?.secretName)]),
  )
  t.equal(secrets.get(mounts.get('/etc/assay/redis') ?? ''), 'assay-redis')
  t.equal(secrets.get(mounts.get('/etc/assay/redis-tls') ?? ''), 'assay-redis-tls')
  t.notMatch(JSON.stringify(sidecar), /redis/, 'the sidecar has none of it')
  t.notMatch(JSON.stringify(setOf(cluster)), /redis/, 'nor a server that needs none')
  t.end()
})

void t.test('no secret is rendered, and none is taken in values', (t) => {
  for (const objects of [fleet, autoscaled, cluster]) {
    t.notOk(has(objects, 'Secret'))
    t.notMatch(JSON.stringify(objects), /secretKeyRef|stringData/)
  }
  const redis = ['--set', 'state.kind=redis', '--set', 'config.process.state.redis.nodes={redis:6379}']
  const given = (...args: string[]): string => {
    const text = refusal(...redis, ...args)
    t.notMatch(text, /s3cret/, 'nor said again')
    return text
  }
  t.match(given('--set', 'state.password=s3cret'), /password/)
  t.match(given('--set', 'config.process.state.redis.password=s3cret'), /no password is given in values/)
  t.match(given('--set', 'config.process.state.redis.nodes={user:s3cret@redis:6379}'), /state\.passwordSecret/)
  t.end()
})

void t.test('the network lets it reach the Redis, and nothing else of its kind', (t) => {
  const portsOf = (objects: readonly KubeObject[]): number[] => {
    const ports: { port: number }[] = one(objects, 'NetworkPolicy').spec.egress[1].ports
    return ports.map(({ port }) => port)
  }
  t.strictSame(portsOf(fleet), [6380], 'as a text it would be the name of a port')
  t.same(one(fleet, 'NetworkPolicy').spec.egress[1].to, [
    { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'data' } } },
  ])
  t.same(portsOf(autoscaled), [6380, 26379], 'of sentinels, and of whom they watch')
  t.same(portsOf(cluster), [6379, 7379])
  t.notOk('to' in one(cluster, 'NetworkPolicy').spec.egress[1])
  t.equal(one(alone, 'NetworkPolicy').spec.egress.length, 1, 'DNS alone')
  t.end()
})

void t.test('what cannot work is refused with the reason', (t) => {
  const shared = (...sets: string[]): string => {
    const all = ['state.kind=redis', 'config.process.state.redis.nodes={redis:6379}', ...sets]
    return refusal(...all.flatMap((set) => ['--set', set]))
  }
  t.equal(shared('replicas=3'), '')
  t.equal(shared('autoscaling.enabled=true'), '')
  t.match(refusal('--set', 'replicas=2'), /replicas: at most 1.*state\.kind: redis/)
  t.match(refusal('--set', 'autoscaling.enabled=true'), /no autoscaling/)
  t.match(refusal('--set', 'state.kind=redis'), /redis\.nodes: name the Redis/)
  t.match(refusal('--set', 'state.kind=valkey'), /kind/)
  for (const node of ['unix:/run/redis.sock', '127.0.0.1:6379', 'localhost:6379', '[::1]:6379', 'redis'])
    t.match(shared(`config.process.state.redis.nodes={${node}}`), /each is host:port/, node)
  t.match(shared('config.process.state.kind=redis'), /state\.kind says it/)
  t.match(shared('state.passwordSecret=s'), /no password in the clear/)
  t.equal(shared('state.passwordSecret=s', 'state.caSecret=c'), '')
  const sentinel = ['config.process.state.redis.topology=sentinel', 'config.process.state.redis.master_name=m']
  t.match(shared(...sentinel), /networkPolicy\.redis\.ports/)
  t.equal(shared(...sentinel, 'networkPolicy.redis.ports={6379}'), '')
  t.match(shared('autoscaling.enabled=true', 'autoscaling.maxReplicas=1'), /minReplicas is above/)
  t.match(shared('autoscaling.enabled=true', 'resources.server.requests.cpu=null'), /requests\.cpu/)
  t.end()
})
