// The delayed way to a Redis as a process: arguments are the port of the Redis and the milliseconds each way. It tells
// its parent the port that it listens on, and ends with its parent.
import { openProxy } from '../../test/redis/proxy.js'

const [target, delayMs] = process.argv.slice(2).map(Number)
const { port } = await openProxy(target, delayMs)
process.send?.(port)
process.once('disconnect', () => process.exit(0))
