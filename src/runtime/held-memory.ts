// Memory that grows with the state and is held for good. The collector counts the bytes of array buffers, and stops the
// thread for some milliseconds whenever about 100 MB more have come; it does not count those of shared ones. Nobody
// shares it.

/** So many bytes, all zero. */
export function heldMemory(bytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(bytes)
}
