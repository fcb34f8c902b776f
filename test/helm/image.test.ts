// The Dockerfile: linted, and carried out step by step in plain folders (image.ts), since an image needs a
// container engine that is not everywhere. What comes out runs as it would there: as process 1 and as its user,
// without a capability, all but /data read-only. It scores, says that it is healthy, keeps its console and sidecar,
// and drains on SIGTERM.
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../bench/server.js'
import { freePort } from '../clients/clients.js'
import { until } from '../flow/server-rig.js'
import { buildContext, execForm, readDockerfile } from './dockerfile.js'
import { buildImage, bytesOf, namespacesMissing, runInImage, startImage } from './image.js'
import { hadolint } from './tools.js'

const missing = namespacesMissing()
const skip = missing !== null && process.env.CI !== 'true' ? missing : false

void t.test('the Dockerfile passes hadolint, and hadolint sees what is wrong', (t) => {
  const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
  const linted = hadolint(text)
  t.equal(linted.status, 0, linted.stdout + linted.stderr)
  t.equal(hadolint(`${text}USER root\n`).status, 1, 'a last user that is root')
  t.end()
})

void t.test('base, user and commands are as they must be', (t) => {
  const stages = readDockerfile(join(ROOT, 'Dockerfile'))
  for (const { base } of stages) t.match(base, /^node:24\.\d+\.\d+-trixie-slim$/, 'an exact tag, glibc 2.41')
  const last = stages.at(-1)?.instructions ?? []
  const only = (word: string): string => last.filter((one) => one.word === word).map(({ text }) => text)[0] ?? ''
  t.match(only('USER'), /^[1-9]\d*:[1-9]\d*$/, 'a numeric user, which Kubernetes can tell from root')
  for (const word of ['ENTRYPOINT', 'CMD']) t.ok(execForm(only(word)).length > 0, `${word} without a shell`)
  t.same(
    buildContext(ROOT).filter((file) => /^(test|bench|helm|dist|node_modules|\.git)\b|training/.test(file)),
    [],
  )
  t.end()
})

void t.test(
  'the image runs read-only as its own user, scores, is healthy and drains',
  { skip, timeout: 300_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'assay-image-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const image = buildImage(ROOT, folder)
    t.comment(`${Math.round(bytesOf(image.tree) / 1e6)} MB above its base`)
    const packages = readdirSync(join(image.tree, 'app/node_modules'))
    for (const name of ['typescript', 'tap', 'eslint']) t.notOk(packages.includes(name), `without ${name}`)
    const native = filesUnder(join(image.tree, 'app/node_modules')).filter((file) =>
      /(napi-v6\/.*|uws_[^/]*)\.node$/.test(file),
    )
    t.ok(native.length > 0)
    t.same(
      native.filter((file) => !/linux/.test(file) || !file.includes(process.arch)),
      [],
      'built for this machine',
    )

    const data = join(folder, 'data')
    mkdirSync(data)
    const [uid, gid] = image.user.split(':').map(Number)
    chownSync(data, uid ?? 0, gid ?? 0)
    const [http, operations, governance] = await Promise.all([freePort(), freePort(), freePort()])
    const env = {
      ASSAY_PROCESS__HTTP__PORT: String(http),
      ASSAY_PROCESS__OPERATIONS__PORT: String(operations),
      ASSAY_PROCESS__GOVERNANCE__PORT: String(governance),
      ASSAY_PROCESS__GOVERNANCE__PRIORITY: 'nice',
      ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN: '0',
    }
    const healthy = (): boolean => runInImage(image, image.healthcheck, { data, env }).status === 0
    t.notOk(healthy(), 'not healthy before it runs')
    const container = startImage(image, { data, env })
    t.teardown(() => void container.process.kill('SIGKILL'))
    const exited = once(container.process, 'exit')
    const isUp = async (port: number): Promise<boolean> => {
      if (container.process.exitCode !== null) throw new Error(container.output())
      return (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => null))?.status === 200
    }
    await until(() => isUp(operations), 'the server', { msMax: 120_000 })
    t.ok(healthy(), 'healthy')
    const transaction = { transaction_id: 't-1', occurred_at: Date.now(), amount_minor: 100, currency: 'EUR' }
    const answer = await fetch(`http://127.0.0.1:${http}/v1/score`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...transaction, customer_id: '852', terminal_id: '5161' }),
    })
    t.match(await answer.json(), { transaction_id: 't-1', logged: 'synced' })
    await until(() => isUp(governance), 'the sidecar', { msMax: 60_000 })
    t.match(await (await fetch(`http://127.0.0.1:${governance}/`)).text(), /<html/, 'the console')

    container.stop()
    t.same(await exited, [0, null], container.output())
    t.match(container.output(), /ServerDraining/)
    const verified = runInImage(image, ['assay', 'log', 'verify'], { data, env })
    t.equal(verified.status, 0, verified.stderr)
  },
)

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true }).map(String)
}
