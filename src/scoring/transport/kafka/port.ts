// What the transport needs of a Kafka client; one file per client implements it.

/** A message as it came. */
export interface InMessage {
  readonly offset: number
  /** When it was produced or appended, as the topic has it. */
  readonly timestampMs: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer>>
}

/** A message on its way out. */
export interface OutMessage {
  readonly partition: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Record<string, string>
}

/** Messages of one fetch of one partition, in the order of their offsets. */
export interface InBatch {
  readonly topic: string
  readonly partition: number
  readonly messages: readonly InMessage[]
  /** Where this fetch began: nothing else is held from here on up to the last of its messages. */
  readonly from: number
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
  /** Everything before `offset` is done. `metadata` is kept beside it. Refused where this is no member any more. */
  commit(offset: number, metadata: string): Promise<void>
  /** The next batch begins at `offset`, which is committed. */
  advance(offset: number): void
}

/** A committed position; -1 where a group has none. */
export interface Position {
  readonly offset: number
  readonly metadata: string
}

/** Deliveries of which readers see all or nothing. */
export interface Transactions {
  /** Nobody who had the partition before can deliver anything of it any more. */
  fence(partition: number): Promise<void>
  /** Sends and commits the position, or neither. After a failure the partition is to be fenced again. */
  deliver(
    partition: number,
    sends: readonly { readonly topic: string; readonly messages: readonly OutMessage[] }[],
    position: Position,
  ): Promise<void>
}

export type BatchHandler = (batch: InBatch, membership: Membership) => Promise<void>

export interface StreamClient {
  /** Partitions of a topic; null where there is no such topic. */
  partitions(topic: string): Promise<number | null>
  /** The id under which a topic was made, asked anew each time; null where the brokers know none. */
  topicId(topic: string): Promise<string | null>
  /**
   * Joins the group, for the topics that have a handler. The batches of a partition come one after the other; one that
   * fails comes again. `onEnd` is called where the membership ends by itself: the client is to be closed then, and
   * another to be made.
   */
  consume(handlers: ReadonlyMap<string, BatchHandler>, onEnd: (error: unknown) => void): Promise<void>
  /** The offsets of a partition: of the first message at or after a time (null: of the first), and after the last. */
  bounds(topic: string, partition: number, sinceMs: number | null): Promise<{ start: number; end: number }>
  /** The group's position in a partition. */
  position(topic: string, partition: number): Promise<Position>
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
  /** Null where the configuration does not ask for them. */
  readonly transactions: Transactions | null
  /** Leaves the group and the brokers. */
  close(): Promise<void>
}
