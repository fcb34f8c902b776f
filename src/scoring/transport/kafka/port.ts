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
  /** Counts the assignments of this client: one never ends while a batch of it is handled. */
  readonly generation: number
  /** To be called while a batch takes its time; the client sends as often as the group needs. */
  heartbeat(): Promise<void>
  /** True once the partition belongs to another member: nothing more is to be produced of it. */
  isRevoked(): boolean
  /** Everything before `offset` is done. `metadata` is kept beside it. */
  commit(offset: number, metadata: string): Promise<void>
}

export type BatchHandler = (batch: InBatch, membership: Membership) => Promise<void>

export interface StreamClient {
  /** Partitions of a topic; null where there is no such topic. */
  partitions(topic: string): Promise<number | null>
  /**
   * Joins the group. The batches of a partition come one after the other; one that fails comes again. `onEnd` is called
   * where the membership ends by itself: the client is to be closed then, and another to be made.
   */
  consume(topic: string, onBatch: BatchHandler, onEnd: (error: unknown) => void): Promise<void>
  /** What was committed beside the group's position in a partition; empty where there is none. */
  metadata(topic: string, partition: number): Promise<string>
  /**
   * The offset after the last message of a partition of the topic that is written to, with what is held from `from` on
   * (at most `max` messages before the end) handed over in order.
   */
  readBack(partition: number, from: number, max: number, onMessage: (message: InMessage) => void): Promise<number>
  /**
   * The messages of one topic and partition. Resolves with the offset of the first when all in-sync replicas have them;
   * rejects where that is not known.
   */
  send(topic: string, messages: readonly OutMessage[]): Promise<number>
  /** Leaves the group and the brokers. */
  close(): Promise<void>
}
