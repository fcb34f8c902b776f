// Which models run as shadows: those that the configuration names, else every ONNX bundle of the models directory. The
// champion may be among them: its score is needed wherever another model answered. Bounded, since each costs memory and
// its time on every decision; what the bound leaves out is named, never dropped in silence.
import type { Thresholds } from '../../contract/manifest.js'
import { AssayError } from '../../errors.js'
import { LIMITS, type Limits } from '../../limits.js'
import { listBundles } from '../../models/bundle.js'
import { takesOwnColumns } from '../../models/columns.js'

export interface Chosen {
  /** name@version, in order. */
  readonly shadows: readonly string[]
  /** Bundles that would be shadows but for the bound. */
  readonly leftOut: readonly string[]
  /** Of the manifest of any bundle that can be read; for the monitor. */
  readonly manifestThresholds: (model: string) => Thresholds | undefined
}

export interface ChooseOptions {
  /** From the configuration; null for the default. */
  readonly configured: readonly string[] | null
  readonly modelsDir: string
  readonly limits?: Limits
}

/**
 * The shadows to load. By default the later versions go first where the bound leaves some out. Throws
 * ASSAY_CONFIG_INVALID where the configuration names more than the bound, or one twice.
 */
export async function chooseShadows({ configured, modelsDir, limits = LIMITS }: ChooseOptions): Promise<Chosen> {
  const max = limits.modelsMax
  if (configured !== null && (configured.length > max || new Set(configured).size < configured.length)) {
    const detail = `/process/governance/shadows: at most ${max} models are allowed, each once`
    throw new AssayError('ASSAY_CONFIG_INVALID', detail)
  }
  const bundles = (await listBundles(modelsDir, { limits })).flatMap(({ bundle }) => (bundle === null ? [] : [bundle]))
  const thresholds = new Map(bundles.map(({ manifest }) => [referenceOf(manifest), manifest.thresholds]))
  const manifestThresholds = (model: string): Thresholds | undefined => thresholds.get(model)
  if (configured !== null) return { shadows: [...configured].sort(), leftOut: [], manifestThresholds }
  const found = bundles
    .map(({ manifest }) => manifest)
    .filter((manifest) => manifest.kind === 'onnx' && !takesOwnColumns(manifest))
    .sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }) || (a.name < b.name ? -1 : 1))
    .map(referenceOf)
  return { shadows: found.slice(0, max).sort(), leftOut: found.slice(max).sort(), manifestThresholds }
}

function referenceOf({ name, version }: { readonly name: string; readonly version: string }): string {
  return `${name}@${version}`
}
