// What became known about a transaction later: chargebacks, analysts' verdicts, issuers' answers.

/** A validated label. Key is (transactionId, source, knownAtMs); `kind` fraud or authorisation. */
export interface Label {
  transactionId: string
  kind: 'fraud' | 'authorisation'
  /** fraud: true = fraud, false reverses. authorisation: true = approved by the issuer. */
  value: boolean
  source: string
  knownAtMs: number
  /** Event time and entities where the sender gives them, so that it counts for a transaction no longer held. */
  occurredAtMs: number | null
  /** Values of declared entity fields in the order of the schema's entity fields; null where absent. */
  entities: (string | null)[]
}
