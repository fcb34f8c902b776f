// The inputs of an ONNX model by its manifest: one tensor with every feature, or several, each of which takes the
// features that follow those of the one before it. Pure; threads of lanes import it, hence no schemas.
import type { Manifest } from '../contract/manifest.js'

export type InputDtype = NonNullable<Manifest['input']>['dtype']

/** A tensor [N, columns] that the model is fed with. */
export interface ModelInput {
  readonly name: string
  readonly dtype: InputDtype
  readonly columns: number
}

/** In the order of `manifest.features`; none for a scorecard. */
export function inputsOf({ input, inputs, features }: Pick<Manifest, 'input' | 'inputs' | 'features'>): ModelInput[] {
  if (inputs !== undefined) return inputs
  return input === undefined ? [] : [{ ...input, columns: features.length }]
}

/** The type in which each feature is fed. */
export function dtypesOf(inputs: readonly ModelInput[]): InputDtype[] {
  return inputs.flatMap(({ dtype, columns }) => Array.from({ length: columns }, () => dtype))
}
