// What the configuration of shared state may say: by the schema, and by what the schema cannot say.
import { Value } from '@sinclair/typebox/value'
import t from 'tap'
import { hostOf } from '../../src/contract/address.js'
import { isSocket, RedisConfig, STATE_DEFAULTS, StateConfig, stateFaults } from '../../src/contract/state.js'

const AT = '/process/state/redis/'
const config = (edit: Partial<RedisConfig>): StateConfig => ({
  kind: 'redis',
  redis: { ...STATE_DEFAULTS.redis, ...edit },
})
const pair = { ca_file: null, cert_file: 'c', key_file: 'k' }
const sentinel = { topology: 'sentinel', master_name: 'm' } as const

void t.test('what does not fit together is named, and only where it is used', (t) => {
  const cases: readonly (readonly [Partial<RedisConfig>, readonly string[]])[] = [
    [{}, []],
    [{ nodes: ['unix:/run/redis/s'], database: 15 }, []],
    [{ nodes: ['a:1', 'b:2'] }, ['nodes']],
    [{ topology: 'cluster', nodes: ['a:1', 'b:2'] }, []],
    [{ topology: 'cluster', database: 1 }, ['database']],
    [{ topology: 'cluster', nodes: ['unix:/s'] }, ['nodes']],
    [sentinel, []],
    [{ ...sentinel, master_name: null }, ['master_name']],
    [{ ...sentinel, nodes: ['a:1', 'unix:/s'] }, ['nodes']],
    [{ ...sentinel, sentinel_password_file: 'f', database: 2 }, []],
    [{ sentinel_password_file: 'f' }, ['sentinel_password_file']],
    [{ username: 'u' }, ['username']],
    [{ username: 'u', password_file: 'f' }, []],
    [{ password_file: 'f', nodes: ['localhost:1'] }, []],
    [{ password_file: 'f', nodes: ['[::1]:1'] }, []],
    [{ password_file: 'f', nodes: ['unix:/far/away'] }, []],
    [{ password_file: 'f', nodes: ['redis.example:1'] }, ['password_file']],
    [{ password_file: 'f', nodes: ['redis.example:1'], tls: pair }, []],
    [{ ...sentinel, sentinel_password_file: 'f', nodes: ['redis.example:1'] }, ['sentinel_password_file']],
    [{ ...sentinel, password_file: 'f', nodes: ['localhost:1', 'redis.example:1'] }, ['password_file']],
    [{ nodes: ['redis.example:1'] }, []],
    [{ tls: { ...pair, key_file: null } }, ['tls']],
    [{ tls: { ...pair, cert_file: null } }, ['tls']],
    [{ tls: { ca_file: 'a', cert_file: null, key_file: null } }, []],
    [{ username: 'u', nodes: ['a:1', 'b:2'] }, ['nodes', 'username']],
  ]
  for (const [edit, keys] of cases) {
    const given = config(edit)
    const faults = stateFaults(given)
    t.same(
      faults.map(({ path }) => path),
      keys.map((key) => AT + key),
      JSON.stringify(edit),
    )
    for (const { message } of faults) t.not(message, '')
    t.same(stateFaults({ ...given, kind: 'memory' }), [], 'nothing is asked of what is not used')
  }
  t.end()
})

void t.test('the schema takes what it should, and nothing else', (t) => {
  t.ok(Value.Check(StateConfig, STATE_DEFAULTS))
  for (const edit of [
    { nodes: ['redis.example:6379', '[::1]:6379', 'unix:/run/s'] },
    { database: 15, key_prefix: 'a.b_c:d-E9' },
    { tls: pair, master_name: 'm', username: 'u' },
  ])
    t.ok(Value.Check(StateConfig, config(edit)), JSON.stringify(edit))
  for (const edit of [
    { nodes: [] },
    { nodes: ['redis.example'] },
    { nodes: ['redis://redis.example:6379'] },
    { nodes: ['unix:relative'] },
    { nodes: ['a b:1'] },
    { database: 16 },
    { database: -1 },
    { key_prefix: '' },
    { key_prefix: 'a{b' },
    { key_prefix: 'x'.repeat(33) },
    { master_name: 'a b' },
    { password_file: '' },
    { tls: { cert_file: 'c' } },
    { unheard: 'of' },
  ])
    t.notOk(Value.Check(RedisConfig, { ...STATE_DEFAULTS.redis, ...edit }), JSON.stringify(edit))
  t.end()
})

void t.test('a node is a path or a host with its port', (t) => {
  t.ok(isSocket('unix:/run/s'))
  t.notOk(isSocket('unix.example:1'))
  t.equal(hostOf('redis.example:6379'), 'redis.example')
  t.equal(hostOf('[::1]:6379'), '::1')
  t.equal(hostOf('[::1]'), '::1')
  t.equal(hostOf('redis.example'), 'redis.example')
  t.end()
})
