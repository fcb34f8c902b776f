// The process's ledger of threads that hang inside a native call. Such a thread can be neither ended nor waited for, so
// a process replaces one of them once; after that the model stays unloaded and a restart is asked for.
// One ledger per process, shared by all lanes. It ends nothing itself.

export interface Hangs {
  /** Uses up the one replacement; false where it is used up, and from then on `restartNeeded`. */
  takeReplacement(): boolean
  /** A thread was given up. */
  abandoned(): void
  /** A thread that was given up came back and ended. */
  returned(): void
  /**
   * Threads given up that are still inside a call. While there is one, `process.exit` waits for it and then aborts with
   * 134 (the runtime throws in a thread that is being ended): only SIGKILL ends such a process.
   */
  stuck(): number
  /** A hanging thread was not replaced: status asks for a restart. */
  restartNeeded(): boolean
}

/** Makes the ledger; `replacementsMax` is 1 but in tests. */
export function createHangs(replacementsMax = 1): Hangs {
  let replacements = 0
  let stuck = 0
  let restartNeeded = false
  return {
    takeReplacement() {
      if (replacements === replacementsMax) {
        restartNeeded = true
        return false
      }
      replacements++
      return true
    },
    abandoned() {
      stuck++
    },
    returned() {
      stuck--
    },
    stuck: () => stuck,
    restartNeeded: () => restartNeeded,
  }
}
