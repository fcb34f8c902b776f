// The feature stage on the handbook's stream: time per transaction on one core, bytes per retained event, and the proof
// against the published features, for the 15 features of the handbook and for the whole reference catalogue.
// usage: ASSAY_HANDBOOK=<folder> node dist/bench/features.js [time | proof]    prints human lines, then one line of JSON
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { readSpec } from '../src/features/build-spec.js'
import { compileCatalogue, type CompiledCatalogue } from '../src/features/compile.js'
import { createFeatureState } from '../src/features/state.js'
import { buildFeatures } from '../src/features/replay.js'
import { LIMITS } from '../src/limits.js'
import type { Transaction } from '../src/contract/transaction.js'
import { compare, HANDBOOK_COLUMNS, published, TIED, writeInPublishedOrder } from '../test/features/handbook.js'

const POLICY = join(import.meta.dirname, '../..', 'models/policy.json')
const DELAY_MS = 7 * 86_400_000
const ROUNDS = 4

interface Event {
  readonly tx: Transaction
  readonly fraud: boolean
}

function readEvents(path: string): Event[] {
  const [, ...rows] = gunzipSync(readFileSync(path)).toString().trim().split('\n')
  return rows.map((row) => {
    const [transactionId, at, customer, terminal, amount, fraud] = row.split(',')
    const amountMinor = Math.round(Number(amount) * 100)
    return {
      fraud: fraud === '1',
      tx: {
        transactionId,
        occurredAtMs: Date.parse(at),
        offsetMinutes: 0,
        amountMinor,
        currency: 'EUR',
        amountBaseMinor: amountMinor,
        fields: [customer, terminal],
      },
    }
  })
}

/** One replay: each fold timed on its own, once the windows are full (37 days) and the code is warm. */
function replay(compiled: CompiledCatalogue, events: readonly Event[]) {
  const before = process.memoryUsage().arrayBuffers
  const state = createFeatureState(compiled, { limits: LIMITS })
  const reserved = process.memoryUsage().arrayBuffers - before
  const out = new Float64Array(compiled.size)
  const timesUs = new Float64Array(events.length)
  const warmFromMs = events[0].tx.occurredAtMs + 37 * 86_400_000
  const pending: Event[] = []
  let next = 0
  let timed = 0
  const cpu = process.cpuUsage()
  events.forEach((event, ordinal) => {
    const t = event.tx.occurredAtMs
    while (next < pending.length && pending[next].tx.occurredAtMs + DELAY_MS <= t) {
      const { transactionId, occurredAtMs } = pending[next++].tx
      const knownAtMs = occurredAtMs + DELAY_MS
      const label = { transactionId, kind: 'fraud' as const, value: true, source: 'bench', knownAtMs }
      state.label({ ...label, occurredAtMs: null, entities: [] }, ordinal, t)
    }
    const start = performance.now()
    state.fold(event.tx, ordinal, t, out, 0)
    const end = performance.now()
    if (t >= warmFromMs) timesUs[timed++] = (end - start) * 1000
    if (event.fraud) pending.push(event)
  })
  const used = process.cpuUsage(cpu)
  const size = state.size()
  const sorted = timesUs.subarray(0, timed).sort()
  const at = (share: number) => Number(sorted[Math.floor(timed * share)].toFixed(2))
  return {
    timed,
    medianUs: at(0.5),
    p99Us: at(0.99),
    p999Us: at(0.999),
    cpuUsPerTransaction: Number(((used.user + used.system) / events.length).toFixed(2)),
    events: size.events,
    stateBytes: size.bytes,
    bytesPerEvent: Number((size.bytes / size.events).toFixed(1)),
    grownBytes: process.memoryUsage().arrayBuffers - before - reserved,
    digest: state.digest(),
  }
}

async function proof(folder: string) {
  const dir = mkdtempSync(join(tmpdir(), 'assay-bench-'))
  const out = join(dir, 'features.csv')
  const raw = join(folder, 'transactions.csv.gz')
  const ordered = join(dir, 'ordered.csv')
  writeInPublishedOrder(raw, ordered)
  const options = { spec: POLICY, labels: null, columns: HANDBOOK_COLUMNS, labelColumns: new Map(), out }
  const results = []
  for (const [order, input] of [
    ['as published', ordered],
    ['as in the raw file', raw],
  ]) {
    const start = performance.now()
    const range = { fromMs: Date.UTC(2018, 6, 25), untilMs: Infinity, labelDelayMs: null }
    await buildFeatures({ ...options, ...range, input }, LIMITS)
    const seconds = Number(((performance.now() - start) / 1000).toFixed(1))
    for (const week of ['test', 'train']) {
      const found = compare(out, published(join(folder, `features-${week}-week.csv.gz`)), 1e-9)
      results.push({ week, order, ...found, seconds })
      console.log(
        `${week} week, tied pair ${order}: ${found.rows} rows × 15, largest difference ${found.largest.toExponential(2)}, ` +
          `rows off by more than 1e-9: ${found.off.join(' ') || 'none'} (build ${seconds} s)`,
      )
    }
  }
  rmSync(dir, { recursive: true })
  return results
}

async function main(): Promise<void> {
  const folder = process.env['ASSAY_HANDBOOK']
  if (folder === undefined) throw new Error('ASSAY_HANDBOOK must name the data of the handbook')
  console.log(`node ${process.version}, ${cpus()[0].model}, ${cpus().length} cores`)
  console.log(`the tied pair is ${TIED.join(' and ')}: see test/features/handbook.ts`)
  const proven = process.argv[2] === 'time' ? [] : await proof(folder)
  if (process.argv[2] === 'proof') {
    console.log(JSON.stringify({ proven }))
    return
  }
  const spec = await readSpec(POLICY, 'EUR')
  const events = readEvents(join(folder, 'transactions.csv.gz'))
  const measured = []
  for (const count of [15, spec.catalogue.features.length]) {
    const catalogue = { ...spec.catalogue, features: spec.catalogue.features.slice(0, count) }
    const compiled = compileCatalogue(catalogue, spec.schema, spec.currencies)
    const rounds = Array.from({ length: ROUNDS }, () => replay(compiled, events))
    const medians = rounds.map((round) => round.medianUs).sort((a, b) => a - b)
    const best = rounds.find((round) => round.medianUs === medians[0])
    if (best === undefined || new Set(rounds.map((round) => round.digest)).size !== 1) throw new Error('replays differ')
    measured.push({ features: count, medians, best })
    console.log(
      `${count} features: median per fold ${medians.join(', ')} µs in ${ROUNDS} replays of ${events.length} transactions ` +
        `(${best.timed} timed); of the best p99 ${best.p99Us}, p99.9 ${best.p999Us} µs, CPU ${best.cpuUsPerTransaction} µs each`,
    )
    console.log(
      `${count} features: ${best.events} events held (one per transaction and entity field) in ${best.stateBytes} bytes: ` +
        `${best.bytesPerEvent} bytes per event, tables and free room included; equal digests`,
    )
  }
  console.log(JSON.stringify({ proven, measured }))
}

await main()
