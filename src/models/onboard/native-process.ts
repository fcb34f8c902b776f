// The process in which a stranger's model runs while it is added: opens the file, says what it declares, runs rows, and
// at last the gate over the finished bundle. It may crash, hang or eat memory; whoever started it ends it then.
// It refuses weights outside the file: the session is made from the bytes that were hashed.
import assert from 'node:assert'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { InferenceSession } from 'onnxruntime-node'
import { CPU_ALONE } from '../../contract/providers.js'
import { AssayError, errorOf, faultsText } from '../../errors.js'
import { readBundle } from '../bundle.js'
import { codeOf } from '../bundle-files.js'
import { admit } from '../gate.js'
import type { ModelInput } from '../inputs.js'
import { createNative } from '../providers.js'
import { createRowBuffer } from '../row-buffer.js'
import { createModelSession } from '../session.js'
import type { NativeAnswer, NativeRequest, Opened, RanOutput } from './native.js'

/** Rows of one run: the gate's largest batch. */
const BATCH = 32

async function open(path: string): Promise<{ native: InferenceSession; opened: Opened }> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new AssayError('ASSAY_INPUT_INVALID', `${path} cannot be read: ${codeOf(cause)}`, { cause })
  })
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  try {
    const { session: native } = await createNative(bytes, CPU_ALONE)
    const { inputMetadata, outputMetadata } = native
    return { native, opened: { digest, bytes: bytes.length, inputs: inputMetadata, outputs: outputMetadata } }
  } catch (cause) {
    throw new AssayError('ASSAY_BUNDLE_REFUSED', `it does not load: ${errorOf(cause).message}${hintOf(cause)}`)
  }
}

/** What to do about the refusals that exporters cause most. */
function hintOf(cause: unknown): string {
  const { message } = errorOf(cause)
  if (/protobuf/i.test(message)) return '; the file is cut or damaged, or no ONNX model'
  if (/external data/i.test(message))
    return '; the weights must lie in the file itself: onnx.save(model, FILE, save_as_external_data=False)'
  if (/unsupported model ir version|opset/i.test(message)) return '; export with an older target_opset'
  if (/could not find an implementation/i.test(message)) return '; the runtime lacks this operator in that type'
  return ''
}

/** Runs rows once and says what every tensor output of the model really is. */
async function probe(
  native: InferenceSession,
  inputs: readonly ModelInput[],
  rows: Float64Array,
): Promise<RanOutput[]> {
  const count = rows.length / inputs.reduce((sum, { columns }) => sum + columns, 0)
  const buffer = createRowBuffer(inputs, count)
  buffer.fill(rows, count, true)
  const wanted = native.outputMetadata.flatMap((each) => (each.isTensor ? [each.name] : []))
  const results = await native.run(buffer.feeds(count), wanted)
  return wanted.map((name) => ({ name, type: results[name].type, dims: [...results[name].dims] }))
}

/** The raw output of every row; NaN where the model gives none. */
async function score(
  native: InferenceSession,
  { wiring, rows }: NativeRequest & { kind: 'score' },
): Promise<Float64Array> {
  const { columns } = wiring
  const provider = { name: 'cpu', missing: null } as const
  const session = createModelSession(native, { provider, wiring, rowsMax: BATCH, map: (raw) => raw, takesNan: true })
  const raw = new Float64Array(rows.length / columns)
  const out = { raw: new Float64Array(BATCH), scores: new Float64Array(BATCH) }
  for (let first = 0; first < raw.length; first += BATCH) {
    const count = Math.min(BATCH, raw.length - first)
    await session.run(rows.subarray(first * columns, (first + count) * columns), count, out)
    raw.set(out.raw.subarray(0, count), first)
  }
  return raw
}

let native: InferenceSession | null = null

async function answer(request: NativeRequest): Promise<NativeAnswer> {
  if (request.kind === 'open') {
    const found = await open(request.path)
    native = found.native
    return { opened: found.opened }
  }
  if (request.kind === 'gate') return { admission: await admit(await readBundle(request.directory), request.facts) }
  assert(native !== null, 'a model is opened before it runs')
  try {
    if (request.kind === 'probe') return { outputs: await probe(native, request.inputs, request.rows) }
    return { raw: await score(native, request) }
  } catch (cause) {
    const message = `it loads, but fails when it is run: ${errorOf(cause).message}`
    throw new AssayError('ASSAY_BUNDLE_REFUSED', message, { cause })
  }
}

async function respond(request: NativeRequest): Promise<void> {
  try {
    process.send?.(await answer(request))
  } catch (error) {
    // A bug of ours: nobody sees what this process prints.
    const known = error instanceof AssayError ? error : new AssayError('ASSAY_INTERNAL', errorOf(error).stack ?? '')
    const { code, message, errors } = known
    // The gate names a folder that nobody will find: its faults are enough.
    process.send?.({ code, detail: errors.length > 0 ? faultsText(errors) : message, errors })
  }
}

function isRequest(message: unknown): message is NativeRequest {
  return typeof message === 'object' && message !== null && 'kind' in message
}

process.on('disconnect', () => process.exit())
process.on('message', (message: unknown) => {
  assert(isRequest(message))
  void respond(message)
})
