// How kafkajs reaches the brokers: where they are, how it waits, what becomes of its connections.
import net from 'node:net'
import { Kafka, logLevel } from 'kafkajs'
import type { KafkaConfig } from '../../../contract/kafka.js'
import { AssayError } from '../../../errors.js'

export interface Connection {
  readonly kafka: Kafka
  /** No new connections; those that are open stay, so that a group is left in order. */
  refuse(): void
  /** Ends what is open. */
  destroy(): void
}

/** Connects nothing yet. `onWarning` hears what the client has to say. */
export function createConnection(config: KafkaConfig, onWarning: (detail: string) => void): Connection {
  const open = new Set<net.Socket>()
  let isRefusing = false
  const kafka = new Kafka({
    ...{ brokers: config.brokers, clientId: config.client_id, logLevel: logLevel.WARN },
    logCreator: () => (entry) => onWarning(`${entry.namespace}: ${entry.log.message}`),
    // Whoever uses it tries again by itself, and for as long as it takes.
    retry: { retries: 5, initialRetryTime: 100, maxRetryTime: 5_000 },
    // A consumer that is told to end while it joins goes on and joins all the same, over a new connection if need be:
    // without any it gives up. Nagle is on by default.
    socketFactory({ host, port, onConnect }) {
      const socket = new net.Socket()
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      if (isRefusing) process.nextTick(() => socket.destroy(new Error('the client was closed')))
      else socket.connect({ host, port }, onConnect).setNoDelay(true).setKeepAlive(true, 60_000)
      return socket
    },
  })
  return {
    kafka,
    refuse: () => void (isRefusing = true),
    destroy() {
      for (const socket of open) socket.destroy(new Error('the client was closed'))
    },
  }
}

export function unreachable({ brokers }: KafkaConfig, cause: unknown): AssayError {
  const detail = cause instanceof Error ? cause.message : String(cause)
  return new AssayError('ASSAY_KAFKA_UNAVAILABLE', `the brokers ${brokers.join(', ')} do not answer: ${detail}`, {
    cause,
  })
}
