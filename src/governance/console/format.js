// Numbers, shares, money and times as people read them: units always, thousands separated, three significant digits
// where something was estimated, counts whole.

const LOCALE = 'en-GB'
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 })
const digits3 = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 3 })

export const count = (value) => (value === null || value === undefined ? '–' : whole.format(value))

/** Three significant digits. */
export function number(value) {
  if (value === null || value === undefined) return '–'
  if (value !== 0 && Math.abs(value) < 1e-4)
    return value
      .toExponential(1)
      .replace('e-', ' × 10⁻')
      .replace(/⁻(\d+)$/, superscript)
  return digits3.format(value)
}

function superscript(_, power) {
  return `⁻${[...power].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]).join('')}`
}

/** A probability: as many digits as tell it from 0 and 1. */
export function score(value) {
  if (value === null || value === undefined) return '–'
  if (value > 0.995 && value < 1) return value.toFixed(Math.min(7, Math.ceil(-Math.log10(1 - value)) + 1))
  return number(value)
}

export function share(value) {
  if (value === null || value === undefined) return '–'
  if (value > 0.99 && value < 1) return `${(Math.floor(value * 10_000) / 100).toFixed(2)} %`
  return `${digits3.format(value * 100)} %`
}

/** `0.42 % (0.39–0.45)` */
export function interval({ value, low, high }) {
  if (value === null) return '–'
  return low === null || high === null ? share(value) : `${share(value)} (${bare(low)}–${bare(high)})`
}

const bare = (value) => digits3.format(value * 100)

export function ms(value) {
  if (value === null || value === undefined) return '–'
  return value >= 10_000 ? `${digits3.format(value / 1000)} s` : `${digits3.format(value)} ms`
}

export function seconds(value) {
  if (value < 60) return `${digits3.format(value)} s`
  if (value < 7200) return `${whole.format(value / 60)} min`
  return value < 172_800 ? `${digits3.format(value / 3600)} h` : `${digits3.format(value / 86_400)} days`
}

export function bytes(value) {
  if (value === null || value === undefined) return '–'
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, value)) / 10))
  return `${digits3.format(value / 1024 ** power)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`
}

export function money(minor, currency, exponent = 2) {
  if (minor === null || minor === undefined) return '–'
  const shown = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: exponent, maximumFractionDigits: exponent })
  return `${shown.format(minor / 10 ** exponent)} ${currency ?? ''}`.trim()
}

/** Whole units, for sums. */
export const sum = (minor, currency, exponent = 2) => `${count(minor / 10 ** exponent)} ${currency ?? ''}`.trim()

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`

export const zone = {
  utc: localStorage.getItem('assay-zone') !== 'local',
  name() {
    return this.utc ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone
  },
  toggle() {
    this.utc = !this.utc
    localStorage.setItem('assay-zone', this.utc ? 'utc' : 'local')
  },
}

function shown(iso, options) {
  const date = new Date(iso)
  const zoned = zone.utc ? { timeZone: 'UTC' } : {}
  return new Intl.DateTimeFormat(LOCALE, { hourCycle: 'h23', ...options, ...zoned }).format(date)
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit' }

/** The time of day where it is of today, else with its day. */
export function time(iso) {
  if (!iso) return '–'
  const day = { year: 'numeric', month: '2-digit', day: '2-digit' }
  const today = shown(iso, day) === shown(Date.now(), day)
  return today ? shown(iso, CLOCK) : shown(iso, { day: '2-digit', month: 'short', ...CLOCK })
}

/** Everything, with milliseconds and zone. */
export function fullTime(iso) {
  if (!iso) return '–'
  const options = { year: 'numeric', month: 'short', day: '2-digit', ...CLOCK, fractionalSecondDigits: 3 }
  return `${shown(iso, options)} ${zone.name()}`
}

export const minute = (iso) => shown(iso, { hour: '2-digit', minute: '2-digit' })
