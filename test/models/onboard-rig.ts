// `assay model add` inside a test: over the catalogue of the fixtures, on bare model files, with rows whose frauds are
// drawn by the very model that is added. No test.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Catalogue } from '../../src/contract/catalogue.js'
import { AssayError } from '../../src/errors.js'
import { LIMITS, type Limits } from '../../src/limits.js'
import type { AddReport } from '../../src/models/onboard/report.js'
import { addCommand } from '../../src/models/onboard/command.js'
import type { OrderDeps } from '../../src/models/onboard/order.js'
import { createDraw } from '../../src/models/onboard/sample.js'
import { sigmoid } from '../../src/models/score-map.js'
import { FIXTURES, fixture, readFacts } from './fixtures.js'

export const FOUR = ['amount', 'customer_count_1d', 'customer_mean_amount_1d', 'customer_count_7d']
export const FEATURES = ['--features', FOUR.join()]
/** Of the bundle `linear` (make.py). */
const WEIGHTS = [0.01, 0.5, -0.02, 0.25]
const BIAS = -1.5

export const facts = await readFacts()
export const catalogue = JSON.parse(readFileSync(join(FIXTURES, 'catalogue.json'), 'utf8')) as Catalogue

export const bare = (name: string): string => join(FIXTURES, 'bare', `${name}.onnx`)
export const modelOf = (name: string): string => join(fixture(name), 'model.onnx')

export interface Added {
  readonly code: number
  readonly out: string
  readonly err: string
  readonly report: AddReport
  /** The models directory afterwards: everything in it, dots included; empty where it is not there. */
  readonly left: readonly string[]
}

export interface RunOptions {
  readonly limits?: Partial<Limits>
  readonly confirm?: OrderDeps['confirm']
  readonly facts?: typeof facts
}

/** Runs the command; its code, what it printed, the report (of --json), and what is left in the models directory. */
export async function add(modelsDir: string, args: readonly string[], options: RunOptions = {}): Promise<Added> {
  let [out, err, code] = ['', '', 0]
  try {
    code = await addCommand(args, {
      readCatalogue: () => ({ facts: options.facts ?? facts, catalogue }),
      ...{ modelsDir, confirm: options.confirm ?? null, limits: { ...LIMITS, ...options.limits } },
      print: (text) => void (out += text),
      printError: (text) => void (err += text),
    })
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    code = error.code === 'ASSAY_USAGE' ? 2 : 1
    err = `${error.code}: ${error.message}`
  }
  const report = (out.startsWith('{') ? JSON.parse(out) : {}) as AddReport
  return { code, out, err, report, left: existsSync(modelsDir) ? readdirSync(modelsDir) : [] }
}

export interface DrawnRow {
  readonly values: readonly number[]
  readonly fraud: number
  /** What `linear` gives. */
  readonly score: number
}

/** Rows of the four features, as float32; whether one is fraud is drawn by its score. */
export function drawRows(count: number): DrawnRow[] {
  const draw = createDraw(3)
  return Array.from({ length: count }, () => {
    const values = [300 * draw() ** 2, 8 * draw(), 200 * draw(), 12 * draw()].map((value, at) =>
      at % 2 === 0 ? Math.fround(value) : Math.floor(value),
    )
    const score = sigmoid(values.reduce((sum, value, at) => sum + value * WEIGHTS[at], BIAS - 1))
    return {
      values,
      fraud: draw() < score ? 1 : 0,
      score: sigmoid(values.reduce((s, v, at) => s + v * WEIGHTS[at], BIAS)),
    }
  })
}

/** Writes them as csv under these names of columns. */
export function writeRows(path: string, rows: readonly DrawnRow[], header: readonly string[] = FOUR): string {
  const lines = rows.map(({ values, fraud, score }) => [...values, fraud, score].join())
  writeFileSync(path, `${[...header, 'fraud', 'trained'].join()}\n${lines.join('\n')}\n`)
  return path
}
