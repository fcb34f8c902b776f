// The load: open loop from intended start times, or closed loop at N connections (semantics 14).
// Open loop: requests start when the schedule says, not when the server is done; latency counts from the intended
// start, so waiting for a free connection and the lateness of this generator are inside it. Every reply is checked.
// Refuses to be clever: each request's start and end are kept and evaluated after the run.
import { openClient, type Client } from './client.js'
import { startTicker } from './control.js'
import { monoMs } from './proc.js'
import type { RequestPool } from './requests.js'

/** Start (intended, or real in a closed loop) and end of each request that got a decision, monotonic ms. */
export interface Timeline {
  readonly starts: Float64Array
  readonly ends: Float64Array
  readonly count: number
}

export interface LoadResult {
  readonly timeline: Timeline
  readonly seconds: number
  /** Replies that were no 200 with a decision, by status; lost connections count under 0. */
  readonly errors: ReadonlyMap<number, number>
  /** Requests whose turn came and that were never answered. */
  readonly unanswered: number
  /** CPU of this process per request, µs, its threads included. */
  readonly generatorCpuUs: number
  /** Milliseconds from the intended start to the write, each request in order of sending; empty in a closed loop. */
  readonly lateness: Float64Array
}

export interface OpenLoopOptions {
  readonly port: number
  readonly connections: number
  readonly ratePerSecond: number
  readonly seconds: number
  readonly pool: RequestPool
  /** Milliseconds to wait for the last replies. */
  readonly graceMs?: number
}

interface Recorder {
  readonly starts: Float64Array
  readonly ends: Float64Array
  readonly errors: Map<number, number>
  count: number
  wrong: number
}

function createRecorder(capacity: number): Recorder {
  return { starts: new Float64Array(capacity), ends: new Float64Array(capacity), errors: new Map(), count: 0, wrong: 0 }
}

function record(recorder: Recorder, start: number, status: number, decided: boolean): void {
  if (status === 200 && decided) {
    if (recorder.count >= recorder.starts.length) throw new RangeError('more replies than the run was made for')
    recorder.starts[recorder.count] = start
    recorder.ends[recorder.count] = monoMs()
    recorder.count += 1
    return
  }
  recorder.wrong += 1
  recorder.errors.set(status, (recorder.errors.get(status) ?? 0) + 1)
}

function finish(
  recorder: Recorder,
  run: { beganMs: number; cpu: NodeJS.CpuUsage; lateness: Float64Array; sent: number },
): LoadResult {
  const cpu = process.cpuUsage(run.cpu)
  const { count, starts, ends, errors, wrong } = recorder
  return {
    timeline: { starts: starts.subarray(0, count), ends: ends.subarray(0, count), count },
    seconds: (monoMs() - run.beganMs) / 1e3,
    errors,
    unanswered: run.sent - count - wrong,
    generatorCpuUs: (cpu.user + cpu.system) / Math.max(1, count),
    lateness: run.lateness,
  }
}

/** Sends at a constant rate and resolves when all is answered or the grace is over. */
export async function openLoop(options: OpenLoopOptions): Promise<LoadResult> {
  const total = Math.round(options.ratePerSecond * options.seconds)
  const everyMs = 1e3 / options.ratePerSecond
  const recorder = createRecorder(total)
  const lateness = new Float64Array(total)
  const startOf = new Float64Array(options.connections)
  // A queue rather than a stack: all connections stay in use, none runs into the server's idle timeout.
  const idle = Array.from({ length: options.connections }, (_, connection) => connection)
  let idleFrom = 0
  let sent = 0
  let due = 0
  let beganMs = 0
  let done: () => void = () => undefined
  const finished = new Promise<void>((resolve) => (done = resolve))

  function pump(client: Client): void {
    const now = monoMs()
    due = Math.min(total, Math.floor((now - beganMs) / everyMs + 1e-6) + 1)
    const wallMs = Date.now()
    while (sent < due && idleFrom < idle.length) {
      const connection = idle[idleFrom++] ?? 0
      const intended = beganMs + sent * everyMs
      startOf[connection] = intended
      lateness[sent] = monoMs() - intended
      sent += 1
      client.send(connection, options.pool.next(wallMs))
    }
    if (idleFrom > 4096) idleFrom -= idle.splice(0, idleFrom).length
  }
  function free(connection: number): void {
    idle.push(connection)
    if (beganMs > 0 && sent < due) pump(client)
    if (recorder.count + recorder.wrong === total) done()
  }
  const client = await openClient(options, {
    onReply(connection, status, decided) {
      record(recorder, startOf[connection] ?? 0, status, decided)
      free(connection)
    },
    onLost(connection, busy) {
      if (busy) record(recorder, startOf[connection] ?? 0, 0, false)
      else drop(idle, idleFrom, connection)
    },
    onOpen: free,
  })
  const pace = startTicker('pace', everyMs)
  const cpu = process.cpuUsage()
  pace.worker.on('message', () => {
    // The schedule is the grid of the ticks; another phase would add half a tick to every latency.
    if (beganMs === 0) beganMs = pace.data.gaps[0] ?? 0
    pump(client)
  })
  const guard = setTimeout(done, options.seconds * 1e3 + (options.graceMs ?? 5_000))
  await finished
  clearTimeout(guard)
  await pace.stop()
  const result = finish(recorder, { beganMs, cpu, lateness: lateness.subarray(0, sent), sent: total })
  client.close()
  return result
}

function drop(idle: number[], from: number, connection: number): void {
  const at = idle.indexOf(connection, from)
  if (at !== -1) idle.splice(at, 1)
}

export interface ClosedLoopOptions {
  readonly port: number
  readonly connections: number
  readonly seconds: number
  readonly pool: RequestPool
  /** Room for this many replies a second. */
  readonly rateMax?: number
}

/** Each connection sends its next request when the last is answered. */
export async function closedLoop(options: ClosedLoopOptions): Promise<LoadResult> {
  const recorder = createRecorder(Math.ceil(options.seconds * (options.rateMax ?? 150_000)))
  const startOf = new Float64Array(options.connections)
  let out = 0
  let sent = 0
  let untilMs = Infinity
  let done: () => void = () => undefined
  const finished = new Promise<void>((resolve) => (done = resolve))

  function send(connection: number): void {
    const now = monoMs()
    if (now >= untilMs) {
      if (out === 0) done()
      return
    }
    startOf[connection] = now
    out += 1
    sent += 1
    client.send(connection, options.pool.next(Date.now()))
  }
  const client = await openClient(options, {
    onReply(connection, status, decided) {
      out -= 1
      record(recorder, startOf[connection] ?? 0, status, decided)
      send(connection)
    },
    onLost(connection, busy) {
      if (!busy) return
      out -= 1
      record(recorder, startOf[connection] ?? 0, 0, false)
      if (out === 0 && monoMs() >= untilMs) done()
    },
    onOpen: send,
  })
  const cpu = process.cpuUsage()
  const beganMs = monoMs()
  untilMs = beganMs + options.seconds * 1e3
  for (let connection = 0; connection < options.connections; connection++) send(connection)
  const guard = setTimeout(done, options.seconds * 1e3 + 5_000)
  await finished
  clearTimeout(guard)
  const result = finish(recorder, { beganMs, cpu, lateness: new Float64Array(0), sent })
  client.close()
  return result
}
