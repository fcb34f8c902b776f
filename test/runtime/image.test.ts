// An image: one list of calls writes and reads, nothing that is not whole reaches the reader, and what was put comes
// back as it was, over the bounds of blocks.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createImageReader, createImageWriter, type Image, listIn } from '../../src/runtime/image.js'

const folder = mkdtempSync(join(tmpdir(), 'assay-image-'))
const path = join(folder, 'image')
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const LONG = Uint32Array.from({ length: 700_000 }, (_, at) => Math.imul(at, 2_654_435_761))
const HELD = {
  numbers: [0, -0, NaN, -Infinity, 2 ** 53, 1e-300],
  text: 'ä🐟',
  floats: Float64Array.of(NaN, -0, 1 / 3),
  bytes: new Uint8Array(0),
  long: LONG,
}
type Held = typeof HELD
const EMPTY: Held = {
  ...{ numbers: [], text: '', floats: new Float64Array(3), bytes: new Uint8Array(0) },
  long: new Uint32Array(LONG.length),
}

async function serialize(image: Image, held: Held): Promise<Held> {
  const numbers = await listIn(image, held.numbers, (value = 1) => image.number(value))
  const text = await image.text(held.text)
  for (const array of [held.floats, held.bytes, held.long]) await image.array(array)
  return { ...held, numbers, text }
}

async function write(held: Held): Promise<{ bytes: number; blocks: number }> {
  const file = await open(path, 'w')
  let blocks = 0
  const writer = createImageWriter(file, () => Promise.resolve(void blocks++))
  await serialize(writer, held)
  const bytes = await writer.end()
  await file.close()
  return { bytes, blocks }
}

async function read(): Promise<Held> {
  const file = await open(path, 'r')
  try {
    const reader = createImageReader(file)
    const held = await serialize(reader, structuredClone(EMPTY))
    await reader.end()
    return held
  } finally {
    await file.close()
  }
}

void t.test('what was put is taken', async (t) => {
  const { bytes, blocks } = await write(HELD)
  t.equal(readFileSync(path).length, bytes)
  t.equal(blocks, 4, 'three of a MiB at most, and the end')
  t.strictSame(await read(), HELD)
})

void t.test('what is not whole is refused', async (t) => {
  await write(HELD)
  const whole = readFileSync(path)
  const spoilt: [string, Buffer, RegExp][] = [
    ['a flipped byte', Buffer.from(whole), /does not have its checksum/],
    ['a torn end', whole.subarray(0, whole.length - 9), /ends at byte/],
    ['no last block', whole.subarray(0, whole.length - 8), /ends at byte/],
    ['no block', Buffer.alloc(0), /ends at byte 0/],
    ['a block that is too long', Buffer.from(whole), /longer than a block/],
    ['a block at the end', Buffer.concat([whole.subarray(0, whole.length - 8), whole]), /holds more/],
    ['an end in the middle', Buffer.concat([whole.subarray(0, (1 << 20) + 8), Buffer.alloc(8)]), /holds less/],
  ]
  spoilt[0][1].writeUInt8(whole.readUInt8(1_500_000) ^ 1, 1_500_000)
  spoilt[4][1].writeUInt32LE(1 << 30, 0)
  for (const [name, bytes, message] of spoilt) {
    writeFileSync(path, bytes)
    await t.rejects(read(), message, name)
  }
})
