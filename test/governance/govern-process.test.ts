// The sidecar as a process: two on one store, a disk that takes no more, `assay govern rebuild`.
import { join } from 'node:path'
import t from 'tap'
import { CLI } from '../../bench/server.js'
import { until } from '../flow/server-rig.js'
import { child } from './child.js'
import { compareStores } from './compare.js'
import { folder, reached, SIDECAR, startSidecar, writeLog } from './govern-rig.js'

void t.test('a second sidecar on the same store waits for the first to end', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 20)
  const first = await startSidecar(t, dataDir)
  await reached(first, 20)
  const second = child(t, process.execPath, [SIDECAR, '--until', '20'], { ASSAY_DATA_DIR: dataDir })
  await until(() => second.output().includes('ASSAY_STORE_LOCKED'), 'the refusal')
  await first.close(5_000)
  t.equal(await second.exited, 0, second.output())
})

void t.test('a disk that takes no more is stated and retried, and what waits is derived once it does', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 1_500)
  // A bound on the size of files, in KiB, in place of a full disk: a write beyond it fails, once the signal is ignored.
  // The test runner's hooks, which come in by NODE_OPTIONS, would end the process at that signal.
  const command = `trap '' XFSZ; ulimit -f 300; unset NODE_OPTIONS; exec "$0" "$@"`
  const full = child(t, 'bash', ['-c', command, process.execPath, SIDECAR, '--until', '1500'], {
    ASSAY_DATA_DIR: dataDir,
  })
  const refused = (): boolean => (full.output().match(/ASSAY_STORE_IO/g) ?? []).length >= 2
  await until(refused, 'two refusals', { msMax: 60_000 })
  t.equal(full.process.exitCode, null, 'it goes on trying')
  full.process.kill('SIGKILL')
  await full.exited
  const roomy = child(t, process.execPath, [SIDECAR, '--until', '1500'], { ASSAY_DATA_DIR: dataDir })
  t.equal(await roomy.exited, 0, roomy.output())
  const afresh = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__DATA_DIR: join(dataDir, 'fresh') }
  const other = child(t, process.execPath, [SIDECAR, '--until', '1500'], afresh)
  t.equal(await other.exited, 0, other.output())
  const { differences } = await compareStores(join(dataDir, 'governance'), join(dataDir, 'fresh'))
  t.same(differences, [])
})

void t.test('assay govern rebuild makes the store anew and ends', async (t) => {
  const dataDir = folder(t)
  await writeLog(dataDir, 300)
  const env = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__LOGGER__LEVEL: 'error' }
  for (const _ of [1, 2]) {
    const rebuild = child(t, process.execPath, [CLI, 'govern', 'rebuild'], env)
    t.equal(await rebuild.exited, 0)
    t.match(rebuild.output(), /^rebuilt: sequences 1 to 300, 0 findings/)
  }
  const misuse = child(t, process.execPath, [CLI, 'govern', 'rebuilt'], env)
  t.equal(await misuse.exited, 2)
})
