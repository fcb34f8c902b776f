// The layout of a snapshot has a number: whoever changes the layout must raise it, or a start would read state wrongly.
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import { createRecordCodecs } from '../../src/contract/record.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { TINY } from '../../src/limits.js'
import { createImageWriter } from '../../src/runtime/image.js'
import { createLogState, serializeLogState } from '../../src/scoring/log-state.js'
import { SNAPSHOT_FORMAT } from '../../src/scoring/snapshot.js'

/** SHA-256 of the image of an empty state, by format. */
const LAYOUTS = new Map([[3, '05547302282a38a9f4addb78e18466b3f530d0a1b26f92ae5db27e25c988e6ea']])

void t.test('another layout of the state is another format', async (t) => {
  const { policy } = loadConfig({ env: {} })
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const small = { ...policy, idempotency: { ids_max: 8, window_ms: 1_000 } }
  const deps = { policy: small, limits: TINY, catalogue, codecs: createRecordCodecs(policy.schema) }
  const folder = mkdtempSync(join(tmpdir(), 'assay-layout-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = await open(join(folder, 'image'), 'w')
  const writer = createImageWriter(file, () => Promise.resolve())
  await serializeLogState(createLogState(deps, { features: Buffer.alloc(16), ids: Buffer.alloc(16) }), writer)
  await writer.end()
  await file.close()
  const digest = createHash('sha256')
    .update(readFileSync(join(folder, 'image')))
    .digest('hex')
  t.equal(digest, LAYOUTS.get(SNAPSHOT_FORMAT), 'raise SNAPSHOT_FORMAT, and put the digest here')
})
