// One server follows another under load: nobody is refused a connection, no payment fails after one retry, nothing is
// decided twice, and what was changed on the one holds on the next. The full form is bench/take-over.ts.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { CLI, startServer } from '../../bench/server.js'
import { askForLock, lockDirectory } from '../../src/decision-log/lock.js'
import { lastControlState } from '../../src/scoring/restore.js'
import { verifyReplay } from '../../src/scoring/verify-replay.js'
import { child } from '../governance/child.js'
import { QUICK_SERVE } from './quick.js'
import { readLog } from './server-rig.js'
import { runTakeOvers } from './take-over-run.js'

t.setTimeout(400_000)

const folder = mkdtempSync(join(tmpdir(), 'assay-take-over-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

void t.test('a server follows another under load', async (t) => {
  const dataDir = join(folder, 'data')
  let share = 0
  const run = await runTakeOvers({
    ...{ dataDir, times: 1, ratePerSecond: 60, connections: 8 },
    // A busy machine must not turn an answer into a 503: what is tested here is not time.
    env: { ASSAY_POLICY__BUDGETS__DEADLINE_MS: '1000', ASSAY_POLICY__BUDGETS__LOG_WAIT_MS: '10000' },
    async before(port) {
      share += 2_500
      const url = `http://127.0.0.1:${port}/v1/routes`
      const shown = await fetch(url)
      const headers = { 'content-type': 'application/json', 'if-match': shown.headers.get('etag') ?? '' }
      const body = JSON.stringify({ share, reason: 'test' })
      const changed = await fetch(url, { method: 'PUT', headers, body })
      t.ok(changed.ok, await changed.text())
    },
  })
  t.same(run.failures, [])
  t.equal(run.retries.get('ECONNREFUSED'), undefined)
  t.equal(run.takeOvers.length, 1)
  const logDir = join(dataDir, 'decision-log')
  const { decisions } = await readLog(logDir)
  const logged = new Set(decisions.map(({ personal }) => personal.transaction.transactionId))
  t.equal(logged.size, decisions.length, 'nothing is decided twice')
  t.same(
    [...run.decisions.keys()].filter((id) => !logged.has(id)),
    [],
  )
  t.equal(new Set(decisions.map(({ facts }) => facts.epoch)).size, 2)
  const report = await verifyReplay(logDir)
  t.match(report, { compared: decisions.length, unexplained: 0, unrecomputable: 0, gaps: [] })
  t.equal(lastControlState(logDir)?.state.routes.share, share)
  t.equal(lastControlState(logDir)?.state.routes.revision, 1)
})

void t.test('where nobody runs it is a plain start', async (t) => {
  const command = [...QUICK_SERVE, '--take-over']
  const server = await startServer({ dataDir: join(folder, 'alone'), command })
  t.equal(await server.stop(), 0)
})

void t.test('a holder of the lock that does not let go is not followed', async (t) => {
  const dataDir = join(folder, 'held')
  const lock = await lockDirectory(join(dataDir, 'decision-log'))
  t.teardown(() => lock.release())
  const env = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__HTTP__PORT: '0', ASSAY_PROCESS__OPERATIONS__PORT: '0' }
  const run = child(t, process.execPath, [CLI, 'serve', '--take-over'], env)
  t.equal(await run.exited, 1)
  t.match(run.output(), /ASSAY_LOG_LOCKED: another server writes this decision log/)
})

void t.test('whoever asks for the lock is told by its release', async (t) => {
  const directory = join(folder, 'asked')
  await askForLock(directory)
  let asked = 0
  const lock = await lockDirectory(directory, () => void asked++)
  await t.rejects(lockDirectory(directory), { code: 'ASSAY_LOG_LOCKED' }, 'a look is no question')
  t.equal(asked, 0)
  let isTold = false
  const told = askForLock(directory).then(() => void (isTold = true))
  while (asked === 0) await new Promise((resolve) => setImmediate(resolve))
  t.notOk(isTold)
  await lock.release()
  await told
  const next = await lockDirectory(directory)
  await next.release()
})
