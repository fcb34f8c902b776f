// Decoded records as JSON holds them, to be compared with fixtures. No test.

/** Bytes as hexadecimal digits. */
export function plain(value: unknown): unknown {
  const text = JSON.stringify(value, (_, inner: unknown) => {
    if (inner instanceof Uint8Array) return Buffer.from(inner).toString('hex')
    if (typeof inner === 'object' && inner !== null && 'type' in inner && inner.type === 'Buffer' && 'data' in inner) {
      return Buffer.from(inner.data as number[]).toString('hex')
    }
    return inner
  })
  return JSON.parse(text)
}
