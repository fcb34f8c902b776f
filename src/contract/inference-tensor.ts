// Tensors of the Open Inference Protocol as numbers: every numeric datatype, as JSON (flat or nested) and as the bytes
// of the binary tensor extension (little-endian, without padding). Pure.
// Invariant: what comes out is exactly what was meant, as doubles: an integer beyond ±(2^53 − 1) and an infinity are
// refused. NaN, in JSON null, means "nothing known"; whether that is taken is the model's to say (inference-rows.ts).

/** Names of the protocol, all that are numbers. */
export const DATATYPES = [
  ...(['BOOL', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64'] as const),
  ...(['FP16', 'FP32', 'FP64'] as const),
] as const
export type Datatype = (typeof DATATYPES)[number]

interface Numeric {
  readonly bytes: number
  /** What is told of an element that is refused. */
  readonly allowed: string
  /** The number that a JSON value stands for; undefined where it is none of this datatype. */
  readonly fromJson: (value: unknown) => number | undefined
  /** Infinite where the bytes hold what is not taken. */
  readonly read: (view: DataView, at: number) => number
}

function integer(bits: 8 | 16 | 32 | 64, isSigned: boolean, read: Numeric['read']): Numeric {
  const [low, high] = isSigned ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1]
  const [from, to] = [Math.max(low, Number.MIN_SAFE_INTEGER), Math.min(high, Number.MAX_SAFE_INTEGER)]
  const fromJson = (value: unknown): number | undefined =>
    typeof value === 'number' && Number.isInteger(value) && value >= from && value <= to ? value : undefined
  return { bytes: bits / 8, allowed: `an integer from ${from} to ${to}`, fromJson, read }
}

function float(bytes: number, round: (value: number) => number, read: Numeric['read']): Numeric {
  const allowed = 'a finite number of that width, or null (in bytes NaN) where nothing is known'
  const fromJson = (value: unknown): number | undefined =>
    value === null ? NaN : typeof value === 'number' ? round(value) : undefined
  return { bytes, allowed, fromJson, read }
}

/** A BigInt as a double where that is exact. */
function exact(value: bigint): number {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : Infinity
}

const NUMERIC: Readonly<Record<Datatype, Numeric>> = {
  BOOL: {
    bytes: 1,
    allowed: 'true or false (in bytes 1 or 0)',
    fromJson: (value) => (typeof value === 'boolean' ? Number(value) : undefined),
    read: (view, at) => (view.getUint8(at) <= 1 ? view.getUint8(at) : Infinity),
  },
  UINT8: integer(8, false, (view, at) => view.getUint8(at)),
  UINT16: integer(16, false, (view, at) => view.getUint16(at, true)),
  UINT32: integer(32, false, (view, at) => view.getUint32(at, true)),
  UINT64: integer(64, false, (view, at) => exact(view.getBigUint64(at, true))),
  INT8: integer(8, true, (view, at) => view.getInt8(at)),
  INT16: integer(16, true, (view, at) => view.getInt16(at, true)),
  INT32: integer(32, true, (view, at) => view.getInt32(at, true)),
  INT64: integer(64, true, (view, at) => exact(view.getBigInt64(at, true))),
  FP16: float(2, toHalf, (view, at) => fromHalf(view.getUint16(at, true))),
  FP32: float(4, Math.fround, (view, at) => view.getFloat32(at, true)),
  FP64: float(
    8,
    (value) => value,
    (view, at) => view.getFloat64(at, true),
  ),
}

/** The nearest half precision number (IEEE 754 binary16, ties to even); infinite beyond 65,504. */
function toHalf(value: number): number {
  const magnitude = Math.abs(value)
  if (!(magnitude < 65_520)) return value * Infinity
  // Numbers from 2^e on are 2^(e − 10) apart; below the smallest normal one (2^−14) the distance stays.
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), -14)
  const step = 2 ** (exponent - 10)
  const steps = magnitude / step
  const below = Math.floor(steps)
  const isUp = steps - below > 0.5 || (steps - below === 0.5 && below % 2 === 1)
  return Math.sign(value) * (below + (isUp ? 1 : 0)) * step
}

function fromHalf(bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  if (exponent === 0) return sign * fraction * 2 ** -24
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** Numbers of a tensor in row-major order, or where and why not: `at` is the place of an element, or -1 for all. */
export type Elements = Float64Array | { readonly at: number; readonly message: string }

export function isElements(read: Elements): read is Float64Array {
  return read instanceof Float64Array
}

export function elementBytes(datatype: Datatype): number {
  return NUMERIC[datatype].bytes
}

/** Reads JSON data, flat or nested as the shape says. `count` is the product of the shape. */
export function elementsOfJson(
  datatype: Datatype,
  data: readonly unknown[],
  { shape, count }: { readonly shape: readonly number[]; readonly count: number },
): Elements {
  const flat = Array.isArray(data[0]) ? unnest(data, shape) : data
  if (flat === null) return { at: -1, message: `nested as the shape [${shape.join(', ')}] says, or flat` }
  if (flat.length !== count) return { at: -1, message: `${count} elements by the shape, here ${flat.length}` }
  const { fromJson, allowed } = NUMERIC[datatype]
  const elements = new Float64Array(count)
  for (let at = 0; at < count; at++) {
    const element = fromJson(flat[at])
    if (element === undefined || Math.abs(element) === Infinity) return { at, message: `${datatype}: ${allowed}` }
    elements[at] = element
  }
  return elements
}

/** Null where the nesting is not that of the shape. */
function unnest(data: readonly unknown[], shape: readonly number[]): unknown[] | null {
  let level: readonly unknown[] = [data]
  for (const length of shape) {
    const next: unknown[] = []
    for (const part of level) {
      if (!Array.isArray(part) || part.length !== length) return null
      for (const inner of part as readonly unknown[]) next.push(inner)
    }
    level = next
  }
  return level.some(Array.isArray) ? null : [...level]
}

/** Reads `count` elements from bytes that are exactly as many. */
export function elementsOfBytes(datatype: Datatype, bytes: Uint8Array, count: number): Elements {
  const { bytes: size, read, allowed } = NUMERIC[datatype]
  if (bytes.length !== count * size) {
    return { at: -1, message: `${count} elements of ${size} bytes by the shape, here ${bytes.length} bytes` }
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const elements = new Float64Array(count)
  for (let at = 0; at < count; at++) {
    const element = read(view, at * size)
    if (Math.abs(element) === Infinity) return { at, message: `${datatype}: ${allowed}` }
    elements[at] = element
  }
  return elements
}
