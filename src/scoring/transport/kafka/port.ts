// What the transport needs of a Kafka client; one file per client implements it.

/** A message as it came. */
export interface InMessage {
  readonly offset: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer>>
}

/** A message on its way out. */
export interface OutMessage {
  readonly partition: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

/** Messages of one fetch of one partition, in the order of their offsets. */
export interface InBatch {
  readonly topic: string
  readonly partition: number
  readonly messages: readonly InMessage[]
  /** Offset after the last message of the partition when it was fetched. */
  readonly endOffset: number
}

/** What the handler of a batch may ask of the group. */
export interface Membership {
  /** To be called while a batch takes its time; the client sends as often as the group needs. */
  heartbeat(): Promise<void>
  /** True once the partition belongs to another member: nothing more is to be produced of it. */
  isRevoked(): boolean
  /** Everything before `offset` is done. */
  commit(offset: number): Promise<void>
}

export type BatchHandler = (batch: InBatch, membership: Membership) => Promise<void>

export interface StreamClient {
  /** Partitions of a topic; null where there is no such topic. */
  partitions(topic: string): Promise<number | null>
  /** Joins the group. The batches of a partition come one after the other; one that fails comes again. */
  consume(topic: string, onBatch: BatchHandler): Promise<void>
  /** Resolves when all in-sync replicas have the messages; rejects where it is not known. */
  send(topic: string, messages: readonly OutMessage[]): Promise<void>
  /** Leaves the group and the brokers. */
  close(): Promise<void>
}
