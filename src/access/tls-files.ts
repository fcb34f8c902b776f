// Certificate and key of a listener, out of the files that the configuration names. Read at the start and kept nowhere
// else; nothing of a key is ever part of an error.
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { ListenerTls } from '../contract/tls.js'
import { AssayError } from '../errors.js'

export interface TlsFiles {
  readonly cert: Buffer
  readonly key: Buffer
  /** Authorities of the clients; null where they need no certificate. */
  readonly ca: Buffer | null
}

/** Null where there is none; `at` is where the configuration stands. Throws ASSAY_CONFIG_INVALID, which names files. */
export function readTls(tls: ListenerTls, at: string): TlsFiles | null {
  if (tls === null) return null
  const { cert_file, key_file, ca_file = null } = tls
  const cert = readPem(`${at}/cert_file`, cert_file)
  const key = readPem(`${at}/key_file`, key_file)
  const ca = ca_file === null ? null : readPem(`${at}/ca_file`, ca_file)
  try {
    // An authority that cannot be read would be left out without a word.
    if (ca !== null) void new X509Certificate(ca)
    createSecureContext({ cert, key, ...(ca !== null && { ca }) })
    return { cert, key, ca }
  } catch (cause) {
    const named = [cert_file, key_file, ...(ca_file === null ? [] : [ca_file])].join(', ')
    throw invalid(at, `of ${named} one is not PEM, or the key is not the certificate's`, cause)
  }
}

function readPem(path: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    throw invalid(path, `the file ${file} cannot be read`, cause)
  }
}

function invalid(path: string, message: string, cause: unknown): AssayError {
  return new AssayError('ASSAY_CONFIG_INVALID', `${path}: ${message}`, { errors: [{ path, message }], cause })
}
