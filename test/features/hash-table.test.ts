// The hash table against a naive one: random additions and removals, with few hashes that come again and again and with
// many that make its segments split; and through an image.
import fc from 'fast-check'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HashTable } from '../../src/features/hash-table.js'
import { createImageReader, createImageWriter } from '../../src/runtime/image.js'

interface Key {
  readonly low: number
  readonly high: number
}
type Step = readonly [adds: boolean, key: Key]

/** Values by hash. */
type Naive = Map<string, number[]>

function apply(table: HashTable, steps: readonly Step[]): Naive {
  const naive: Naive = new Map()
  steps.forEach(([adds, { low, high }], value) => {
    const name = `${low} ${high}`
    const values = naive.get(name) ?? []
    naive.set(name, values)
    if (adds) {
      table.add(low, high, value)
      values.push(value)
    } else if (values.length > 0) table.remove(low, high, values.splice(value % values.length, 1)[0])
  })
  return naive
}

function found(table: HashTable, { low, high }: Key): number[] {
  const values: number[] = []
  let at = table.next(low, high, table.start(low, high))
  for (; at >= 0; at = table.next(low, high, table.after(low, high, at))) values.push(table.valueAt(low, high, at))
  return values.sort((a, b) => a - b)
}

function isEqual(table: HashTable, naive: Naive): boolean {
  for (const [name, values] of naive) {
    const [low, high] = name.split(' ').map(Number)
    if (found(table, { low, high }).join() !== values.sort((a, b) => a - b).join()) return false
  }
  return table.entries === [...naive.values()].reduce((sum, values) => sum + values.length, 0)
}

const stepsOf = (low: fc.Arbitrary<number>, high: fc.Arbitrary<number>, maxLength: number): fc.Arbitrary<Step[]> =>
  fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }).map(Boolean), fc.record({ low, high })), {
    ...{ maxLength, size: 'max' },
  })
const upTo = (max: number): fc.Arbitrary<number> => fc.integer({ min: 0, max })
/** Equal hashes that no splitting tells apart, and hashes that it does. */
const STREAMS = [
  { name: 'few hashes', steps: stepsOf(upTo(3), upTo(40), 300) },
  { name: 'many hashes', steps: stepsOf(upTo(1), upTo(0xffffffff), 600) },
]

for (const { name, steps } of STREAMS) {
  void t.test(`${name}: it finds what was added and nothing that was removed`, (t) => {
    for (const sizeMax of [8, 1 << 13]) {
      fc.assert(
        fc.property(steps, (taken) => {
          const table = new HashTable(sizeMax)
          return isEqual(table, apply(table, taken))
        }),
      )
    }
    t.throws(() => new HashTable().remove(1, 2, 3))
    t.end()
  })
}

void t.test('a segment that is full grown splits, and an image holds what has split', async (t) => {
  const table = new HashTable(8)
  const steps = Array.from({ length: 400 }, (_, i): Step => [
    true,
    { low: i & 1, high: Math.imul(i, 0x9e3779b1) >>> 0 },
  ])
  const naive = apply(table, steps)
  // Two of the 256 segments at first have taken everything: doubled alone they would stand at 512 places each.
  t.ok(isEqual(table, naive))
  const folder = mkdtempSync(join(tmpdir(), 'assay-hash-table-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = await open(join(folder, 'image'), 'w+')
  t.teardown(() => file.close())
  const writer = createImageWriter(file, () => Promise.resolve())
  await table.serialize(writer)
  await writer.end()
  const copy = new HashTable(8)
  const reader = createImageReader(file)
  await copy.serialize(reader)
  await reader.end()
  t.ok(isEqual(copy, naive))
  t.equal(copy.bytes, table.bytes)
  for (const each of [table, copy]) {
    steps.forEach(([, { low, high }], value) => each.remove(low, high, value))
    t.equal(each.entries, 0)
  }
})

void t.test('equal hashes, which no bit tells apart, are held all the same', (t) => {
  const table = new HashTable(8)
  for (let value = 0; value < 1_000; value++) table.add(7, 0xdeadbeef, value)
  t.equal(found(table, { low: 7, high: 0xdeadbeef }).length, 1_000)
  t.end()
})
