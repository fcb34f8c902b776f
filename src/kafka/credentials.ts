// What this server shows the brokers, and whom it trusts: certificates, passwords and tokens, out of the files that the
// configuration names. Read when a connection is made, so that a changed file needs no restart; kept nowhere else, and
// never part of an error.
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { Authenticator, AuthenticationProviderArgs, Mechanism, SASLOptions } from 'kafkajs'
import type { KafkaSasl, KafkaTls } from '../contract/kafka.js'
import { AssayError } from '../errors.js'

/** `at` is where the configuration stands. Throws ASSAY_CONFIG_INVALID, which names the files. */
export async function readTls({ ca_file, cert_file, key_file }: KafkaTls, at: string): Promise<SecureContext> {
  const files = { ca_file: ca_file ?? null, cert_file: cert_file ?? null, key_file: key_file ?? null }
  const pem = async (key: keyof typeof files): Promise<string | undefined> =>
    files[key] === null ? undefined : readText(`${at}/tls/${key}`, files[key])
  const [ca, cert, key] = await Promise.all([pem('ca_file'), pem('cert_file'), pem('key_file')])
  try {
    // An authority that cannot be read would be left out without a word.
    if (ca !== undefined) void new X509Certificate(ca)
    return createSecureContext({ ca, cert, key })
  } catch (cause) {
    const named = Object.values(files).filter((file) => file !== null)
    throw invalid(`${at}/tls`, `of ${named.join(', ')} one is not PEM, or the key is not the certificate's`, cause)
  }
}

/** Throws ASSAY_CONFIG_INVALID, which names the file. */
export async function readSasl(sasl: KafkaSasl, at: string): Promise<SASLOptions | Mechanism> {
  const { mechanism } = sasl
  if (mechanism === 'oauthbearer') {
    const path = `${at}/sasl/token_file`
    const file = needed(path, sasl.token_file)
    const readToken = (): Promise<string> => readSecret(path, file)
    await readToken()
    return { mechanism, authenticationProvider: (args) => bearer(args, path, readToken) }
  }
  const username = needed(`${at}/sasl/username`, sasl.username)
  const path = `${at}/sasl/password_file`
  const password = await readSecret(path, needed(path, sasl.password_file))
  const options: SASLOptions = { mechanism, username, password }
  return options
}

/**
 * RFC 7628. Brokers refuse a token by an answer, where kafkajs's own expects an error and takes the connection for
 * authenticated. The token is read again whenever a connection has to authenticate anew.
 */
function bearer(
  { saslAuthenticate }: AuthenticationProviderArgs,
  path: string,
  readToken: () => Promise<string>,
): Authenticator {
  return {
    async authenticate() {
      const token = Buffer.from(`n,,\u0001auth=Bearer ${await readToken()}\u0001\u0001`)
      const length = Buffer.alloc(4)
      length.writeInt32BE(token.length)
      const refusal = await saslAuthenticate({
        request: { encode: () => Buffer.concat([length, token]) },
        response: { decode: (bytes) => bytes, parse: (bytes) => bytes.subarray(4) },
      })
      if (refusal !== undefined && refusal.length > 0)
        throw new AssayError('ASSAY_KAFKA_REFUSED', `${path}: the brokers do not accept the token`)
    },
  }
}

async function readSecret(path: string, file: string): Promise<string> {
  return (await readText(path, file)).replace(/\r?\n$/, '')
}

async function readText(path: string, file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw invalid(path, `the file ${file} cannot be read`, cause)
  })
  // An empty list of authorities would be taken for none given: those of Node.js.
  if (text.trim() === '') throw invalid(path, `the file ${file} is empty`)
  return text
}

function needed(path: string, value: string | null | undefined): string {
  if (value === null || value === undefined) throw invalid(path, 'the mechanism needs it')
  return value
}

function invalid(path: string, message: string, cause?: unknown): AssayError {
  return new AssayError('ASSAY_CONFIG_INVALID', `${path}: ${message}`, { cause, errors: [{ path, message }] })
}
