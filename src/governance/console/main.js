// The frame: address → view, live renewal, keys, pause, zone, theme. A view is {name, title, load(params), draw(data)}:
// `load` asks the API, `draw` describes the page. The address holds the whole state of a view.
import { ask, follow, Refusal, setToken } from './api.js'
import { h, listen, renew } from './dom.js'
import { seconds, zone } from './format.js'
import { button } from './parts.js'
import { audit } from './views/audit.js'
import { decision } from './views/decision.js'
import { decisions } from './views/decisions.js'
import { drift } from './views/drift.js'
import { health } from './views/health.js'
import { now } from './views/now.js'
import { routes } from './views/routes.js'
import { shadow } from './views/shadow.js'

const VIEWS = [now, drift, shadow, decisions, routes, audit, health]
const KINDS = ['drift', 'shadow', 'alert', 'control']
/** Renewals are at least so far apart, however fast data comes, and at most so far while it does. */
const RENEW_MS = 2_000
const LOST = 'Stream lost'

const $ = (id) => document.getElementById(id)
const main = $('view')
const page = { data: null, error: null, paused: false, stream: 'starting', lag: null, asked: 0 }
let loading = null
let due = null

function place() {
  const [path, query] = location.hash.replace(/^#\//, '').split('?')
  const [name, ...rest] = path.split('/')
  const params = Object.fromEntries(new URLSearchParams(query ?? ''))
  if (name === 'decisions' && rest.length > 0) return { view: decision, id: decodeURIComponent(rest.join('/')), params }
  return { view: VIEWS.find((view) => view.name === name) ?? now, id: null, params }
}

/** Changes parameters of the address; the view follows. */
export function go(changes) {
  const [path, query] = location.hash.replace(/^#\//, '').split('?')
  const params = new URLSearchParams(query ?? '')
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') params.delete(name)
    else params.set(name, value)
  }
  location.hash = `#/${path || 'now'}${params.size > 0 ? `?${params}` : ''}`
}

async function load() {
  const { view, id, params } = place()
  const { hash } = location
  loading?.abort()
  const mine = new AbortController()
  loading = mine
  page.asked = performance.now()
  try {
    const data = await view.load({ ask: (path, query) => ask(path, query, mine.signal), id, params })
    if (mine.signal.aborted) return
    Object.assign(page, { data: { view, id, hash, data }, error: null })
  } catch (error) {
    if (mine.signal.aborted) return
    page.error = error
    if (error.status === 401) askToken()
  }
  loading = null
  draw()
}

function draw() {
  const { view, id, params } = place()
  document.title = `${view.title} · Assay`
  renew($('nav'), ...VIEWS.map((each) => navLink(each, view)))
  renew($('controls'), ...controls())
  // Of another decision nothing is shown; of the same view with other filters the old rows stay until the new come.
  const shown = page.data?.view === view && page.data.id === id ? page.data : null
  const error = page.error === null ? null : problem(page.error, shown !== null)
  const body = shown === null ? null : view.draw(shown.data, { params, id, go, renew: draw })
  if (shown !== null || error !== null) renew(main, error, body)
  else renew(main)
  main.setAttribute('aria-busy', String(shown?.hash !== location.hash && error === null))
  sayState()
}

function navLink(each, view) {
  const current = each === view || (view === decision && each === decisions)
  return h('a', { href: `#/${each.name}`, 'aria-current': current ? 'page' : null }, each.title)
}

function controls() {
  return [
    button(page.paused ? '▶ Resume' : '❚❚ Pause', togglePause, { 'aria-pressed': String(page.paused), id: 'pause' }),
    button(zone.name(), toggleZone, { title: 'Times in UTC or local', 'aria-label': `Times are in ${zone.name()}` }),
    button({ auto: '◐ Auto', light: '☀ Light', dark: '☾ Dark' }[theme()], nextTheme, { title: 'Colours' }),
    button('?', showKeys, { 'aria-label': 'Keys' }),
  ]
}

function problem(error, held) {
  const { code, errors = [] } = error instanceof Refusal ? error : { code: '' }
  return h(
    'div',
    { class: 'problem', role: 'alert' },
    h('strong', {}, held ? 'What follows is not new: ' : 'No answer: '),
    `${error.message} ${code}`,
    ...errors.map((fault) => h('div', {}, `${fault.path}: ${fault.message}`)),
  )
}

/** One line that says at once whether what is shown is what happens. */
function sayState() {
  const lag = page.lag === null ? '' : `, ${seconds(page.lag.seconds)} behind the log`
  const parts = {
    starting: ['○', 'Connecting'],
    live: ['●', `Live${lag}`],
    lost: ['▲', `${LOST}: trying again; it goes on without a gap`],
  }
  const [glyph, words] = page.paused ? ['❚❚', 'Paused; nothing is lost'] : parts[page.stream]
  const state = $('state')
  const text = `${glyph} ${words}`
  // Told to screen readers when it changes in kind, not with each figure.
  const kind = page.paused ? 'paused' : page.stream
  state.setAttribute('aria-live', state.dataset.kind === kind ? 'off' : 'polite')
  state.dataset.kind = kind
  if (state.textContent !== text) state.textContent = text
}

/** Data came: renew soon, not more often than RENEW_MS. What was refused is not asked again until it is changed. */
function renewSoon() {
  if (page.paused || due !== null || document.hidden || page.error?.status === 400) return
  const wait = Math.max(0, page.asked + RENEW_MS - performance.now())
  due = setTimeout(() => {
    due = null
    if (!page.paused && loading === null) void load()
  }, wait)
}

function togglePause() {
  page.paused = !page.paused
  if (!page.paused) void load()
  draw()
}

function toggleZone() {
  zone.toggle()
  draw()
}

const theme = () => localStorage.getItem('assay-theme') ?? 'auto'

function nextTheme() {
  const next = { auto: 'light', light: 'dark', dark: 'auto' }[theme()]
  localStorage.setItem('assay-theme', next)
  applyTheme()
  draw()
}

function applyTheme() {
  if (theme() === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme()
}

const KEYS = [
  ['/', 'search a decision or transaction id'],
  ['1 – 7', 'the views, in order'],
  ['p', 'pause and resume'],
  ['u', 'times in UTC or local'],
  ['t', 'light, dark or as the system'],
  ['arrows', 'move over the cells of the drift strip; Enter opens one'],
  ['?', 'this list'],
  ['Esc', 'close it'],
]

function showKeys() {
  const rows = KEYS.map(([key, does]) => h('div', {}, h('dt', {}, h('kbd', {}, key)), h('dd', {}, does)))
  show('Keys', h('dl', { class: 'facts' }, ...rows))
}

function show(title, ...content) {
  const dialog = $('dialog')
  dialog.setAttribute('aria-label', title)
  renew(
    dialog,
    h('h2', {}, title),
    ...content,
    button('Close', () => dialog.close()),
  )
  if (!dialog.open) dialog.showModal()
}

function askToken() {
  const enter = (event) => {
    event.preventDefault()
    setToken(new FormData(event.target).get('token').trim())
    $('dialog').close()
    begin()
  }
  const field = h('input', {
    name: 'token',
    type: 'password',
    autocomplete: 'off',
    'aria-label': 'Token',
    autofocus: true,
  })
  const why =
    'This listener asks for a token of its tokens file, role viewer, approver or operator. It is kept in this tab alone.'
  const form = h('form', { on: { submit: enter } }, h('p', {}, why), field, h('button', {}, 'Use it'))
  if (!$('dialog').open) show('A token is needed', form)
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea, dialog')) return
  const view = VIEWS[Number(event.key) - 1]
  const acts = {
    '/': () => $('id').focus(),
    '?': showKeys,
    p: togglePause,
    u: toggleZone,
    t: nextTheme,
  }
  const act = view === undefined ? acts[event.key] : () => (location.hash = `#/${view.name}`)
  if (act === undefined) return
  event.preventDefault()
  act()
}

let stop = () => undefined

function begin() {
  stop()
  stop = follow(KINDS, {
    onEvent({ data }) {
      if (data?.lag) page.lag = data.lag
      sayState()
      renewSoon()
    },
    onState(state, error) {
      page.stream = state
      if (error?.status === 401) {
        stop()
        askToken()
      }
      if (state === 'live') renewSoon()
      sayState()
    },
  })
  void load()
}

function onPlace() {
  const { view } = place()
  page.error = null
  if (page.data?.view !== view) {
    scrollTo(0, 0)
    main.focus({ preventScroll: true })
  }
  draw()
  void load()
}

for (const root of [main, $('nav'), $('controls'), $('dialog')]) listen(root)
addEventListener('hashchange', onPlace)
addEventListener('keydown', onKey)
addEventListener('resize', () => draw())
// A page that looks at a quiet system still says how old its figures are.
setInterval(() => page.stream === 'live' && renewSoon(), 10_000)
document.addEventListener('visibilitychange', renewSoon)
$('search').addEventListener('submit', (event) => {
  event.preventDefault()
  const id = $('id').value.trim()
  if (id !== '') location.hash = `#/decisions/${encodeURIComponent(id)}`
})
applyTheme()
draw()
begin()
