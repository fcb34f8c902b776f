// Rows of files as other programs write them: quotes, line ends, byte order marks, pieces that end anywhere; and what
// is said of those that cannot be read.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { AssayError } from '../../src/errors.js'
import { parseColumns, readRowBatches, readRows, type Row, ROW_BYTES_MAX } from '../../src/features/read-rows.js'

const folder = mkdtempSync(join(tmpdir(), 'assay-rows-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const NAMES = new Set(['id', 'text'])
const COLUMNS = parseColumns('id=ID,text=TEXT')
let files = 0

function fileOf(content: string): string {
  const path = join(folder, `${++files}.csv.gz`)
  writeFileSync(path, gzipSync(content))
  return path
}

/** What was read, and what was said at the end. */
async function readAll(content: string): Promise<{ rows: Row[]; said: string }> {
  const path = fileOf(content)
  const rows: Row[] = []
  try {
    for await (const row of readRows(path, NAMES, COLUMNS)) rows.push(row)
  } catch (error) {
    return {
      rows,
      said: error instanceof AssayError ? `${error.code}: ${error.message}`.replaceAll(path, 'FILE') : String(error),
    }
  }
  return { rows, said: '' }
}

const texts = (rows: readonly Row[]): unknown[] => rows.map(({ values }) => values.text)

void t.test('a csv of another program', async (t) => {
  for (const end of ['\n', '\r\n']) {
    const lines = ['\ufeffID,TEXT,OTHER', '1,"a, b",x', '', '2,"say ""so""",y', `3,"two${end}lines",z`, '4,,z']
    const { rows, said } = await readAll(lines.join(end))
    t.equal(said, '')
    t.same(
      rows.map(({ number }) => number),
      [1, 2, 3, 4],
    )
    t.same(texts(rows), ['a, b', 'say "so"', `two${end}lines`, undefined])
  }
})

void t.test('pieces of a file end anywhere', async (t) => {
  const wanted = Array.from({ length: 20_000 }, (_, at) => `${'é€😀'.repeat(at % 7)}"\n${at}`)
  const lines = wanted.map((text, at) => `${at},"${text.replaceAll('"', '""')}"`)
  const { rows, said } = await readAll(`ID,TEXT\n${lines.join('\n')}\n`)
  t.equal(said, '')
  t.ok(wanted.every((text, at) => rows[at].values.text === text && rows[at].values.id === String(at)))
  t.equal(rows.length, wanted.length)
})

void t.test('what stands before a fault comes first', async (t) => {
  const many = Array.from({ length: 5_000 }, (_, at) => `${at},x\n`).join('')
  const faults: Record<string, RegExp> = {
    '5000,"x': /^ASSAY_INPUT_INVALID: FILE, after row 5000: .*[Qq]uote/,
    '5000,"x"y"\n5001,x': /^ASSAY_INPUT_INVALID: FILE, after row 5000: .*[Qq]uote/,
    '\n\n5000,"x"y"\n5001,x': /^ASSAY_INPUT_INVALID: FILE, after row 5000: .*[Qq]uote/,
    '5000\n5001,x': /^ASSAY_INPUT_INVALID: FILE, row 5001: 1 values in 2 columns/,
    '5000,x,y\n5001,x': /^ASSAY_INPUT_INVALID: FILE, row 5001: 3 values in 2 columns/,
  }
  for (const [fault, wanted] of Object.entries(faults)) {
    const { rows, said } = await readAll(`ID,TEXT\n${many}${fault}`)
    t.match(said, wanted, fault)
    t.equal(rows.length, 5_000, fault)
  }
})

void t.test('a quote that is never closed is not read to the end of the file', async (t) => {
  const { rows, said } = await readAll(`ID,TEXT\n1,x\n2,"${'y,\n'.repeat(20 * ROW_BYTES_MAX)}`)
  t.match(said, /after row 1: more than \d+ bytes in a row; is a quote not closed\?$/)
  t.equal(rows.length, 1)
})

void t.test('whoever has enough stops', async (t) => {
  const path = fileOf(`ID,TEXT\n${'1,x\n'.repeat(500_000)}`)
  let rows = 0
  for await (const batch of readRowBatches(path, NAMES, COLUMNS)) {
    rows += batch.length
    if (rows > 10_000) break
  }
  t.ok(rows < 50_000, `${rows} were read`)
})
