// Prints the digest of every feature of the catalogue, as JSON: name → sha256:… usage: digests.mjs CONFIG, which
// `assay config print --json` has printed.
import { readFileSync } from 'node:fs'
import { compileCatalogue } from '../../dist/src/features/compile.js'

const { policy } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const { names, featureDigests } = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
const digests = Object.fromEntries(names.map((name, at) => [name, featureDigests[at]]))
process.stdout.write(`${JSON.stringify(digests, null, 1)}\n`)
