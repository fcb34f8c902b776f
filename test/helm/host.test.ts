// One host: the units, and the page "from zero to production" as a new user would follow it. Its commands run one
// after the other over copies-on-write of /etc, /opt, /usr and /var/lib. There is no systemd as process 1 here:
// `systemctl` does nothing, and this test starts what the units say, as their user with their environment. That
// systemd would do so, and its sandbox itself, is not shown: the units are verified and rated by systemd's own
// tools, and the system calls that server and sidecar make are held beside the filter.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../bench/server.js'
import { namespacesMissing } from './image.js'

const HOST = join(ROOT, 'helm', 'host')
const UNITS = ['assay.service', 'assay-governance.service'].map((name) => join(HOST, name))
const present = (tool: string): boolean => spawnSync('which', [tool]).status === 0
const lacking = ['systemd-analyze', 'strace', 'openssl', 'curl'].filter((tool) => !present(tool))
const reason = namespacesMissing() ?? (lacking.length > 0 ? `not there: ${lacking.join()}` : null)
const skip = reason !== null && process.env.CI !== 'true' ? reason : false

const analyze = (...args: string[]) => spawnSync('systemd-analyze', args, { encoding: 'utf8' })

/** The values of a key of a unit, in their order. */
const valuesOf = (unit: string, key: string): string[] =>
  [...readFileSync(unit, 'utf8').matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value = '']) => value)

void t.test('the units are valid, and rated as well sandboxed', { skip }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-units-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  // What it warns of besides are programs that are not there, such as man pages of other units.
  const ours = (text: string): string[] => text.split('\n').filter((line) => /assay/.test(line))
  t.same(ours(analyze('verify', ...UNITS).stderr), [])
  const wrong = join(folder, 'assay.service')
  writeFileSync(wrong, readFileSync(UNITS[0] ?? '', 'utf8').replace('RestartSec', 'RestartSecs'))
  t.ok(ours(analyze('verify', wrong).stderr).length > 0, 'a key that is not one')

  const rated = (unit: string) => analyze('security', '--offline=true', '--threshold=20', unit).status
  for (const unit of UNITS) t.equal(rated(unit), 0, unit)
  const open = join(folder, 'open.service')
  writeFileSync(open, readFileSync(UNITS[0] ?? '', 'utf8').replace(/^(Protect|Restrict|System).*\n/gm, ''))
  t.not(rated(open), 0, 'one without its sandbox')
  t.end()
})

/** The commands of a shell block each, in the order of the page. */
const blocks = [...readFileSync(join(HOST, 'README.md'), 'utf8').matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(
  ([, text = '']) => text,
)

void t.test(
  'the page leads to a server that scores, one step after the other',
  { skip, timeout: 115_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'assay-host-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    t.equal(blocks.length, 5)
    const [program = '', user = '', units = '', ready = '', transaction = ''] = blocks
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'systemctl'), '#!/bin/sh\necho "systemctl $*"\n', { mode: 0o755 })
    // Network and ports are this test's own: what else listens on 8080 here is nobody's business.
    const script = [
      ...['set -e', 'unset NODE_OPTIONS', 'ip link set lo up', `export PATH=${bin}:$PATH`],
      ...['etc', 'opt', 'usr', 'var/lib'].flatMap((name) => {
        const upper = join(folder, name)
        return [
          `mkdir -p ${upper}/up ${upper}/work`,
          `mount -t overlay overlay -o lowerdir=/${name},upperdir=${upper}/up,workdir=${upper}/work /${name}`,
        ]
      }),
      // The clone, with what `npm ci` and the build have laid down here, from the same lock file and sources.
      `mkdir -p /opt/assay/dist && cd ${ROOT} && cp -a package.json src models helm tsconfig.json /opt/assay`,
      'cp -a dist/src dist/.tsbuildinfo /opt/assay/dist',
      `mkdir /opt/assay/node_modules && mount --bind ${ROOT}/node_modules /opt/assay/node_modules`,
      ...['npm() { echo "npm $*"; }', program],
      ...[`{ ${user}\n} > ${folder}/printed`, `cat ${folder}/printed`, units],
      ...['install -d -m 0750 -o assay -g assay /var/lib/assay', 'echo PREPARED'],
      ...UNITS.map((unit, index) => `{ ${startAs(unit, `/var/lib/assay/calls-${index}`)}\n} & pid${index}=$!`),
      `until curl -sf http://127.0.0.1:8081/readyz && curl -sf http://127.0.0.1:8090/livez; do sleep 0.2; done`,
      ...[ready, `KEY=$(sed -n 's/^checkout: //p' ${folder}/printed)`, transaction],
      `test "$(curl -s -o /dev/null -w '%{http_code}' -X POST http://127.0.0.1:8080/v1/score)" = 401`,
      'echo SCORED; kill -TERM $(cat /proc/$pid0/task/$pid0/children) $(cat /proc/$pid1/task/$pid1/children)',
      ...['wait $pid0', 'echo "server $?"', 'wait $pid1', 'echo "sidecar $?"'],
    ]
    const args = [
      '--mount',
      '--net',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'bash',
      '-c',
      script.join('\n'),
    ]
    const run = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => void run.kill('SIGKILL'))
    let output = ''
    for (const stream of [run.stdout, run.stderr])
      stream.on('data', (chunk: Buffer) => void (output += chunk.toString()))
    const [code] = (await once(run, 'exit')) as [number]
    t.equal(code, 0, output)
    t.match(output, /^npm ci\nnpm run build\nnpm prune --omit=dev\n\d/)
    t.match(output, /systemctl enable --now assay assay-governance[\s\S]*PREPARED/)
    t.match(output, /"transaction_id":"first"[\s\S]*SCORED[\s\S]*server 0[\s\S]*sidecar 0/)

    const allowed = filterOf(UNITS[0] ?? '')
    t.same(filterOf(UNITS[1] ?? ''), allowed, 'one filter')
    const calls = [0, 1].flatMap((index) => {
      const table = readFileSync(join(folder, 'var/lib/up/assay', `calls-${index}`), 'utf8')
      return [...table.matchAll(/^ *[\d.]+ .* ([a-z_0-9]+)$/gm)].map(([, name = '']) => name)
    })
    t.ok(calls.includes('fdatasync') && calls.includes('sched_setscheduler'), 'of both')
    t.same(
      [...new Set(calls)].filter((name) => name !== 'total' && !allowed.has(name)),
      [],
      'let through',
    )
    t.notOk(allowed.has('mount') || allowed.has('ptrace'))
  },
)

/** What systemd would start for a unit: its user, no capability, its environment alone; its calls counted. */
function startAs(unit: string, calls: string): string {
  const [user, exec, environment] = ['User', 'ExecStart', 'Environment'].map((key) => valuesOf(unit, key)[0] ?? '')
  const drop = `setpriv --reuid ${user} --regid ${user} --clear-groups --no-new-privs --bounding-set=-all`
  const room = 'ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN=0'
  return `cd / && exec ${drop} env -i PATH="$PATH" ${room} ${environment} strace -f -qq -c -S name -o ${calls} ${exec}`
}

/** The system calls that a unit's SystemCallFilter lets through: lists are added, and taken away by ~. */
function filterOf(unit: string): Set<string> {
  const allowed = new Set<string>()
  for (const line of valuesOf(unit, 'SystemCallFilter')) {
    const takes = line.startsWith('~')
    for (const name of line.replace('~', '').split(' ').flatMap(callsOf)) {
      if (takes) allowed.delete(name)
      else allowed.add(name)
    }
  }
  return allowed
}

function callsOf(name: string): string[] {
  if (!name.startsWith('@')) return [name]
  const lines = analyze('syscall-filter', name).stdout.split('\n').slice(1)
  return lines
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .flatMap(callsOf)
}
