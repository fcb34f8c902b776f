// Work of a server beside its payments: the thread that does it gives way to all that answer them.
import { setPriority } from 'node:os'

const NICE = 19

/** On Linux this is the priority of the calling thread, not of the process; elsewhere there is no such thing. */
export function giveWay(): void {
  if (process.platform === 'linux') setPriority(NICE)
}
