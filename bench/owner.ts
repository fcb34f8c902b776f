// Ends what a proof has started, the last first: for parts of tests that a test would end.

export interface Owner {
  teardown(end: () => unknown): void
  end(): Promise<void>
}

export function createOwner(): Owner {
  const ends: (() => unknown)[] = []
  return {
    teardown: (end) => void ends.unshift(end),
    async end() {
      for (const each of ends) await each()
    },
  }
}
