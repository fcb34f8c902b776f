// A data directory that is lost under load, and made again of the copy that was kept beside it: up to the copy's last
// record the log is the one that was lost, record by record, and what was decided before is answered as it was decided.
import { createHash, randomUUID } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CLI, startServer } from '../../bench/server.js'
import { parseDecisionId } from '../../src/contract/decision.js'
import { openLogReader } from '../../src/decision-log/reader.js'
import { type Child, child } from '../governance/child.js'
import { QUICK_SERVE } from './quick.js'
import { until } from './server-rig.js'

t.setTimeout(170_000)

interface State {
  readonly log_id: string
  readonly sequence: number
  readonly epoch: number
}

/** Payments that were answered: body → decision_id. */
type Answered = Map<string, string>

async function pay(port: number, body: string): Promise<string | null> {
  const headers = { 'content-type': 'application/json', connection: 'keep-alive' }
  const response = await fetch(`http://127.0.0.1:${port}/v1/score`, { method: 'POST', headers, body })
  const answer = (await response.json()) as { decision_id?: string }
  return response.status === 200 ? (answer.decision_id ?? null) : null
}

/** Pays until a busy machine answers. */
async function paid(port: number, body: string): Promise<string> {
  let id: string | null = null
  await until(async () => (id ??= await pay(port, body)) !== null, 'an answer')
  return id ?? ''
}

/** Pays, eight at a time, until the server is gone or it is stopped. */
function payOn(port: number, answered: Answered): { stop(): Promise<void> } {
  let isOver = false
  const one = async (): Promise<void> => {
    while (!isOver) {
      const transaction = { transaction_id: `t-${randomUUID()}`, occurred_at: new Date().toISOString() }
      const body = JSON.stringify({
        ...transaction,
        amount_minor: 100,
        currency: 'EUR',
        customer_id: `c${answered.size % 9}`,
      })
      const id = await pay(port, body).catch(() => void (isOver = true))
      if (typeof id === 'string') answered.set(body, id)
    }
  }
  const paying = Promise.all(Array.from({ length: 8 }, one))
  return {
    async stop() {
      isOver = true
      await paying
    },
  }
}

/** A hash of each record with its place, up to a sequence. */
function recordsOf(directory: string, until: number): string[] {
  const records: string[] = []
  const reader = openLogReader(directory)
  reader.read({
    onRecord({ epoch, sequence, type, buffer, start, end }) {
      if (sequence > until) return
      const digest = createHash('sha256').update(buffer.subarray(start, end)).digest('hex')
      records.push(`${epoch} ${sequence} ${String(type)} ${digest}`)
    },
  })
  reader.close()
  return records
}

function stateOf(backup: string): State {
  return JSON.parse(readFileSync(join(backup, 'backup.json'), 'utf8')) as State
}

const assay = (t: Test, ...args: string[]): Child => child(t, process.execPath, [CLI, ...args], {})

async function refusal(t: Test, ...args: string[]): Promise<string> {
  const run = assay(t, ...args)
  t.equal(await run.exited, 1, args.join(' '))
  return run.output()
}

void t.test('what was copied before the directory was lost comes back, and nothing else is claimed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-backup-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const at = (name: string): string => join(folder, name)
  const [data, backup, models] = [at('data'), at('backup'), at('models')]
  const server = await startServer({ dataDir: data, command: QUICK_SERVE })
  const answered: Answered = new Map()
  const paying = payOn(server.scorePort, answered)
  await until(() => answered.size > 50, 'payments are answered')
  const copying = assay(t, 'backup', '--to', backup, '--data', data, '--every', '50ms')
  await until(() => existsSync(join(backup, 'backup.json')), 'the first pass')
  const first = stateOf(backup).sequence
  await until(() => stateOf(backup).sequence > first + 200, 'the copy follows')
  const early = await refusal(t, 'restore', '--from', backup, '--data', data)
  t.match(early, /ASSAY_BACKUP_REFUSED: .* is not empty/)

  await server.kill()
  await paying.stop()
  copying.process.kill('SIGKILL')
  await copying.exited
  renameSync(data, at('lost'))
  const { sequence, log_id: logId, epoch } = stateOf(backup)
  t.ok(sequence > 250 && answered.size > 250)
  const shown = assay(t, 'backup', 'status', '--to', backup, '--max-age', '1h')
  t.equal(await shown.exited, 0)
  t.match(shown.output(), `level with record ${sequence} of epoch ${epoch}`)
  t.match(await refusal(t, 'backup', 'status', '--to', backup, '--max-age', '1ms'), /s ago/)

  await t.test('a copy that is damaged, or of another log, is refused, and nothing is half made', async (t) => {
    cpSync(backup, at('damaged'), { recursive: true })
    const [segment] = readdirSync(at('damaged/decision-log')).filter((name) => name.endsWith('.segment'))
    const path = join(at('damaged/decision-log'), segment ?? '')
    const bytes = readFileSync(path)
    const place = Math.floor(bytes.length / 2)
    bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place)
    writeFileSync(path, bytes)
    t.match(await refusal(t, 'restore', '--from', at('damaged'), '--data', at('none')), /ASSAY_BACKUP_REFUSED.*damaged/)
    t.notOk(existsSync(at('none/decision-log')))
    t.notOk(existsSync(at('none/decision-log.restoring')))
    t.match(await refusal(t, 'restore', '--from', at('none'), '--data', data), /ASSAY_INPUT_INVALID.*backup.json/)
    const other = await startServer({ dataDir: at('other'), command: QUICK_SERVE })
    await other.stop()
    t.match(await refusal(t, 'backup', '--to', backup, '--data', at('other')), /ASSAY_BACKUP_REFUSED.*another segment/)
    t.same(stateOf(backup).sequence, sequence)
  })

  await t.test('restored, the log is the one that was lost, up to there', async (t) => {
    const restore = assay(t, 'restore', '--from', backup, '--data', data, '--models', models)
    t.equal(await restore.exited, 0, restore.output())
    const lost = recordsOf(at('lost/decision-log'), sequence)
    const own = recordsOf(join(data, 'decision-log'), Infinity)
    t.ok(own.length >= sequence, 'all that was promised')
    t.same(own.slice(0, sequence), lost)
    t.same(readdirSync(models).sort(), ['baseline', 'fraud-lgbm', 'fraud-xgb'])
  })

  await t.test('a server on it answers what it holds as it was decided, in an epoch that nobody had', async (t) => {
    const again = await startServer({ dataDir: data, env: { ASSAY_MODELS_DIR: models }, command: QUICK_SERVE })
    t.teardown(() => again.stop())
    let replayed = 0
    const held = recordsOf(join(data, 'decision-log'), Infinity).length
    for (const [body, id] of [...answered].slice(0, 100)) {
      if ((await paid(again.scorePort, body)) === id) replayed++
    }
    t.equal(replayed, 100, `${held} records are held`)
    const body = JSON.stringify({ ...JSON.parse([...answered.keys()][0] ?? ''), transaction_id: 'new' })
    const reference = parseDecisionId(await paid(again.scorePort, body))
    t.ok((reference?.epoch ?? 0) > epoch + 999, 'no start of the lost log can have had it')
    t.equal(reference?.logId.toString('hex'), logId)
  })
})
