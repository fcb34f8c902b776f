// The console in a real Chromium over a real sidecar: every view loads, live data arrives, filters work, nothing is
// fetched from elsewhere, nothing overflows. Skipped, loudly, where there is no Chromium; under CI that fails.
import { createHash } from 'node:crypto'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import t from 'tap'
import { ROOT } from '../../bench/server.js'
import { LIMITS } from '../../src/limits.js'
import { chromiumOnPath } from './chromium.js'
import { type GovernanceRig, startGovernance, until } from './rig.js'

const VIEWS = ['now', 'drift', 'shadow', 'decisions', 'routes', 'audit', 'health']
const BYTES_MAX = 200 << 10
/** What a page may take on a machine where others run too. */
const WAIT_MS = 60_000

const executablePath = chromiumOnPath()

let rig: GovernanceRig
let browser: Browser
/** Console errors, failed requests and requests to elsewhere, of all pages. */
const faults: string[] = []

if (executablePath === null && process.env.CI === 'true') t.fail('there is no chromium on the PATH')
else if (executablePath === null)
  void t.test('the console', { skip: 'there is no chromium on the PATH' }, () => undefined)
else {
  t.before(async () => {
    rig = await startGovernance({ limits: { ...LIMITS, driftWindowRows: 200, driftRowsMin: 100 } })
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
    await rig.traffic('--rate', '60', '--for', '25s', '--bad-challenger', '--drift', 'amount:3')
    await rig.compared()
  })
  t.teardown(async () => {
    await browser.close()
    await rig.remove()
  })

  void t.test('each view loads at 1280 and 390 pixels, in light and dark, without error or overflow', async (t) => {
    for (const [width, colorScheme] of [
      [1280, 'light'],
      [390, 'dark'],
    ] as const) {
      const page = await open({ width, colorScheme })
      for (const view of VIEWS) {
        await show(page, `#/${view}`)
        t.same(await overflowing(page), [], `${view} at ${width} px`)
        t.equal(await page.locator('h1').count(), 1, `${view} has one answer`)
        t.not(await page.locator('h1').innerText(), '')
      }
      await page.close()
    }
    t.same(faults, [])
  })

  void t.test('what happens appears by itself, and stops while paused', async (t) => {
    const page = await open({ width: 1280 })
    await show(page, '#/decisions')
    const first = (): Promise<string> => page.locator('tbody tr a').first().innerText()
    const before = await first()
    await holds(page, "document.getElementById('state').textContent.includes('Live')")
    await rig.traffic('--rate', '20', '--for', '2s')
    await until(async () => (await first()) !== before, 'a new decision stands first', WAIT_MS)
    await page.keyboard.press('p')
    t.match(await page.locator('#state').innerText(), /Paused/)
    await rig.caughtUp()
    const paused = await first()
    await rig.traffic('--rate', '20', '--for', '1s')
    await rig.caughtUp()
    t.equal(await first(), paused, 'paused, nothing moves')
    await page.keyboard.press('p')
    await until(async () => (await first()) !== paused, 'resumed, it goes on', WAIT_MS)
    await page.close()
    t.same(faults, [])
  })

  void t.test('filters narrow the table, stand in the address, and a bad one is told', async (t) => {
    const page = await open({ width: 1280 })
    await show(page, '#/decisions')
    const counted = async (of: string): Promise<number> =>
      Number((await rig.ask(`decisions?action=${of}&limit=50`)).decisions.length)
    // Not every quarter of a minute has a payment that is declined.
    const action = (await counted('decline')) > 0 ? 'decline' : 'review'
    const count = await counted(action)
    t.ok(count > 0)
    await page.selectOption('select[name=action]', action)
    await holds(page, `location.hash.includes('action=${action}')`)
    // The table before may have as many rows.
    const areAlone = async (): Promise<boolean> => {
      const shown = await page.locator('tbody .tag').allInnerTexts()
      return shown.length >= count && shown.every((text) => text.includes(action))
    }
    await until(areAlone, `${action} alone`, WAIT_MS)
    const other = await open({ width: 1280 })
    await show(other, await page.evaluate<string>('location.hash'))
    t.equal(await other.locator('select[name=action]').inputValue(), action, 'the address shows a colleague the same')
    await other.close()
    await page.fill('input[name=score_min]', '7')
    await page.click('button.main')
    await page.waitForSelector('[role=alert]', { timeout: WAIT_MS })
    t.match(await page.locator('[role=alert]').innerText(), /score_min.*from 0 to 1/)
    await page.close()
    t.same([...new Set(faults.splice(0))], ['400 decisions'], 'the refusal, as often as it is asked, and nothing else')
  })

  void t.test(
    'a decision is found by key, and its page says what came in, who answered and how long it took',
    async (t) => {
      const page = await open({ width: 1280 })
      await show(page, '#/now')
      const [row] = (await rig.ask('decisions?limit=1')).decisions
      await page.keyboard.press('/')
      await page.keyboard.type(row.transaction_id)
      await page.keyboard.press('Enter')
      await holds(page, "document.title.startsWith('Decision ·')")
      await page.waitForSelector(`text=${row.decision_id}`, { timeout: WAIT_MS })
      const text = await page.locator('main').innerText()
      for (const part of ['What came in', 'What the model saw', 'Who answered', 'How long', 'customer_mean_amount_7d'])
        t.ok(text.includes(part), part)
      t.match(text, /m_[0-9a-f]{12}.*masked/)
      t.same(await overflowing(page), [])
      await show(page, '#/decisions/nobody')
      t.match(await page.locator('h1').innerText(), /No decision or transaction “nobody”/)
      await page.close()
      t.same(faults.splice(0), ['404 decisions/nobody'])
    },
  )

  void t.test('a cell of the drift strip opens its bins, by mouse and by keyboard', async (t) => {
    const page = await open({ width: 1280 })
    await show(page, '#/drift')
    const cells = page.locator('.strip .cell')
    t.ok((await cells.count()) > 17, 'a row a feature, a cell a window')
    t.equal(await page.locator('.strip .cell[tabindex="0"]').count(), 1, 'one of them is in the tab order')
    await cells.first().click()
    await page.waitForSelector('#detail svg', { timeout: WAIT_MS })
    t.match(page.url(), /feature=.*window=\d+/)
    t.match(await page.locator('#detail').innerText(), /n = .*\n.*PSI/s)
    await page.locator('.strip .cell[aria-pressed=true]').focus()
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    const second = await page.locator('.strip tr').nth(1).locator('th').innerText()
    await holds(page, `location.hash.includes('feature=${second}')`)
    t.same(await overflowing(page), [])
    await show(page, '#/shadow')
    t.ok((await page.locator('.density rect').count()) > 20, 'the density has cells')
    t.match(await page.locator('h1').innerText(), /would flip .* % \(.*–.*\) of decisions/)
    await page.close()
    t.same(faults, [])
  })

  void t.test('what an operator holds stands first, and in the audit with its model', async (t) => {
    const { operationsPort } = rig.server
    const [model, reason] = ['fraud-xgb@1', 'a wave of card testing']
    for (const body of [{ model, reason }, { reason }]) {
      const headers = { 'content-type': 'application/json' }
      const url = `http://127.0.0.1:${operationsPort}/v1/routes:force`
      const { status } = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
      t.equal(status, 200)
    }
    await rig.caughtUp()
    const page = await open({ width: 1280 })
    await show(page, '#/routes')
    await holds(page, "document.querySelector('h1').innerText.includes('the baseline answers everything')")
    t.ok(await page.locator('h1.bad').isVisible())
    await show(page, '#/audit')
    const rows = await page.locator('tbody tr').allInnerTexts()
    t.match(rows[0], /force\s.*card testing/s)
    t.match(rows[1], /force fraud-xgb@1\s/)
    const summary = (await rig.ask('summary')) as { forced: object; ramp: null }
    t.match(summary, { forced: { baseline: true, open: [model] }, ramp: null })
    await page.close()
  })

  void t.test('a lost stream says so, and goes on when the sidecar is back', async () => {
    const page = await open({ width: 1280 })
    await show(page, '#/now')
    const state = (text: string) => holds(page, `document.getElementById('state').textContent.includes('${text}')`)
    await state('Live')
    await rig.stop()
    await state('Stream lost')
    await rig.restart()
    await state('Live')
    await page.close()
    // The browser logs the refused connections of the break, if it tried in it: expected here and nowhere else.
    faults.splice(0)
  })

  void t.test('with tokens the page asks for one, and shows nothing without', async (t) => {
    const file = join(rig.dataDir, 'tokens.json')
    const sha256 = createHash('sha256').update('eye').digest('hex')
    writeFileSync(file, JSON.stringify({ keys: [{ name: 'wall', sha256, role: 'viewer' }] }))
    await rig.stop()
    rig.config.process.governance.tokens_file = file
    await rig.restart()
    await until(() => rig.sidecar().facts().ready, 'the store is open')
    const page = await open({ width: 390 })
    const asked: string[] = []
    page.on('request', (request) => asked.push(request.url()))
    await page.goto(`${rig.url}/#/now`)
    await page.waitForSelector('dialog[open] input[name=token]', { timeout: WAIT_MS })
    t.equal(await page.locator('.figures').count(), 0)
    await page.fill('dialog input[name=token]', 'eye')
    await page.keyboard.press('Enter')
    await page.waitForSelector('.figures', { timeout: WAIT_MS })
    t.same(await overflowing(page), [])
    t.notMatch([page.url(), ...asked].join(' '), /eye/, 'the token is in no address')
    t.notMatch(await page.evaluate('JSON.stringify({ ...localStorage }) + document.cookie'), /eye/, 'nor kept beyond')
    await page.close()
    faults.splice(0)
  })

  void t.test('the page with its charts stays under 200 KB, and nothing of it names another host', (t) => {
    const folder = join(ROOT, 'src/governance/console')
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
      /\.(js|css|html|svg)$/.test(name),
    )
    const own = names.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
    const charts = statSync(join(ROOT, 'node_modules/uplot/dist/uPlot.iife.min.js')).size
    t.ok(own + charts < BYTES_MAX, `${own + charts} bytes`)
    t.end()
  })
}

/** A page that reports errors of the console, failed requests and requests to anywhere else. */
async function open(options: { width: number; colorScheme?: 'light' | 'dark' }): Promise<Page> {
  const { width, colorScheme = 'light' } = options
  const page = await browser.newPage({ viewport: { width, height: 860 }, colorScheme })
  page.setDefaultTimeout(WAIT_MS)
  page.on('pageerror', (error) => faults.push(error.message))
  page.on('console', (message) => {
    // A refusal is an answer; the browser reports its status as an error of its own, counted below.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) faults.push(message.text())
  })
  page.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(rig.url) && !/^(data|blob):/.test(url)) faults.push(`elsewhere: ${url}`)
  })
  page.on('response', (response) => {
    if (response.status() >= 400) faults.push(`${response.status()} ${new URL(response.url()).pathname.slice(8)}`)
  })
  page.on('requestfailed', (request) => {
    const text = request.failure()?.errorText ?? ''
    // Pages that close, and views that are left, let go of what they asked for.
    if (text !== 'net::ERR_ABORTED') faults.push(`${text} ${new URL(request.url()).pathname}`)
  })
  return page
}

/** Goes to a view and waits until it is drawn. */
async function show(page: Page, hash: string): Promise<void> {
  // The view before is there until the page has noticed.
  await page.evaluate("document.querySelector('#view h1')?.setAttribute('data-before', '')")
  await page.goto(rig.url + hash.replace(/^#/, '/#'))
  const isShown = "document.querySelector('#view h1:not([data-before])') && document.querySelector('#view').ariaBusy"
  await holds(page, `(${isShown}) === 'false'`)
}

/** Waits for an expression in the page; as text, since these sources know no browser. */
function holds(page: Page, expression: string): Promise<void> {
  return until(async () => Boolean(await page.evaluate(expression)), expression, WAIT_MS)
}

/** What is wider than the page, outside regions that scroll by themselves. */
function overflowing(page: Page): Promise<string[]> {
  return page.evaluate(`(() => {
    const width = document.documentElement.scrollWidth
    const beyond = [...document.querySelectorAll('body *')].filter(
      (each) => each.getBoundingClientRect().right > innerWidth + 1 && each.closest('.scroll, nav, pre') === null,
    )
    const page = width > innerWidth ? ['the page is ' + width + ' px wide'] : []
    return [...page, ...beyond.map((each) => each.outerHTML.slice(0, 80))]
  })()`)
}
