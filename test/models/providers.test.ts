// Execution providers: what of a configuration is refused and where, what is said to be missing on a machine, and, on
// this one where CUDA is not, that a model is refused for want of it or runs on the CPU and says why.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import { type ProviderName, PROVIDERS_DEFAULTS, providersFor } from '../../src/contract/providers.js'
import { LIMITS } from '../../src/limits.js'
import { admitApart } from '../../src/scoring/lane/admit.js'
import { createModelThreads } from '../../src/scoring/lane/threads.js'
import { readBundle } from '../../src/models/bundle.js'
import { absenceOf, machineFacts, type ProviderFacts } from '../../src/models/providers.js'
import { openSession } from '../../src/models/session.js'
import { editedCopy, fixture, readFacts } from './fixtures.js'

void t.test('a configuration names providers in order, and what is none is refused by its path', (t) => {
  const file = join(t.testdir(), 'assay.json')
  const load = (providers: object) => {
    writeFileSync(file, JSON.stringify({ process: { providers } }))
    return loadConfig({ file, env: {} }).process.providers
  }
  const given = load({ on_missing: 'cpu', models: { 'deep@1': [{ name: 'cuda', deviceId: 1 }, 'cpu'] } })
  t.same(providersFor(given, 'deep@1'), { list: [{ name: 'cuda', deviceId: 1 }, { name: 'cpu' }], onMissing: 'cpu' })
  t.same(providersFor(given, 'trees@1').list, [{ name: 'cpu' }], 'others run on the default')
  t.same(loadConfig({ env: { ASSAY_PROCESS__PROVIDERS__DEFAULT: '[cuda, cpu]' } }).process.providers.default, [
    ...['cuda', 'cpu'],
  ])
  const refused: [object, string, RegExp][] = [
    [{ default: [] }, '/process/providers/default', /length/],
    [
      { default: ['openvino'] },
      '/process/providers/default/0',
      /one of: cpu, cuda, tensorrt, dml, coreml, webgpu, qnn/,
    ],
    [{ default: [{ name: 'rocm' }] }, '/process/providers/default/0/name', /one of: cpu, cuda/],
    [
      { default: [{ name: 'cuda', deviceID: 0 }] },
      '/process/providers/default/0/deviceID',
      /nearest known is deviceId/,
    ],
    [{ default: [{ name: 'cuda', deviceId: -1 }] }, '/process/providers/default/0/deviceId', /greater or equal/],
    [{ default: [{ name: 'cuda', useArena: true }] }, '/process/providers/default/0/useArena', /of cpu, not of cuda/],
    [{ models: { 'a@1': ['cpu', 'cuda'] } }, '/process/providers/models/a@1/0', /cpu last/],
    [{ models: { 'a@1': ['cuda', { name: 'cuda' }] } }, '/process/providers/models/a@1/1', /cuda once/],
    [{ models: { a: ['cpu'] } }, '/process/providers/models/a', /unknown key/],
    [{ on_missing: 'shrug' }, '/process/providers/on_missing', /one of: refuse, cpu/],
    [
      { default: [{ name: 'qnn', backendType: 'htp', backendPath: '/x' }] },
      '/process/providers/default/0/backendPath',
      /either/,
    ],
  ]
  for (const [providers, path, message] of refused) {
    t.throws(() => load(providers), { code: 'ASSAY_CONFIG_INVALID', errors: [{ path, message }] }, path)
  }
  t.end()
})

void t.test('what is missing is named, and how to get it', (t) => {
  const whole: ProviderFacts = {
    ...{ platform: 'linux/x64', built: ['cpu', 'webgpu', 'cuda', 'tensorrt'], folder: '/lib', exists: () => true },
    unresolved: () => [],
  }
  const say = (name: ProviderName, over: Partial<ProviderFacts> = {}) => absenceOf(name, { ...whole, ...over })
  t.equal(say('cuda'), null)
  t.equal(say('webgpu'), null, 'the package has it whole; its adapter shows at the load')
  t.match(say('dml'), /linux\/x64 is built without dml; it has cpu, webgpu, cuda, tensorrt/)
  const without = (name: string) => ({ exists: (path: string) => !path.endsWith(name) })
  t.match(say('cuda', without('_cuda.so')), /^cuda needs libonnxruntime_providers_cuda\.so in \/lib; .*install\.js$/)
  t.match(say('tensorrt', without('.so')), /providers_shared\.so and libonnxruntime_providers_tensorrt\.so/)
  const unresolved = (): string[] => ['libcudnn.so.9', 'libcublas.so.12']
  t.match(say('cuda', { unresolved }), /needs libcudnn\.so\.9, libcublas\.so\.12, .*install CUDA 12 and cuDNN 9$/)
  t.match(say('tensorrt', { unresolved }), /TensorRT 10$/)
  const noDevice = { exists: (path: string) => !path.startsWith('/dev/') }
  t.match(say('cuda', noDevice), /needs an NVIDIA device and its driver: there is no \/dev\/nvidiactl/)
  t.equal(say('cuda', without('nvidiactl')), null, 'Linux under Windows has another')
  t.end()
})

const isAbsent = absenceOf('cuda', machineFacts()) !== null
const cuda = { list: [{ name: 'cuda' as const }, { name: 'cpu' as const }] }
const refusing = { ...cuda, onMissing: 'refuse' as const }
const yielding = { ...cuda, onMissing: 'cpu' as const }

void t.test('here, where CUDA is missing', { skip: isAbsent ? false : 'CUDA is here' }, async (t) => {
  const bundle = await readBundle(fixture('trees'))
  await t.rejects(openSession(bundle, { providers: refusing }), {
    code: 'ASSAY_PROVIDER_MISSING',
    message: /^trees@1: cuda needs libonnxruntime_providers_shared\.so and .*_cuda\.so in /,
  })
  const session = await openSession(bundle, { providers: yielding })
  t.match(session.provider, { name: 'cpu', missing: /^cuda needs / })
  await session.close()
  // Built without it: ONNX Runtime would pass over it in silence.
  const dml = { list: [{ name: 'dml' as const }, { name: 'cpu' as const }], onMissing: 'refuse' as const }
  await t.rejects(openSession(bundle, { providers: dml }), { code: 'ASSAY_PROVIDER_MISSING', message: /without dml/ })
  const own = await openSession(bundle)
  t.same(own.provider, { name: 'cpu', missing: null })
  await own.close()
})

void t.test('the gate runs on what the lane will run on, in its thread too', async (t) => {
  const facts = await readFacts()
  const deps = {
    threads: createModelThreads(),
    hangs: { abandoned: () => undefined, returned: () => undefined },
  }
  const limits = { ...LIMITS, gateMeasureMs: 2 }
  const wire = {
    directory: fixture('trees'),
    identity: { name: 'trees', version: '1' },
    facts,
    limits,
    isBeside: false,
  }
  const skip = isAbsent ? false : 'CUDA is here'
  await t.test('refused', { skip }, async (t) => {
    await t.rejects(admitApart({ ...wire, providers: refusing }, deps), {
      code: 'ASSAY_PROVIDER_MISSING',
      message: /cuda needs/,
    })
    const { admission } = await admitApart({ ...wire, providers: yielding }, deps)
    t.match(admission.provider, { name: 'cpu', missing: /cuda needs/ })
  })
  await t.test('a model that is itself at fault is told from a missing provider', { skip }, async (t) => {
    const directory = await editedCopy(t.testdir(), 'linear', { file: () => Buffer.from('not a model') })
    const bundle = await readBundle(directory)
    for (const providers of [refusing, yielding]) {
      await t.rejects(openSession(bundle, { providers }), { code: 'ASSAY_BUNDLE_REFUSED', message: /does not load/ })
    }
  })
  const { admission } = await admitApart({ ...wire, providers: providersFor(PROVIDERS_DEFAULTS, 'trees@1') }, deps)
  t.same(admission.provider, { name: 'cpu', missing: null })
})
