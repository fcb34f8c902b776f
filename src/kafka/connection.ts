// How kafkajs reaches the brokers: where they are, who it is to them, how it waits, what becomes of its connections;
// and what its errors mean.
import net from 'node:net'
import tls from 'node:tls'
import { Kafka, type LogEntry, logLevel } from 'kafkajs'
import { isLoopback } from '../contract/address.js'
import { type BrokersConfig, sendsSecretInClear } from '../contract/kafka.js'
import { AssayError, errorOf } from '../errors.js'
import { readSasl, readTls } from './credentials.js'

export interface Connection {
  readonly kafka: Kafka
  /** No new connections; those that are open stay, so that a group is left in order. */
  refuse(): void
  /** Ends what is open. */
  destroy(): void
  /** What the client threw, with its code; `what` is what was asked of the brokers. */
  faultOf(what: string, thrown: unknown): AssayError
}

/** Milliseconds that the way to a broker may take; TLS goes it three times. */
const CONNECT_MS_MAX = 5_000
const KEEP_ALIVE_MS = 60_000
/** The client hides why it has no coordinator of a group; it is in its log just before. */
const GROUP_REFUSED = /^Not authorized to access group/

/**
 * Connects nothing yet; certificates and passwords are those that the files hold now. `onWarning` hears what the client
 * has to say; `at` is where the configuration stands. Throws ASSAY_CONFIG_INVALID where a file does not do.
 */
export async function createConnection(
  config: BrokersConfig,
  onWarning: (detail: string) => void,
  at = '/process/kafka',
): Promise<Connection> {
  const secureContext = config.tls === null ? null : await readTls(config.tls, at)
  const sasl = config.sasl === null ? undefined : await readSasl(config.sasl, at)
  const open = new Set<net.Socket>()
  let isRefusing = false
  let groupRefusal: string | null = null

  /** Why there is to be no connection to a host; null where there may be one. */
  function refusal(host: string): Error | null {
    if (isRefusing) return new Error('the client was closed')
    // Brokers name each other: those that the configuration names are not all.
    if (!sendsSecretInClear(config) || isLoopback(host)) return null
    return new AssayError('ASSAY_KAFKA_REFUSED', `without tls, ${host} would be sent a secret in the clear`)
  }

  function connect(host: string, port: number, onConnect: () => void): net.Socket {
    if (secureContext === null) return net.connect({ host, port }, onConnect)
    // A certificate names hosts; where an address is asked for, Node.js looks for the address.
    const named = net.isIP(host) === 0 ? { servername: host } : {}
    return tls.connect({ host, port, secureContext, rejectUnauthorized: true, ...named }, onConnect)
  }

  function hear({ namespace, log: { message, error } }: LogEntry): void {
    const said: string | null = typeof error === 'string' ? error : null
    if (said !== null && GROUP_REFUSED.test(said)) groupRefusal = said
    onWarning(`${namespace}: ${message}${said === null ? '' : `: ${said}`}`)
  }

  const kafka = new Kafka({
    ...{ brokers: config.brokers, clientId: config.client_id, logLevel: logLevel.WARN, sasl },
    ...{ connectionTimeout: CONNECT_MS_MAX },
    logCreator: () => (entry) => hear(entry),
    // Whoever uses it tries again by itself, and for as long as it takes.
    retry: { retries: 5, initialRetryTime: 100, maxRetryTime: 5_000 },
    // A consumer that is told to end while it joins goes on and joins all the same, over a new connection if need be:
    // without any it gives up. Nagle is on by default.
    socketFactory({ host, port, onConnect }) {
      const refused = refusal(host)
      const socket = refused === null ? connect(host, port, onConnect) : new net.Socket()
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      if (refused !== null) process.nextTick(() => socket.destroy(refused))
      return socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
    },
  })
  return {
    kafka,
    refuse: () => void (isRefusing = true),
    destroy() {
      for (const socket of open) socket.destroy(new Error('the client was closed'))
    },
    faultOf(what, thrown) {
      const errors = causes(thrown)
      const coded = errors.find((error) => error instanceof AssayError)
      if (coded !== undefined) return coded
      const isHidden = errors.some(({ name }) => name === 'KafkaJSGroupCoordinatorNotFound')
      const refusal = isHidden ? groupRefusal : null
      const isRefused = refusal !== null || isUnauthenticated(thrown) || isUnauthorised(errors)
      const [code, said] = isRefused
        ? (['ASSAY_KAFKA_REFUSED', 'it is not accepted by them, or they by it'] as const)
        : (['ASSAY_KAFKA_UNAVAILABLE', 'no answer'] as const)
      const detail = `${what} at ${config.brokers.join(', ')}: ${said}: ${refusal ?? errorOf(thrown).message}`
      return new AssayError(code, detail, { cause: thrown })
    },
  }
}

/** Codes of Node.js for a handshake that failed: what the certificate is, and what the other side says of ours. */
const HANDSHAKE = /^ERR_(TLS|SSL)_|CERT|_SIGNATURE$|^INVALID_(CA|PURPOSE)$|^PATH_LENGTH_EXCEEDED$/

/** The second where a client that is connected was to authenticate anew and could not. */
const SASL_REFUSED = new Set(['SASL_AUTHENTICATION_FAILED', 'ILLEGAL_SASL_STATE'])

/** True where what this server shows, or whom it trusts, was not accepted: other connections may be. */
export function isUnauthenticated(thrown: unknown): boolean {
  return causes(thrown).some((error) => {
    if (error instanceof AssayError) return error.code === 'ASSAY_KAFKA_REFUSED'
    if (error.name === 'KafkaJSSASLAuthenticationError') return true
    if ('type' in error && SASL_REFUSED.has(String(error.type))) return true
    const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
    return code === 'ASSAY_KAFKA_REFUSED' || HANDSHAKE.test(code)
  })
}

function isUnauthorised(errors: readonly Error[]): boolean {
  return errors.some((error) => 'type' in error && /_AUTHORIZATION_FAILED$/.test(String(error.type)))
}

/** An error and what it came from, outermost first. */
function causes(thrown: unknown): Error[] {
  return thrown instanceof Error ? [thrown, ...causes(thrown.cause)] : []
}
