// The names under which the models are asked: the route, and every loaded model with its versions. A name without a
// version means the version that is routed to, else the one that was loaded last; the route's name wins over a model's.
import type { ModelMetadata, RepositoryIndex } from '../../contract/inference.js'
import type { OutputSpec } from '../../contract/inference-answer.js'
import type { TensorSpec } from '../../contract/inference-rows.js'
import type { Catalogue } from '../../contract/catalogue.js'
import type { CompiledCatalogue } from '../../features/compile.js'
import type { LoadedBaseline, LoadedModel, LoadedModels, ModelTensors } from '../models.js'
import type { Serving } from '../serving.js'

export type Answering = LoadedBaseline | (LoadedModel & { readonly tensors: ModelTensors })

/** What answers under a name; `model` is null for the route. */
export interface Named {
  readonly name: string
  readonly version: string | null
  readonly model: Answering | null
  readonly platform: string
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly OutputSpec[]
}

export interface Names {
  find(name: string, version: string | null): Named | null
  /** The route, then every model. */
  all(): Named[]
  metadata(named: Named): ModelMetadata
  isReady(named: Named): boolean
  index(isReadyOnly: boolean): RepositoryIndex
}

export interface NamesDeps {
  readonly serving: () => Serving
  readonly loaded: LoadedModels
  readonly catalogue: CompiledCatalogue
  /** The declared features, in the order of the compiled ones. */
  readonly features: Catalogue['features']
}

/** Of the route: one tensor, the catalogue's features in its order. */
export const ROUTE_INPUT = 'features'
export const ROUTE_OUTPUT = 'score'

export function createNames({ serving, loaded, catalogue, features }: NamesDeps): Names {
  const columns = features.map((spec, at) => {
    const type = catalogue.dtypes[at]
    return { type, isRounded: true, takesNan: type !== 'int64' && 'missing' in spec && spec.missing === 'nan' }
  })
  const inputs: readonly TensorSpec[] = [{ name: ROUTE_INPUT, datatype: 'FP64', columns }]

  function route(): Named {
    const { name } = serving().routes
    return { name, version: null, model: null, platform: 'assay_route', inputs, outputs: [{ name: ROUTE_OUTPUT }] }
  }

  /** In the order in which they were loaded. */
  function models(): Answering[] {
    return [...[...loaded.models.values()].filter(isAnswering), loaded.baseline]
  }

  /** Whom a name without a version means. */
  function preferred(found: readonly Answering[]): Answering | undefined {
    const { champion, challenger } = serving().models
    const routed = [champion, challenger].flatMap((model) => (model === null ? [] : [model.reference]))
    return routed.flatMap((wanted) => found.filter(({ reference }) => reference === wanted)).at(0) ?? found.at(-1)
  }

  return {
    find(name, version) {
      if (version === null && name === serving().routes.name) return route()
      const found = models().filter((model) => model.answeredBy.name === name)
      const model = version === null ? preferred(found) : found.find(({ answeredBy }) => answeredBy.version === version)
      return model === undefined ? null : named(model)
    },
    all: () => [route(), ...models().map(named)],
    metadata({ name, platform, inputs: taken, outputs, model }) {
      const provider = model?.answeredBy.provider
      const versions = model === null ? [] : models().filter(({ answeredBy }) => answeredBy.name === name)
      return {
        ...{ name, versions: versions.map(({ answeredBy }) => answeredBy.version), platform },
        inputs: taken.map((spec) => ({ name: spec.name, datatype: spec.datatype, shape: [-1, spec.columns.length] })),
        outputs: outputs.map((spec) => ({ name: spec.name, datatype: 'FP64', shape: [-1, 1] })),
        ...(typeof provider === 'string' && { parameters: { provider } }),
      }
    },
    isReady: ({ model }) => model === null || isReady(model),
    index(isReadyOnly) {
      const ready = (name: string, version: string) => ({ name, version, state: 'READY' as const, reason: '' })
      const rows = [...loaded.models.values(), loaded.baseline].map((model) => {
        const { name, version } = model.answeredBy
        if (isReady(model)) return ready(name, version)
        return { name, version, state: 'UNAVAILABLE' as const, reason: whyNot(model) }
      })
      const all = [ready(serving().routes.name, ''), ...rows]
      return isReadyOnly ? all.filter(({ state }) => state === 'READY') : all
    },
  }
}

function isAnswering(model: LoadedModel): model is LoadedModel & { readonly tensors: ModelTensors } {
  return model.tensors !== null
}

function named(model: Answering): Named {
  const { answeredBy, tensors } = model
  const { platform, inputs, output } = tensors
  const outputs = [{ name: output }, { name: `${output}_raw` }]
  return { name: answeredBy.name, version: answeredBy.version, model, platform, inputs, outputs }
}

function isReady(model: LoadedBaseline | LoadedModel): boolean {
  if ('scoreRow' in model) return true
  return model.lane !== null && model.lane.state() === 'ready' && model.lane.breakerState() === 'closed'
}

function whyNot({ lane }: LoadedModel | (LoadedBaseline & { readonly lane?: null })): string {
  if (lane === null || lane === undefined) return 'not loaded'
  return lane.state() === 'ready' ? 'its breaker is open' : 'its thread starts again'
}
