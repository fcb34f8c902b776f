// The seam to prom-client: metrics are read when somebody scrapes and at no other time.
// Invariant: one scrape runs at a time for each format; those who come meanwhile share its result, so that a crowd of
// scrapers costs one scrape. It refuses two metrics of one name.
import {
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram as PromHistogram,
  Registry,
  type RegistryContentType,
} from 'prom-client'
import type { Counted } from './histogram.js'

/** One value under one set of labels. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

interface Described {
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
}

/** What was counted under one set of labels. */
export interface Part {
  readonly labels: Readonly<Record<string, string>>
  readonly counted: Counted
}

/** A metric with the way to read it. `unitsPerBound` is how many units of the histogram one unit of a bound is. */
export type Exposed =
  | (Described & { readonly kind: 'gauge' | 'counter'; read(): number | readonly Sample[] })
  | (Described & {
      readonly kind: 'histogram'
      readonly bounds: readonly number[]
      readonly unitsPerBound: number
      parts(): readonly Part[]
    })

export interface Exposition {
  add(metric: Exposed): void
  scrape(accept: string): Promise<{ contentType: string; body: string }>
}

/** Makes a registry that holds `metrics` and, if wanted, Node's own. */
export function createExposition(metrics: readonly Exposed[], nodeMetrics: boolean): Exposition {
  const registry = new Registry<RegistryContentType>()
  if (nodeMetrics) collectDefaultMetrics({ register: registry })
  for (const metric of metrics) register(registry, metric)
  let running: Promise<unknown> = Promise.resolve()
  const shared = new Map<boolean, Promise<{ contentType: string; body: string }>>()
  return {
    add: (metric) => register(registry, metric),
    scrape(accept) {
      const openMetrics = accept.includes('application/openmetrics-text')
      const waiting = shared.get(openMetrics)
      if (waiting !== undefined) return waiting
      const next = running.then(() => render(registry, openMetrics)).finally(() => shared.delete(openMetrics))
      running = next.catch(() => undefined)
      shared.set(openMetrics, next)
      return next
    },
  }
}

/** prom-client renames counters when it writes OpenMetrics: their names are put back for the next scrape. */
async function render(
  registry: Registry<RegistryContentType>,
  openMetrics: boolean,
): Promise<{ contentType: string; body: string }> {
  const contentType = openMetrics ? Registry.OPENMETRICS_CONTENT_TYPE : Registry.PROMETHEUS_CONTENT_TYPE
  const named = registry.getMetricsAsArray().map((metric) => ({ metric, name: metric.name }))
  registry.setContentType(contentType)
  try {
    return { contentType, body: await registry.metrics() }
  } finally {
    for (const { metric, name } of named) metric.name = name
  }
}

/** Counters and gauges are set from their reader in prom-client's `collect`; histograms hand over finished buckets. */
function register(registry: Registry<RegistryContentType>, metric: Exposed): void {
  const { name, help } = metric
  const labelNames = [...metric.labels]
  if (metric.kind === 'histogram') {
    const empty = new PromHistogram({ name, help, labelNames, registers: [] })
    const get = () => ({ name, help, type: 'histogram', aggregator: 'sum', values: bucketsOf(metric) })
    // prom-client has no call that takes counted buckets: this instance answers the two calls of a registry itself.
    registry.registerMetric(Object.assign(empty, { get, getForPromString: get }))
    return
  }
  const config = { name, help, labelNames, registers: [registry] }
  if (metric.kind === 'gauge') {
    const gauge: Gauge = new Gauge({
      ...config,
      collect: () => {
        clear(gauge, metric)
        for (const sample of samplesOf(metric.read())) gauge.set(sample.labels, sample.value)
      },
    })
    return
  }
  const counter: Counter = new Counter({
    ...config,
    collect: () => {
      clear(counter, metric)
      for (const sample of samplesOf(metric.read())) counter.inc(sample.labels, sample.value)
    },
  })
}

/** prom-client counts a metric without labels as 0 when it is reset: where no sample is read, none is shown. */
function clear(held: Gauge | Counter, { labels }: Described): void {
  held.reset()
  if (labels.length === 0) held.remove()
}

function samplesOf(reading: number | readonly Sample[]): readonly Sample[] {
  return typeof reading === 'number' ? [{ labels: {}, value: reading }] : reading
}

function bucketsOf(metric: Exposed & { kind: 'histogram' }): { metricName: string; labels: object; value: number }[] {
  return metric.parts().flatMap(({ labels, counted }) => [
    ...metric.bounds.map((bound) => ({
      metricName: `${metric.name}_bucket`,
      labels: { ...labels, le: bound },
      value: counted.countUpTo(bound * metric.unitsPerBound),
    })),
    { metricName: `${metric.name}_bucket`, labels: { ...labels, le: '+Inf' }, value: counted.count },
    { metricName: `${metric.name}_sum`, labels, value: counted.sum / metric.unitsPerBound },
    { metricName: `${metric.name}_count`, labels, value: counted.count },
  ])
}
