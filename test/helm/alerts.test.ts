// Alert rules, runbook and dashboards: rules by promtool over the cases of alert-cases.yaml, an entry of the
// runbook for each alert, and every metric and label that any of them names in a scrape of a running server and
// sidecar.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { CLI, ROOT } from '../../bench/server.js'
import { freePort } from '../clients/clients.js'
import { until } from '../flow/server-rig.js'
import { child } from '../governance/child.js'
import { LIMITS } from '../../src/limits.js'
import { EVENTS } from '../../src/telemetry/logger.js'
import { createMetrics } from '../../src/telemetry/metrics.js'

const CHART = join(ROOT, 'helm', 'assay')
const RULES = join(CHART, 'rules', 'assay.yaml')
const runbook = readFileSync(join(CHART, 'RUNBOOK.md'), 'utf8')

interface Rule {
  readonly alert?: string
  readonly record?: string
  readonly expr: string
  readonly annotations?: { readonly summary: string; readonly runbook_url: string }
}
interface Series {
  readonly series: string
  readonly values: string
}
interface Case {
  readonly alert: string
  readonly series?: readonly Series[]
  /** Metrics of the quiet day that are not there. */
  readonly gone?: readonly string[]
  readonly silent_at: string
  readonly fires_at: string
  readonly labels: Record<string, string>
}

const read = <Shape>(file: string): Shape => parse(readFileSync(file, 'utf8')) as Shape
const rules = read<{ groups: { rules: Rule[] }[] }>(RULES).groups.flatMap((group) => group.rules)
const alerts = rules.filter((rule) => rule.alert !== undefined)
const { quiet, cases } = read<{ quiet: Series[]; cases: Case[] }>(join(ROOT, 'test', 'helm', 'alert-cases.yaml'))

const hasPromtool = spawnSync('promtool', ['--version']).status === 0
const skip = !hasPromtool && process.env.CI !== 'true' ? 'promtool is not there' : false

/** promtool over these cases; with every alert silent on the quiet day. */
function promtool(given: readonly Case[]) {
  const folder = mkdtempSync(join(tmpdir(), 'assay-alerts-'))
  const tests = given.map(({ alert, series = [], gone = [], silent_at, fires_at, labels }) => {
    const own = new Set(series.map((one) => one.series))
    const rest = quiet.filter((one) => !own.has(one.series) && !gone.some((name) => one.series.startsWith(`${name}{`)))
    return {
      interval: '1m',
      input_series: [...rest, ...series],
      promql_expr_test: [
        { expr: countOf(alert, labels), eval_time: silent_at, exp_samples: [] },
        { expr: countOf(alert, labels), eval_time: fires_at, exp_samples: [{ labels: '{}', value: 1 }] },
      ],
    }
  })
  const day = { interval: '1m', input_series: quiet, promql_expr_test: calm }
  const file = join(folder, 'tests.yaml')
  writeFileSync(file, stringify({ rule_files: [RULES], evaluation_interval: '1m', tests: [day, ...tests] }))
  const result = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' })
  rmSync(folder, { recursive: true })
  return result
}

/** The alert as Prometheus itself shows it, firing with exactly these labels. */
function countOf(alert: string, labels: Record<string, string>): string {
  const all = { alertname: alert, alertstate: 'firing', ...labels }
  const matchers = Object.entries(all).map(([name, value]) => `${name}="${value}"`)
  return `count(ALERTS{${matchers.join()}})`
}

const calm = ['30m', '3h'].map((eval_time) => {
  return { expr: 'count(ALERTS{alertstate="firing"})', eval_time, exp_samples: [] }
})

void t.test(
  'each alert fires in its case, not before, and nothing fires on a quiet day',
  { skip, timeout: 60_000 },
  (t) => {
    const checked = spawnSync('promtool', ['check', 'rules', RULES], { encoding: 'utf8' })
    t.equal(checked.status, 0, checked.stdout + checked.stderr)
    const { status, stdout, stderr } = promtool(cases)
    t.equal(status, 0, stdout + stderr)
    t.same(
      alerts.map(({ alert }) => alert).filter((alert) => !cases.some((one) => one.alert === alert)),
      [],
      'a case each',
    )
    const [first] = cases
    if (first === undefined) throw new Error('no case')
    t.equal(promtool([{ ...first, fires_at: first.silent_at }]).status, 1, 'a case that does not hold is found')
    t.end()
  },
)

void t.test('every alert has its entry in the runbook, and every entry its alert', (t) => {
  const entries = [...runbook.matchAll(/^## (\w+)\n\n- \*\*Felt:\*\* .+\n- \*\*Look:\*\* .+\n- \*\*Do:\*\* .+$/gm)].map(
    ([, name]) => name,
  )
  t.same(
    entries,
    alerts.map(({ alert }) => alert),
  )
  for (const { alert, annotations } of alerts) t.equal(annotations?.runbook_url, `RUNBOOK.md#${alert?.toLowerCase()}`)
  const events = [...runbook.matchAll(/\bevent `(\w+)`/g)].map(([, name = '']) => name)
  t.ok(events.length > 0)
  t.same(
    events.filter((name) => !(name in EVENTS)),
    [],
    'every event that it names',
  )
  const codes = readFileSync(join(ROOT, 'src', 'README.md'), 'utf8')
  t.same(
    [...runbook.matchAll(/ASSAY_[A-Z_]+/g)].filter(([code]) => !codes.includes(`\`${code}\``)),
    [],
  )
  t.end()
})

/** Names of metrics with the labels that are asked of them, by a promql expression. */
function metricsIn(expr: string): { name: string; labels: string[] }[] {
  const names = [...expr.matchAll(/\b((?:assay|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)]
  return names.map(([, name = '', inside = '']) => {
    return { name, labels: [...inside.matchAll(/(\w+)\s*(?:=~|!=|!~|=)/g)].map(([, label = '']) => label) }
  })
}

/** Labels that a target brings, and those of rules. */
const OF_THE_TARGET = new Set(['instance', 'job', 'endpoint', 'namespace', 'pod'])

void t.test('every metric that rules, cases and dashboards name is in a scrape', { timeout: 110_000 }, async (t) => {
  const scrape = (await scrapeBoth(t)) + (await scrapeOfShared())
  // What a histogram exposes; a counter that has counted nothing yet has a type and no sample.
  const exposed = new Map<string, Set<string>>()
  for (const [, name = '', type] of scrape.matchAll(/^# TYPE (\w+) (\w+)$/gm)) {
    const samples = type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name]
    for (const sample of samples) exposed.set(sample, exposed.get(sample) ?? new Set())
  }
  for (const [, name = '', inside = ''] of scrape.matchAll(/^(\w+)\{([^}]*)\}/gm)) {
    for (const [, label = ''] of inside.matchAll(/(\w+)="/g)) exposed.get(name)?.add(label)
  }
  const faults = (where: string, expr: string): string[] =>
    metricsIn(expr).flatMap(({ name, labels }) => {
      const known = exposed.get(name)
      if (known === undefined) return [`${where}: ${name}`]
      // Of what has no sample yet the labels are not known.
      return labels
        .filter((label) => known.size > 0 && !known.has(label) && !OF_THE_TARGET.has(label))
        .map((label) => `${where}: ${name}{${label}}`)
    })
  t.same(
    rules.flatMap(({ alert, record, expr }) => faults(alert ?? record ?? '', expr)),
    [],
  )
  t.same(
    [...quiet, ...cases.flatMap(({ series = [] }) => series)].flatMap(({ series }) => faults('case', series)),
    [],
  )
  const named = [...runbook.matchAll(/`((?:assay|nodejs)_\w+)`/g)].map(([, name = '']) => name)
  t.same(
    named.filter((name) => !exposed.has(name) && !exposed.has(`${name}_bucket`)),
    [],
    'the runbook',
  )
  for (const name of readdirSync(join(CHART, 'dashboards'))) {
    const text = readFileSync(join(CHART, 'dashboards', name), 'utf8')
    const { panels, templating } = JSON.parse(text) as Dashboard
    const asked = [
      ...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
      ...templating.list.map(({ query }) => query),
    ]
    t.ok(asked.length > 10)
    t.same(
      asked.flatMap((expr) => faults(name, expr)),
      [],
    )
    t.same(
      panels.flatMap(({ targets }) => targets.filter(({ datasource }) => datasource.uid !== '${datasource}')),
      [],
    )
  }
  t.same(faults('x', 'rate(assay_decision_total[5m]) + assay_breaker_state{modell="m"}'), [
    ...['x: assay_decision_total', 'x: assay_breaker_state{modell}'],
  ])
})

/** What a server exposes whose state is shared; one whose state is its own has the names and no samples. */
async function scrapeOfShared(): Promise<string> {
  const metrics = createMetrics(LIMITS, { nodeMetrics: false })
  metrics.state.up(true)
  const { body } = await metrics.scrape('')
  metrics.close()
  return body
}

interface Dashboard {
  readonly panels: readonly { targets: readonly { expr: string; datasource: { uid: string } }[] }[]
  readonly templating: { readonly list: readonly { query: string }[] }
}

/** Both, with Kafka switched on for brokers that are not there: its metrics are exposed all the same. */
async function scrapeBoth(t: Parameters<typeof child>[0]): Promise<string> {
  const dataDir = mkdtempSync(join(tmpdir(), 'assay-alerts-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  const [http, operations, governance] = await Promise.all([freePort(), freePort(), freePort()])
  const up = child(t, process.execPath, [CLI, 'up', '--no-history'], {
    ASSAY_DATA_DIR: dataDir,
    ASSAY_PROCESS__HTTP__PORT: String(http),
    ASSAY_PROCESS__OPERATIONS__PORT: String(operations),
    ASSAY_PROCESS__GOVERNANCE__PORT: String(governance),
    ASSAY_PROCESS__GOVERNANCE__PRIORITY: 'nice',
    ASSAY_PROCESS__KAFKA__BROKERS: '[127.0.0.1:1]',
    ASSAY_PROCESS__GOVERNANCE__KAFKA__BROKERS: '[127.0.0.1:1]',
  })
  const text = async (port: number, path: string): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`).catch(() => null)
    return answer?.status === 200 ? answer.text() : ''
  }
  await until(async () => (await text(operations, '/readyz')) !== '', 'the server', { msMax: 60_000 })
  const score = (body: object): Promise<Response> =>
    fetch(`http://127.0.0.1:${http}/v1/score`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  await score({ transaction_id: 't-1', occurred_at: Date.now(), amount_minor: 100, currency: 'EUR' })
  await score({})
  await until(async () => (await text(governance, '/readyz')) !== '', 'the sidecar', { msMax: 60_000 })
  const both = (await text(operations, '/metrics')) + (await text(governance, '/metrics'))
  up.process.kill('SIGTERM')
  t.equal(await up.exited, 0, up.output())
  return both
}
