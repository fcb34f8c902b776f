// TLS of the listeners: what answers over it and to whom, how the commands reach it, and what refuses to start.
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { CLI } from '../../bench/server.js'
import { loadConfig } from '../../src/config.js'
import { AssayError } from '../../src/errors.js'
import { govern } from '../../src/govern.js'
import { openGovernanceApi } from '../../src/governance/api/open.js'
import { makeCertificates } from '../access/certificates.js'
import { type Rig, startRig } from './server-rig.js'

t.setTimeout(240_000)

const folder = await mkdtemp(join(tmpdir(), 'assay-tls-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const { ca, caFile, server, client } = makeCertificates(folder)
const { cert_file, key_file } = server
const tls = { cert_file, key_file }

/** Status and body of one request; the code of the error where the handshake or the connection fails. */
function ask(url: string, options: https.RequestOptions = {}, body = ''): Promise<{ status: number; text: string }> {
  return new Promise((resolve) => {
    const asked = https.request(url, { agent: false, ...options }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      response.on('error', (error) => resolve({ status: 0, text: error.message }))
    })
    asked.on('error', (error: NodeJS.ErrnoException) => resolve({ status: 0, text: error.code ?? error.message }))
    asked.end(body)
  })
}

function command(args: string[], env: Record<string, string>): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], { env: { ...process.env, ...env } }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err })
    })
  })
}

void t.test('score and operations listener answer over TLS alone, and the commands reach them', async (t) => {
  const rig: Rig = await startRig({
    edit({ process, policy }) {
      process.http.tls = tls
      process.operations.tls = tls
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
    },
  })
  t.teardown(() => rig.remove())
  const { scoreUrl, operationsUrl } = rig.server
  t.match([scoreUrl, operationsUrl], [/^https:\/\/127\.0\.0\.1:\d+$/, /^https:/])
  const transaction = { transaction_id: 't-1', occurred_at: new Date().toISOString(), amount_minor: 100 }
  const body = JSON.stringify({ ...transaction, currency: 'EUR', customer_id: 'c' })
  const json = { method: 'POST', headers: { 'content-type': 'application/json' } }
  t.match(await ask(`${scoreUrl}/v1/score`, { ca, ...json }, body), { status: 200, text: /decision_id/ })
  t.match(await ask(`${operationsUrl}/livez`, { ca }), { status: 200 })

  t.match(await ask(`${scoreUrl}/v1/score`, json, body), { status: 0, text: /UNABLE_TO_VERIFY|SELF_SIGNED/ })
  for (const url of [scoreUrl, operationsUrl]) await t.rejects(fetch(url.replace('https', 'http')), 'not in the clear')
  const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  t.match(await ask(`${operationsUrl}/livez`, { ca, ...old }), { status: 0 }, 'TLS 1.2 is the least')

  const trusting = { NODE_EXTRA_CA_CERTS: caFile }
  const shown = await command(['route', 'show', '--url', operationsUrl, '--json'], trusting)
  t.match(shown, { code: 0, out: /"revision":0/ }, shown.err)
  t.match(await command(['route', 'show', '--url', operationsUrl], {}), { code: 1, err: /ASSAY_SERVER_UNREACHABLE/ })
  // The address of the configuration is asked over TLS where the configuration says so.
  const port = new URL(operationsUrl).port
  const own = { ASSAY_PROCESS__OPERATIONS__PORT: port, ASSAY_PROCESS__OPERATIONS__TLS__CERT_FILE: cert_file }
  const configured = { ...trusting, ...own, ASSAY_PROCESS__OPERATIONS__TLS__KEY_FILE: key_file }
  t.match(await command(['route', 'show'], configured), { code: 0 })
  const traffic = ['traffic', '--url', scoreUrl, '--rate', '5', '--for', '1s', '--json']
  const sent = await command(traffic, trusting)
  t.match(sent, { code: 0, out: /"answered":[1-9]/ }, sent.err)
  t.match(await command(traffic, {}), { code: 1, err: /ASSAY_SERVER_UNREACHABLE/ })
})

void t.test('the sidecar answers over TLS, and with authorities only to their clients', async (t) => {
  const opened = async (more: object): Promise<string> => {
    const data = await mkdtemp(join(folder, 'data-'))
    const env = { ASSAY_DATA_DIR: data, ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
    const config = structuredClone(loadConfig({ env }))
    config.process.governance.tls = { ...tls, ...more }
    const logger = { event: () => undefined, flush: () => undefined }
    const sidecar = await govern(config, { logger, createApi: openGovernanceApi })
    t.teardown(() => sidecar.close(5_000))
    return sidecar.url ?? ''
  }
  const url = await opened({})
  t.match(url, /^https:/)
  t.match(await ask(`${url}/livez`, { ca }), { status: 200 })
  await t.rejects(fetch(`${url.replace('https', 'http')}/livez`))
  const mutual = await opened({ ca_file: caFile })
  const { cert, key } = client
  t.match(await ask(`${mutual}/livez`, { ca, cert, key }), { status: 200 })
  t.match(await ask(`${mutual}/livez`, { ca }), { status: 0 }, 'no certificate')
  const others = await mkdtemp(join(folder, 'others-'))
  const foreign = makeCertificates(others).client
  const stranger = await ask(`${mutual}/livez`, { ca, cert: foreign.cert, key: foreign.key })
  t.match(stranger, { status: 0 }, 'a certificate of another authority')
})

void t.test('what cannot be used is refused with its path, and nothing listens', async (t) => {
  const text = join(folder, 'no.pem')
  await writeFile(text, 'no certificate')
  const bad: [object, RegExp][] = [
    [{ cert_file: join(folder, 'gone.pem'), key_file }, /\/cert_file: the file .* cannot be read/],
    [{ cert_file, key_file: join(folder, 'gone.key') }, /\/key_file: the file .* cannot be read/],
    [{ cert_file: text, key_file }, /is not PEM/],
    [{ cert_file, key_file: client.key_file }, /the key is not the certificate's/],
  ]
  for (const [given, message] of bad) {
    for (const listener of ['http', 'operations'] as const) {
      const started = startRig({ edit: ({ process }) => Object.assign(process[listener], { tls: given }) })
      await t.rejects(started, { code: 'ASSAY_CONFIG_INVALID', message }, `${listener} ${message}`)
    }
  }
  const pathsOf = (process: object): string[] => {
    const file = join(folder, 'config.json')
    writeFileSync(file, JSON.stringify({ process }))
    try {
      loadConfig({ file, env: {} })
    } catch (error) {
      if (error instanceof AssayError) return error.errors.map(({ path }) => path)
    }
    return []
  }
  t.same(pathsOf({ http: { tls: { ...tls, ca_file: caFile } } }), ['/process/http/tls/ca_file'])
  t.same(pathsOf({ operations: { tls: { ...tls, ca_file: caFile } } }), ['/process/operations/tls/ca_file'])
  t.same(pathsOf({ governance: { tls: { ...tls, ca_file: caFile } } }), [])
  t.same(pathsOf({ http: { tls: { cert_file } } }), ['/process/http/tls/key_file'])
  t.same(pathsOf({ http: { tls, host: '0.0.0.0' } }), ['/process/http/host'], 'TLS says nothing of who may')
})
