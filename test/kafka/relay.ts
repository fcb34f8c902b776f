// Stands before a real registry that knows no GUIDs, answers for those that it is told of as newer registries do, wants
// a password, and notes what it was asked. Hands on what is read, and nothing that is written. No test.
import { once } from 'node:events'
import { createServer } from 'node:http'

export interface Relay {
  readonly url: string
  /** Paths in the order in which they were asked for. */
  readonly asked: readonly string[]
  close(): void
}

export async function startRelay(to: string, ids: ReadonlyMap<string, number>, password: string): Promise<Relay> {
  const asked: string[] = []
  const allowed = `Basic ${Buffer.from(`assay:${password}`).toString('base64')}`

  async function answer(path: string): Promise<Response> {
    const [, guid, rest] = /^\/schemas\/guids\/([0-9a-f-]{36})(\/ids)?$/.exec(path) ?? []
    const id = ids.get(guid)
    if (id === undefined) return fetch(to + path)
    return rest === undefined ? fetch(`${to}/schemas/ids/${id}`) : Response.json([{ context: '.', id }])
  }

  const server = createServer((request, response) => {
    const path = request.url ?? ''
    asked.push(path)
    const replied = request.headers.authorization === allowed ? answer(path) : new Response('no', { status: 401 })
    Promise.resolve(replied)
      .then(async (reply) => response.writeHead(reply.status).end(await reply.text()))
      .catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    ...{ url: `http://127.0.0.1:${port}/`, asked },
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
