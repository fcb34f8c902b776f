// The short form of the sidecar's kill test: a few kills of sidecar, server and both under load, then what was derived
// against a store made afresh. bench/governance-kills.ts is the full form: 100 kills. The comparison is tested too.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openDatabase } from '../../src/governance/store/database.js'
import { STORE_FILE } from '../../src/governance/store/open.js'
import { QUICK_SERVE } from '../flow/quick.js'
import { compareStores } from './compare.js'
import { openWriter } from './written-log.js'
import { readAll } from './read-all.js'
import { runGovernanceKills } from './kill-run.js'

void t.test(
  'killed at any moment, sidecar and server leave what a fresh rebuild derives',
  { timeout: 300_000 },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'assay-governance-kills-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const run = await runGovernanceKills({
      ...{ kills: 3, seed: 4, connections: 8, folder, betweenMsMax: 800, command: QUICK_SERVE },
    })
    t.same(run.faults, [])
    t.same(run.comparison.differences, [], JSON.stringify(run.comparison.rows))
    t.same(run.wrong, [], 'every decision that a client was told stands in the store once')
    t.ok(run.told > 0 && Number(run.comparison.rows.decisions) >= run.told, `${run.told} decisions were told`)
    t.same(run.victims, { sidecar: 1, server: 1, both: 1 })
  },
)

void t.test('the comparison finds one row too many, one too few and one that differs', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'assay-governance-compare-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const writer = await openWriter(join(folder, 'decision-log'))
  await writer.decisions(250)
  await writer.close()
  const [left, right] = [join(folder, 'left'), join(folder, 'right')]
  for (const directory of [left, right]) await readAll({ logDir: join(folder, 'decision-log'), directory })
  t.same((await compareStores(left, right)).differences, [])
  t.match((await compareStores(left, right)).rows, { decisions: 250, test_windows: 2, policies: 1 })
  const spoil = async (sql: string): Promise<readonly string[]> => {
    const options = {
      directory: left,
      file: join(left, STORE_FILE),
      memoryBytesMax: 128 << 20,
      threads: 1,
      queryMsMax: 9_000,
    }
    const database = await openDatabase(options)
    await database.run(sql)
    await database.close()
    return (await compareStores(left, right)).differences
  }
  t.same(await spoil('UPDATE decisions SET score = score / 2 WHERE sequence = 7'), [
    'decisions: 1 rows missing, 1 rows too many',
  ])
  t.same(await spoil('DELETE FROM decisions WHERE sequence = 7'), ['decisions: 1 rows missing, 0 rows too many'])
  t.same((await spoil('INSERT INTO test_windows SELECT * FROM test_windows LIMIT 1')).length, 2)
})
