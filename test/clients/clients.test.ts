// The short form: a burst, Expect in Java's spelling and one restart. The full form, with idle gaps around the server's
// timeout, is full.ts; its output is bench/results/clients.txt.
import t from 'tap'
import { QUICK_SERVE } from '../flow/quick.js'
import { openProxy } from '../redis/proxy.js'
import { buildClients, startServer } from './clients.js'

t.setTimeout(240_000)

void t.test('clients of other languages are served through a slow proxy and across a restart', async (t) => {
  // The first build of Go's standard library takes a minute on a busy machine; later ones are cached.
  t.setTimeout(240_000)
  const { clients, missing, close } = await buildClients()
  for (const name of missing) {
    if (process.env['CI'] === 'true') t.fail(`${name} is not installed`)
    else t.comment(`SKIPPED: ${name} is not installed`)
  }
  const server = await startServer(QUICK_SERVE)
  const proxy = await openProxy(server.port, 20)
  const url = `http://127.0.0.1:${proxy.port}`
  for (const client of clients) {
    for (const phase of ['burst', 'expect'] as const) {
      const { errors, requests, answered } = await client.run(url, 'default', phase, '40')
      // A 503 is the server's right where the machine is too busy; anything else would be a fault of the connection.
      const others = Object.keys(errors).filter((error) => !error.startsWith('status 503'))
      const refused = Object.values(errors).reduce((sum, count) => sum + count, 0)
      t.same(others, [], `${client.name}, ${phase}, as it comes`)
      t.equal(answered + refused, requests)
      t.ok(answered > 0)
    }
  }
  const restarts: Promise<void>[] = []
  const restartOnce = () => {
    if (restarts.length === 0) restarts.push(server.restart())
  }
  const steady = clients.map(async (client) => {
    return { client, result: await client.run(url, 'advised', 'steady', '4', restartOnce) }
  })
  for (const { client, result } of await Promise.all(steady)) {
    t.same(result.errors, {}, `${client.name}, with the lines of the README, across a restart`)
    t.equal(result.answered, result.requests)
  }
  await Promise.all(restarts)
  proxy.close()
  await server.close()
  await close()
})
