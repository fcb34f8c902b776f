// The examples of a proxy in front of the score listener, nginx and Envoy, run as they are written but for
// addresses and the folder of the certificates: a client of our authority is answered by the server behind them,
// one of none or of another is not, and a new certificate is shown after the reload that the page names, while a
// connection that is open goes on.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { ROOT, type RunningServer, startServer } from '../../bench/server.js'
import { freePort } from '../clients/clients.js'
import { until } from '../flow/server-rig.js'
import { QUICK_SERVE } from '../flow/quick.js'
import { envoyProgram } from './tools.js'

const HOST = join(ROOT, 'helm', 'host')
const hasNginx = spawnSync('nginx', ['-v']).status === 0
const skip = !hasNginx && process.env.CI !== 'true' ? 'nginx is not there' : false

const folder = mkdtempSync(join(tmpdir(), 'assay-proxy-'))
let server: RunningServer

function openssl(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

function authority(name: string): void {
  openssl(
    'req',
    '-x509',
    ...NEW_KEY,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.crt`,
    '-subj',
    `/CN=${name}`,
    '-days',
    '2',
  )
}

function certificate(name: string, by: string): void {
  openssl('req', ...NEW_KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
  writeFileSync(join(folder, 'names'), 'subjectAltName=IP:127.0.0.1\n')
  const signed = ['-CA', `${by}.crt`, '-CAkey', `${by}.key`, '-CAcreateserial', '-days', '2', '-extfile', 'names']
  openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-out', `${name}.crt`)
}

/** A folder as /etc/assay/tls: `current` leads to the first certificates, and another link is renamed over it. */
function tlsFolder(name: string): { readonly path: string; swap(): void } {
  const path = join(folder, name)
  mkdirSync(path)
  symlinkSync(join(folder, 'first'), join(path, 'current'))
  return {
    path,
    swap() {
      symlinkSync(join(folder, 'second'), join(path, 'next'))
      renameSync(join(path, 'next'), join(path, 'current'))
    },
  }
}

/** An example with the addresses of this test. */
function example(name: string, port: number, tls: string): string {
  return readFileSync(join(HOST, name), 'utf8')
    .replaceAll('/etc/assay/tls/server-sds.yaml', join(folder, 'server-sds.yaml'))
    .replaceAll('/etc/assay/tls/clients-sds.yaml', join(folder, 'clients-sds.yaml'))
    .replaceAll('/etc/assay/tls', tls)
    .replaceAll('8443', String(port))
    .replaceAll('8080', String(server.scorePort))
}

/** Serial number of the certificate shown, and the answer's status and action. */
interface Seen {
  readonly serial: string
  readonly status: number
  readonly action: string
}

function score(agent: Agent, port: number, path = '/v1/score'): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const sent = request({ host: '127.0.0.1', port, path, method: 'POST', agent, headers }, (response) => {
      const serial = (response.socket as TLSSocket).getPeerCertificate().serialNumber
      let body = ''
      response.on('data', (chunk: Buffer) => void (body += chunk.toString()))
      response.on('end', () => {
        const action = body.startsWith('{') ? String((JSON.parse(body) as { action?: string }).action) : ''
        resolve({ serial, status: response.statusCode ?? 0, action })
      })
    })
    sent.on('error', reject)
    const transaction = {
      transaction_id: randomUUID(),
      occurred_at: Date.now(),
      amount_minor: 1,
      currency: 'EUR',
    }
    sent.end(JSON.stringify(transaction))
  })
}

const pem = (name: string): Buffer => readFileSync(join(folder, name))

function agentOf(name: string | null, keepAlive = false): Agent {
  const own = name === null ? {} : { cert: pem(`${name}.crt`), key: pem(`${name}.key`) }
  return new Agent({ ca: pem('ours.crt'), ...own, keepAlive, maxSockets: 1, maxCachedSessions: 0 })
}

/** Asked as the page for clients has it: a busy machine may refuse a payment, which then comes again. */
async function paid(agent: Agent, port: number): ReturnType<typeof score> {
  const answer = await score(agent, port)
  return answer.status === 503 ? paid(agent, port) : answer
}

/** What holds of both; `reload` as the page says it. */
async function judge(t: Test, port: number, reload: () => void): Promise<void> {
  const open = agentOf('client', true)
  t.teardown(() => open.destroy())
  const listens = (): Promise<boolean> =>
    score(open, port).then(
      () => true,
      () => false,
    )
  await until(listens, 'the proxy', { msMax: 30_000, everyMs: 50 })
  const first = await paid(open, port)
  t.match(first, { status: 200, action: /approve|challenge|review|decline/ })
  t.equal((await score(open, port, '/metrics')).status, 404, 'nothing else is reached')
  for (const name of [null, 'stranger']) {
    const refused = await score(agentOf(name), port).catch(() => ({ status: 400 }))
    t.equal(refused.status, 400, `a client with ${name ?? 'no certificate'}`)
  }
  reload()
  const serialNow = async (): Promise<string> => (await score(agentOf('client'), port)).serial
  await until(async () => (await serialNow()) !== first.serial, 'the new certificate', { msMax: 30_000, everyMs: 50 })
  t.equal((await paid(open, port)).status, 200, 'whoever was connected goes on')
}

function run(t: Test, program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => void (output += chunk.toString()))
  t.teardown(async () => {
    if (child.exitCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    if (!t.passing()) t.comment(output)
  })
  return child
}

void t.test('a proxy in front of the score listener', { skip, timeout: 115_000 }, async (t) => {
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const name of ['ours', 'others']) authority(name)
  certificate('client', 'ours')
  certificate('stranger', 'others')
  for (const version of ['first', 'second']) {
    certificate('server', 'ours')
    const place = join(folder, version)
    mkdirSync(place)
    for (const end of ['crt', 'key']) cpSync(join(folder, `server.${end}`), join(place, `server.${end}`))
    cpSync(join(folder, 'ours.crt'), join(place, 'clients-ca.crt'))
  }
  server = await startServer({ dataDir: join(folder, 'data'), command: QUICK_SERVE })
  t.teardown(() => server.stop())
  await t.test('nginx: client certificates, and a reload', behindNginx)
  await t.test('Envoy: client certificates, and another folder of them', behindEnvoy)
})

async function behindNginx(t: Test): Promise<void> {
  const port = await freePort()
  const tls = tlsFolder('nginx-tls')
  const file = join(folder, 'nginx.conf')
  const http = example('nginx.conf', port, tls.path)
  const around = `daemon off; pid ${folder}/nginx.pid; error_log stderr; events {}`
  writeFileSync(file, `${around}\nhttp {\naccess_log off;\n${http}\n}\n`)
  const tested = spawnSync('nginx', ['-t', '-c', file], { encoding: 'utf8' })
  t.equal(tested.status, 0, tested.stderr)
  writeFileSync(`${file}.bad`, readFileSync(file, 'utf8').replace('ssl_verify_client', 'ssl_verify_clients'))
  t.not(spawnSync('nginx', ['-t', '-c', `${file}.bad`]).status, 0, 'what it does not know')
  const nginx = run(t, 'nginx', ['-c', file])
  await judge(t, port, () => {
    tls.swap()
    nginx.kill('SIGHUP')
  })
}

async function behindEnvoy(t: Test): Promise<void> {
  const port = await freePort()
  const tls = tlsFolder('envoy-tls')
  for (const name of ['envoy.yaml', 'server-sds.yaml', 'clients-sds.yaml']) {
    writeFileSync(join(folder, name), example(name, port, tls.path))
  }
  const file = join(folder, 'envoy.yaml')
  const args = ['--log-level', 'warning', '--use-dynamic-base-id', '--concurrency', '1', '-c']
  const checked = spawnSync(envoyProgram(), ['--mode', 'validate', '-c', file], { encoding: 'utf8' })
  t.equal(checked.status, 0, checked.stderr)
  writeFileSync(`${file}.bad.yaml`, readFileSync(file, 'utf8').replace('require_client', 'requires_client'))
  t.not(spawnSync(envoyProgram(), ['--mode', 'validate', '-c', `${file}.bad.yaml`]).status, 0, 'what it does not know')
  run(t, envoyProgram(), [...args, file])
  await judge(t, port, () => tls.swap())
}
