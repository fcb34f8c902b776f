// Certificates made for a test by openssl: an authority, a server for localhost, a client. No test.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Certificates {
  /** The authority's certificate: its file, for whoever trusts it. */
  readonly caFile: string
  readonly ca: Buffer
  readonly server: Pair
  readonly client: Pair
}

interface Pair {
  readonly cert_file: string
  readonly key_file: string
  readonly cert: Buffer
  readonly key: Buffer
}

/** Makes them in a folder. */
export function makeCertificates(folder: string): Certificates {
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...fresh, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test authority')
  const issue = (name: string, extensions: string): Pair => {
    writeFileSync(join(folder, `${name}.ext`), extensions)
    openssl('req', ...fresh, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${name}.ext`]
    openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-days', '2', '-out', `${name}.pem`)
    const [cert_file, key_file] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)]
    return { cert_file, key_file, cert: readFileSync(cert_file), key: readFileSync(key_file) }
  }
  const caFile = join(folder, 'ca.pem')
  return {
    caFile,
    ca: readFileSync(caFile),
    server: issue('server', 'subjectAltName=DNS:localhost,IP:127.0.0.1'),
    client: issue('client', 'extendedKeyUsage=clientAuth'),
  }
}
