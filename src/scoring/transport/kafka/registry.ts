// A client of a schema registry that speaks Confluent's HTTP API. It is asked seldom: what it says is kept elsewhere.
// Over node:http and not fetch, which takes no certificates of its own to trust. A schema is taken only if it is a
// version of the subject that is allowed. What the registry refuses about one schema, while it answers about the
// subject, is that schema's fault and a rejection; everything else is the registry's, and thrown.
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import type { RegistryConfig } from '../../../contract/kafka.js'
import { AssayError, errorOf, reject, type Rejection } from '../../../errors.js'
import type { Limits } from '../../../limits.js'

export interface Registry {
  /** Whether it answers about a subject, which need not have a schema yet. */
  check(subject: string): Promise<void>
  /** The text of a schema by `ids/<id>` or `guids/<guid>`. */
  schemaOf(schema: string, subject: string): Promise<string | Rejection>
  /** The id of a schema under a subject, where it is registered if it is not there. */
  register(subject: string, schema: string): Promise<number>
}

interface Reply {
  readonly status: number
  readonly value: unknown
}

/** Milliseconds before the second try; doubled with each. */
const RETRY_MS = 100
/** Bytes of an answer beside the schema in it, which JSON may double. */
const FRAMING_BYTES = 16 << 10
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'

/**
 * Reads its files, and connects nothing. Each call throws ASSAY_REGISTRY_UNAVAILABLE or ASSAY_REGISTRY_REFUSED, soon
 * after `signal`, too.
 */
export function createRegistry(config: RegistryConfig, limits: Limits, signal: AbortSignal): Registry {
  const base = config.url.replace(/\/+$/, '')
  const options: https.RequestOptions = {
    ...{ agent: false, headers: headersOf(config) },
    ...((config.ca_file ?? null) !== null && { ca: readSecret(config.ca_file ?? '') }),
  }

  /** One answer of whatever status below 500. */
  async function once(path: string, body: string | null): Promise<Reply> {
    const url = new URL(base + path)
    const request = (url.protocol === 'https:' ? https : http).request(url, {
      ...{ ...options, method: body === null ? 'GET' : 'POST' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(limits.registryAnswerMsMax)]),
    })
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      request.once('response', resolve).once('error', reject).end(body)
    })
    // Whatever comes after the answer began is told by the reading of it.
    request.on('error', () => undefined)
    const text = await readText(response, 2 * limits.schemaBytesMax + FRAMING_BYTES)
    const status = response.statusCode ?? 0
    if (status >= 500 || status === 429) throw new Error(`it answered with ${status}`)
    return { status, value: status === 200 ? JSON.parse(text) : parsed(text) }
  }

  async function ask(path: string, body: string | null = null): Promise<Reply> {
    for (let tries = 1; ; tries++) {
      try {
        return await once(path, body)
      } catch (error) {
        if (tries < limits.registryTriesMax && !signal.aborted) {
          await delay(RETRY_MS * 2 ** (tries - 1), undefined, { signal }).catch(() => undefined)
          continue
        }
        const detail = `${base} does not answer as a registry does: ${errorOf(error).message}`
        throw new AssayError('ASSAY_REGISTRY_UNAVAILABLE', detail, { cause: error })
      }
    }
  }

  async function check(subject: string): Promise<void> {
    const { status, value } = await ask(`/subjects/${subject}/versions`)
    if (status === 200 && Array.isArray(value)) return
    // A 404 of the registry's own words: any other server has one, too.
    if (Math.floor(Number(field(value, 'error_code')) / 100) !== 404)
      throw refused(`what is asked about ${subject}`, status)
  }

  /** Ids of a schema: a GUID has one in each context. Null where the registry says that there is none. */
  async function idsOf(schema: string): Promise<unknown[] | null> {
    if (schema.startsWith('ids/')) return [schema.slice('ids/'.length)]
    const { status, value } = await ask(`/schemas/${schema}/ids`)
    return status === 200 ? listOf(value).map((entry) => field(entry, 'id')) : null
  }

  async function isAllowed(schema: string, subject: string): Promise<boolean> {
    for (const id of (await idsOf(schema)) ?? []) {
      // One that is deleted stays readable: what was written under it is still there.
      const { status, value } = await ask(`/schemas/ids/${String(id)}/versions?deleted=true`)
      if (status === 200 && listOf(value).some((entry) => field(entry, 'subject') === subject)) return true
    }
    return false
  }

  return {
    check,
    async schemaOf(schema, subject) {
      const { status, value } = await ask(`/schemas/${schema}`)
      const text = status === 200 ? textOf(value) : null
      if (text !== null && (await isAllowed(schema, subject))) return text
      await check(subject)
      if (status === 404) return reject('ASSAY_SCHEMA_UNKNOWN', `${schema} is not registered`)
      if (status === 200 && text === null) return reject('ASSAY_SCHEMA_INCOMPATIBLE', `${schema} is not Avro by itself`)
      return reject('ASSAY_SUBJECT_REFUSED', `${schema} is no version of ${subject}`)
    },
    async register(subject, schema) {
      const body = JSON.stringify({ schema })
      const known = await ask(`/subjects/${subject}`, body)
      const { status, value } = known.status === 200 ? known : await ask(`/subjects/${subject}/versions`, body)
      const id = field(value, 'id')
      if (status === 200 && typeof id === 'number') return id
      throw refused(`to register a schema under ${subject}`, status)
    },
  }

  function refused(what: string, status: number): AssayError {
    return new AssayError('ASSAY_REGISTRY_REFUSED', `${base} refuses ${what}: it answered with ${status}`)
  }
}

function headersOf({ username, password_file: file }: RegistryConfig): Record<string, string> {
  const headers = { accept: `${MEDIA_TYPE}, application/json`, 'content-type': MEDIA_TYPE }
  if (typeof username !== 'string' || typeof file !== 'string') return headers
  const pair = Buffer.from(`${username}:${readSecret(file).trim()}`).toString('base64')
  return { ...headers, authorization: `Basic ${pair}` }
}

function readSecret(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new AssayError('ASSAY_CONFIG_INVALID', `the file ${file} of the registry cannot be read`, { cause })
  }
}

async function readText(response: http.IncomingMessage, bytesMax: number): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response) {
    if (!Buffer.isBuffer(part)) continue
    bytes += part.length
    if (bytes > bytesMax) throw new Error(`over ${bytesMax} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** What an error says; it need not be JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** The text of an Avro schema that refers to no other. */
function textOf(value: unknown): string | null {
  const schema = field(value, 'schema')
  const isAvro = (field(value, 'schemaType') ?? 'AVRO') === 'AVRO' && listOf(field(value, 'references')).length === 0
  return typeof schema === 'string' && isAvro ? schema : null
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Object.getOwnPropertyDescriptor(value, name)?.value : undefined
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
