// The least that this machine can do: the same HTTP binding, a handler that reads the body and answers with a constant
// decision. No validation, model or log. Its CPU per request says how fast the machine is while a figure is taken.
import { loadBinding } from '../src/scoring/transport/http/binding.js'

const { uws } = loadBinding()
const BODY = JSON.stringify({ decision_id: `d_${'a'.repeat(32)}`, action: 'approve', filling: 'x'.repeat(450) })
const app = uws.App()
app.get('/readyz', (res) => res.end('{"ready":true}'))
app.post('/v1/score', (res) => {
  res.onAborted(() => undefined)
  res.onData((_chunk, last) => {
    if (last) res.writeHeader('Content-Type', 'application/json').end(BODY)
  })
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('cannot listen')
  const port = uws.us_socket_local_port(socket)
  console.log(`score http://127.0.0.1:${port} operations http://127.0.0.1:${port}`)
})
process.on('SIGTERM', () => process.exit(0))
