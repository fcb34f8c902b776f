// The index of recent transactions: found by hash, evicted in the order of ordinals, bounded by number, time and bytes.
import fc from 'fast-check'
import t from 'tap'
import { IdIndex, type SettledDecision } from '../../src/scoring/id-index.js'

function hashesOf(id: number, content: number): Uint32Array {
  // Few homes on purpose: entries must share chains of the table.
  return Uint32Array.of(id % 5, id, content, 7)
}

function settled(ordinal: number, transactionId: string, facts: string): SettledDecision {
  const buffer = Buffer.from(facts)
  return { epoch: 1, ordinal, sequence: ordinal + 100, transactionId, buffer, from: 0, to: buffer.length }
}

function createIndex(over: { idsMax?: number; windowMs?: number; factsBytesMax?: number } = {}): IdIndex {
  return new IdIndex({ idsMax: 8, windowMs: 1_000, factsBytesMax: 4_096, ...over })
}

void t.test('an entry is open until it is settled, then gives back its id and facts', (t) => {
  const index = createIndex()
  const entry = index.insert(hashesOf(1, 1), 1, 10, 0)
  t.equal(index.find(1, 1), entry)
  t.equal(index.find(1, 2), -1)
  t.equal(index.sequenceOf(entry), -1)
  t.equal(index.read(entry), null)
  index.settle(entry, settled(10, 'päyment', 'facts'))
  const held = index.read(entry)
  t.equal(held?.transactionId, 'päyment')
  t.equal(held?.facts.toString(), 'facts')
  t.equal(index.sequenceOf(entry), 110)
  t.ok(index.sameContent(entry, 1, 7))
  t.notOk(index.sameContent(entry, 2, 7))
  t.equal(index.findOrdinal(1, 10), entry)
  t.equal(index.findOrdinal(1, 9), -1)
  t.equal(index.findOrdinal(2, 10), -1)
  t.end()
})

void t.test('the oldest leaves by age, and by count', (t) => {
  const index = createIndex()
  for (let id = 1; id <= 9; id++) index.insert(hashesOf(id, id), 1, id, id)
  t.equal(index.find(1, 1), -1, 'nine ids, eight places')
  t.not(index.find(2, 2), -1)
  index.insert(hashesOf(50, 50), 1, 50, 1_005)
  t.equal(index.find(4, 4), -1, 'older than the window of 1,000 ms')
  t.not(index.find(0, 5), -1, 'exactly the window old')
  t.same(index.coverage(), { ids: 6, evicted: 4, sinceMs: 5 })
  t.end()
})

void t.test('the oldest leave when the bytes are used up, and what stays is whole', (t) => {
  const index = createIndex({ idsMax: 100, factsBytesMax: 1_024 })
  for (let id = 1; id <= 60; id++) {
    const entry = index.insert(hashesOf(id, id), 1, id, 0)
    index.settle(entry, settled(id, `t${id}`, `${id}|`.padEnd(90, 'x')))
  }
  const { ids } = index.coverage()
  t.ok(ids >= 9 && ids <= 11, `${ids} entries of about 95 bytes in 1,024`)
  for (const { ordinal, decision } of index.entries()) {
    t.equal(decision?.facts.toString(), `${ordinal}|`.padEnd(90, 'x'))
  }
  t.end()
})

void t.test('a settle after the entry has left changes nothing', (t) => {
  const index = createIndex({ idsMax: 1 })
  const entry = index.insert(hashesOf(1, 1), 1, 1, 0)
  index.insert(hashesOf(2, 2), 1, 2, 0)
  index.settle(entry, settled(1, 'gone', 'facts'))
  t.equal(index.read(entry), null)
  t.end()
})

void t.test('it answers like a map that forgets in order', (t) => {
  const operations = fc.array(fc.record({ id: fc.nat(40), step: fc.nat(300) }), { maxLength: 300 })
  fc.assert(
    fc.property(operations, (list) => {
      const index = createIndex()
      const model: { id: number; clockMs: number; ordinal: number }[] = []
      let clockMs = 0
      list.forEach(({ id, step }, at) => {
        clockMs += step
        const known = model.some((row) => row.id === id)
        t.equal(index.find(id % 5, id) >= 0, known)
        if (known) return
        index.insert(hashesOf(id, id), 1, at + 1, clockMs)
        if (model.length === 8) model.shift()
        while (model.length > 0 && model[0].clockMs < clockMs - 1_000) model.shift()
        model.push({ id, clockMs, ordinal: at + 1 })
      })
      t.same(
        [...index.entries()].map((row) => row.ordinal),
        model.map((row) => row.ordinal),
      )
    }),
    { numRuns: 200 },
  )
  t.end()
})
