// Bytes of records as earlier releases wrote them, and what they must still decode to. A release that adds something
// adds a file; none is changed.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config.js'
import { codecsFromSchemas } from '../../src/contract/record.js'
import { RECORD_TYPES, type RecordType } from '../../src/contract/record-types.js'
import { plain } from './plain.js'

/** Record types and fields that format 1 did not have at first; the fields as they are read then. */
const TYPES_ADDED = ['consumed']
const FACTS_ADDED = { decidedElsewhere: null }
const MODEL_ADDED = { provider: null }
const CONTROL_ADDED = { remoteAddress: null }
const SOURCE_ADDED = { topicId: null, skipped: 0 }

interface Golden {
  schemas: string
  records: {
    type: RecordType
    body: string
    decoded: { facts?: { model?: object | null }; personal?: { source?: object | null }; control?: object }
  }[]
}

/** A record of an earlier release with what was added since. */
function withAdded(decoded: Golden['records'][number]['decoded']): object {
  const model = decoded.facts?.model && { model: { ...MODEL_ADDED, ...decoded.facts.model } }
  const facts = decoded.facts && { facts: { ...FACTS_ADDED, ...decoded.facts, ...model } }
  const source = decoded.personal?.source && { ...SOURCE_ADDED, ...decoded.personal.source }
  const control = decoded.control && { control: { ...CONTROL_ADDED, ...decoded.control } }
  const personal = source && { personal: { ...decoded.personal, source } }
  return { ...decoded, ...facts, ...personal, ...control }
}

function readGolden(name: string): Golden {
  return JSON.parse(readFileSync(join(packageRoot, 'test/fixtures/contract', name), 'utf8')) as Golden
}

void t.test('golden bytes of format 1 decode as they did when they were written', (t) => {
  const golden = readGolden('records-1.json')
  const reader = codecsFromSchemas(golden.schemas)
  t.same(
    golden.records.map((record) => record.type),
    Object.keys(RECORD_TYPES).filter((type) => !TYPES_ADDED.includes(type)),
  )
  for (const { type, body, decoded } of golden.records) {
    t.same(plain(reader.decode(type, Buffer.from(body, 'hex'))), withAdded(decoded), type)
  }
  t.end()
})

for (const [file, what] of [
  ['records-1-streams.json', 'with a topic id, and of a message that was passed over'],
  ['records-1-provider.json', 'with what its model ran on'],
  ['records-1-remote.json', 'of changes with the address that asked for them'],
] as const) {
  void t.test(`golden bytes ${what}, decode`, (t) => {
    const { schemas, records } = readGolden(file)
    const reader = codecsFromSchemas(schemas)
    for (const { type, body, decoded } of records) {
      t.same(plain(reader.decode(type, Buffer.from(body, 'hex'))), withAdded(decoded), type)
    }
    t.end()
  })
}
