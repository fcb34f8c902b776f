// The full form: Java's HttpClient and Go's net/http, as they come and with the lines of the README, through a proxy
// that adds 20 ms each way; idle gaps around the server's timeout; one restart. Prints a table; fails on an error that
// the README of transport/http does not name. node dist/test/clients/full.js > bench/results/clients.txt
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openProxy } from '../redis/proxy.js'
import { buildClients, type Mode, type Phase, startServer } from './clients.js'

const README = readFileSync(join(import.meta.dirname, '../../../src/scoring/transport/http/README.md'), 'utf8')
/** What stands in the README's table of errors, in code spans. */
const NAMED = [...(README.split('| seen | when |')[1]?.split('\n\n')[0] ?? '').matchAll(/`([^`]+)`/g)].map(
  (span) => span[1],
)
const GAPS = Array.from({ length: 64 }, (_, index) => (7 + index * 0.1).toFixed(1)).join(',')
const PHASES: readonly (readonly [Phase, string])[] = [
  ['burst', '400'],
  ['expect', '100'],
  ['gaps', GAPS],
  ['steady', '15'],
]

const { clients, missing, close } = await buildClients()
if (missing.length > 0) throw new Error(`not installed: ${missing.join(', ')}`)
const server = await startServer()
const proxy = await openProxy(server.port, 20)
const url = `http://127.0.0.1:${proxy.port}`
let unnamed = 0
console.log('client, mode, phase: requests, answered, retries of the application, replayed answers, errors')
for (const client of clients) {
  for (const mode of ['default', 'advised'] satisfies Mode[]) {
    for (const [phase, argument] of PHASES) {
      const restarts: Promise<void>[] = []
      const result = await client.run(url, mode, phase, argument, () => void restarts.push(server.restart()))
      await Promise.all(restarts)
      const errors = Object.entries(result.errors)
      const strange = errors.filter(([error]) => mode === 'advised' || !NAMED.some((name) => error.includes(name)))
      unnamed += strange.length
      const list = errors.map(([error, count]) => `${count} × ${error}`).join('; ')
      console.log(
        `${client.name}, ${mode}, ${phase}: ${result.requests}, ${result.answered}, ${result.retries}, ` +
          `${result.replayed}, ${list === '' ? 'none' : list}${strange.length > 0 ? '  (NOT NAMED)' : ''}`,
      )
    }
  }
}
console.log(
  unnamed === 0 ? 'every error is one that the README names' : `${unnamed} errors that the README does not name`,
)
proxy.close()
await server.close()
await close()
process.exitCode = unnamed === 0 ? 0 : 1
