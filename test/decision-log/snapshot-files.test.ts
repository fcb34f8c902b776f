// Names of snapshots: what they say, what does not count as one.

import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { SNAPSHOTS_FOLDER, listSnapshots, snapshotName, snapshotOfName } from '../../src/decision-log/snapshot-files.js'

void t.test('a name and its place are each other', (t) => {
  const name = snapshotName({ epoch: 3, sequence: 1234 })
  t.equal(name, '0000000003-0000000000001234.snapshot')
  t.same(snapshotOfName(name), { epoch: 3, sequence: 1234, name })
  t.equal(snapshotOfName(`${name}.new`), null)
  t.equal(snapshotOfName('3-1234.snapshot'), null)
  t.end()
})

void t.test('snapshots are listed newest first, by epoch and then by sequence', (t) => {
  const dataDir = t.testdir()
  t.same(listSnapshots(dataDir), [], 'no folder, no snapshots')
  fs.mkdirSync(path.join(dataDir, SNAPSHOTS_FOLDER))
  const places = [
    { epoch: 1, sequence: 900 },
    { epoch: 2, sequence: 1000 },
    { epoch: 2, sequence: 950 },
  ]
  for (const place of places) fs.writeFileSync(path.join(dataDir, SNAPSHOTS_FOLDER, snapshotName(place)), '')
  fs.writeFileSync(path.join(dataDir, SNAPSHOTS_FOLDER, `${snapshotName({ epoch: 9, sequence: 9 })}.new`), '')
  t.same(
    listSnapshots(dataDir).map((file) => file.sequence),
    [1000, 950, 900],
  )
  t.end()
})
