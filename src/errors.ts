// The one table of codes and the one error class.
// A rejection (bad input, over a limit) is a value made by `reject`; a fault (a dependency failed) is a thrown
// AssayError; a broken invariant is an assertion. Nothing else crosses a boundary.

export type ErrorKind = 'rejection' | 'fault'

export interface ErrorEntry {
  readonly kind: ErrorKind
  readonly status: number
  readonly retryable: boolean
  readonly message: string
}

/** Code → kind, HTTP status, whether the same call may succeed later, and the title shown to users. */
export const ERRORS = {
  ASSAY_BODY_MALFORMED: entry('rejection', 400, false, 'The body is not well-formed'),
  ASSAY_SCHEMA_INVALID: entry('rejection', 400, false, 'The input does not fit the schema'),
  ASSAY_HEADER_INVALID: entry('rejection', 400, false, 'A header has a value that is not allowed'),
  ASSAY_TENSOR_INVALID: entry('rejection', 400, false, 'A tensor is not what the model takes or gives'),
  ASSAY_UNAUTHENTICATED: entry('rejection', 401, false, 'A valid key is required'),
  ASSAY_KEY_EXPIRED: entry('rejection', 401, false, 'The key is known, but its time is over'),
  ASSAY_ROLE_REFUSED: entry('rejection', 403, false, 'The key is known, but its role may not do that'),
  ASSAY_ORIGIN_REFUSED: entry('rejection', 403, false, 'A page of another site asks, through a browser'),
  ASSAY_ROUTE_UNKNOWN: entry('rejection', 404, false, 'There is nothing at this address'),
  ASSAY_DECISION_UNKNOWN: entry('rejection', 404, false, 'No decision of that id is held in the index'),
  ASSAY_MODEL_UNKNOWN: entry('rejection', 404, false, 'No model is loaded under that name and version'),
  ASSAY_METHOD_REFUSED: entry('rejection', 405, false, 'This address does not take that method'),
  ASSAY_BODY_TIMEOUT: entry('rejection', 408, true, 'The body did not arrive in time'),
  ASSAY_DUPLICATES_WAITING: entry('rejection', 409, true, 'Too many repeats of this transaction wait for its decision'),
  ASSAY_CHANGE_CONFLICT: entry('rejection', 409, false, 'What is served and loaded does not allow this change'),
  ASSAY_MODEL_NOT_APPROVED: entry('rejection', 409, false, 'The policy wants an approval that the model does not have'),
  ASSAY_REVISION_STALE: entry('rejection', 412, false, 'The routes have changed since this revision'),
  ASSAY_BODY_TOO_LARGE: entry('rejection', 413, false, 'The body is larger than allowed'),
  ASSAY_MEDIA_TYPE_REFUSED: entry('rejection', 415, false, 'The media type is not supported here'),
  ASSAY_CARD_DATA_REFUSED: entry('rejection', 422, false, 'The input holds card data, which is never accepted'),
  ASSAY_CURRENCY_UNLISTED: entry('rejection', 422, false, 'The policy does not list this currency'),
  ASSAY_TIME_IN_FUTURE: entry('rejection', 422, false, 'occurred_at lies too far ahead of the clock of the server'),
  ASSAY_MODEL_NOT_LOADED: entry('rejection', 422, false, 'This server has not loaded the model that is named'),
  ASSAY_TRANSACTION_REUSED: entry('rejection', 422, false, 'This transaction_id was decided with different content'),
  ASSAY_SCHEMA_UNKNOWN: entry('rejection', 422, false, 'The schema registry holds no schema of this id'),
  ASSAY_SUBJECT_REFUSED: entry('rejection', 422, false, 'The schema is of no subject that is allowed here'),
  ASSAY_SCHEMA_INCOMPATIBLE: entry('rejection', 422, false, 'What is written under this schema cannot be read as ours'),
  ASSAY_INFERENCE_FAILED: entry('rejection', 422, false, 'The model gives no score for this input'),
  ASSAY_REVISION_MISSING: entry('rejection', 428, false, 'The revision that the change is meant for must be named'),
  ASSAY_TOO_MANY_FAILURES: entry('rejection', 429, true, 'Too many keys from this address were not valid; wait'),
  ASSAY_OVERLOADED: entry('rejection', 503, true, 'The server is at its limit'),
  ASSAY_MODEL_UNAVAILABLE: entry('rejection', 503, true, 'The model takes no rows now'),
  ASSAY_NOT_READY: entry('rejection', 503, true, 'The server is starting or draining'),
  ASSAY_LOG_UNAVAILABLE: entry('rejection', 503, true, 'The decision log cannot take a record'),
  ASSAY_DECISION_UNCONFIRMED: entry(
    'rejection',
    503,
    true,
    'The decision is not durable yet; a retry gets the same one',
  ),
  ASSAY_CONFIG_INVALID: entry('fault', 500, false, 'The configuration is not valid'),
  ASSAY_CATALOGUE_INVALID: entry('fault', 500, false, 'The feature catalogue is not valid'),
  ASSAY_BUNDLE_REFUSED: entry('fault', 422, false, 'The model bundle does not pass the gate'),
  ASSAY_PROVIDER_MISSING: entry(
    'fault',
    422,
    false,
    'The execution provider that a model is to run on is missing here',
  ),
  ASSAY_MODEL_FAILED: entry('fault', 500, true, 'The model could not be loaded or run'),
  ASSAY_LOG_LOCKED: entry('fault', 500, false, 'Another server writes this decision log'),
  ASSAY_LOG_DAMAGED: entry('fault', 500, false, 'The decision log is damaged'),
  ASSAY_LOG_IO: entry('fault', 500, true, 'The decision log could not be read or written'),
  ASSAY_INPUT_INVALID: entry('fault', 500, false, 'An input file is not as it must be'),
  ASSAY_SERVER_UNREACHABLE: entry('fault', 503, true, 'No server answers at this address'),
  ASSAY_USAGE: entry('fault', 500, false, 'The command line is not valid'),
  ASSAY_INTERNAL: entry('fault', 500, true, 'The server met a fault of its own'),
  ASSAY_BINDING_MISSING: entry('fault', 500, false, 'No uWebSockets.js build loads on this machine'),
  ASSAY_STORE_REFUSED: entry(
    'fault',
    500,
    false,
    'The governance store cannot be used; `assay govern rebuild` makes it anew',
  ),
  ASSAY_BACKUP_REFUSED: entry('fault', 500, false, 'The backup is of another log, or cannot be restored here'),
  ASSAY_STORE_LOCKED: entry('fault', 500, true, 'Another sidecar uses this governance store'),
  ASSAY_STORE_IO: entry('fault', 503, true, 'The governance store could not be read or written'),
  ASSAY_KAFKA_UNAVAILABLE: entry('fault', 503, true, 'The Kafka brokers do not answer'),
  ASSAY_KAFKA_REFUSED: entry('fault', 503, true, 'Authentication or authorisation with the Kafka brokers failed'),
  ASSAY_TOPIC_REFUSED: entry('fault', 500, true, 'A Kafka topic is missing, or not as it must be'),
  ASSAY_LETTER_UNKNOWN: entry('fault', 500, false, 'No dead letter is held at this place'),
  ASSAY_REPLAY_INCOMPLETE: entry('fault', 500, false, 'Not every dead letter that was asked for was sent again'),
  ASSAY_STATE_UNAVAILABLE: entry('fault', 503, true, 'The Redis that holds the shared state does not answer'),
  ASSAY_STATE_REFUSED: entry('fault', 500, false, 'The Redis that holds the shared state cannot be used as it is'),
  ASSAY_REGISTRY_UNAVAILABLE: entry('fault', 503, true, 'The schema registry does not answer'),
  ASSAY_REGISTRY_REFUSED: entry('fault', 500, true, 'The schema registry refuses what is asked of it'),
  ASSAY_ADDRESS_REFUSED: entry('fault', 500, false, 'A listener cannot be opened'),
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERRORS

function entry(kind: ErrorKind, status: number, retryable: boolean, message: string): ErrorEntry {
  return { kind, status, retryable, message }
}

/** One fault of an input: an RFC 6901 JSON pointer ('' for the whole) and what is allowed there. Never the value. */
export interface InputFault {
  readonly path: string
  readonly message: string
}

/** Bad input or a limit, as a value: cheap, coded, carried to the client as problem+json. */
export interface Rejection {
  readonly code: ErrorCode
  readonly detail: string
  readonly errors: readonly InputFault[]
}

/** Makes a rejection; `errors` names every fault at once. */
export function reject(code: ErrorCode, detail: string, errors: readonly InputFault[] = []): Rejection {
  return { code, detail, errors }
}

/** Faults as one line. */
export function faultsText(faults: readonly InputFault[]): string {
  return faults.map(({ path, message }) => `${path}: ${message}`).join('; ')
}

/** A dependency failed or an operator's input is wrong. `cause` keeps what was underneath. */
export class AssayError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly errors: readonly InputFault[]

  constructor(code: ErrorCode, detail: string, options: { cause?: unknown; errors?: readonly InputFault[] } = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AssayError'
    this.code = code
    this.retryable = ERRORS[code].retryable
    this.errors = options.errors ?? []
  }
}

/** What was thrown, as an error. */
export function errorOf(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
