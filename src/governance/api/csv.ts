// Tables as CSV (RFC 4180). Pure. Invariant: a cell never runs as a formula in a spreadsheet: a text that starts like
// one gets an apostrophe in front.

type Cell = string | number | boolean | null

const FORMULA = /^[=+\-@\t\r]/

/** Rows with a header line; nested values are flattened with dots, lists become their JSON. */
export function toCsv(rows: readonly object[]): string {
  const flat = rows.map((row) => flatten(row, ''))
  const names = [...new Set(flat.flatMap((row) => [...row.keys()]))]
  const lines = flat.map((row) => names.map((name) => cell(row.get(name) ?? null)).join(','))
  return [names.map(cell).join(','), ...lines, ''].join('\r\n')
}

function flatten(value: object, prefix: string): Map<string, Cell> {
  const found = new Map<string, Cell>()
  for (const [key, member] of Object.entries(value)) {
    const name = prefix === '' ? key : `${prefix}.${key}`
    const held: unknown = member
    if (Array.isArray(held)) found.set(name, held.every(isPlain) ? held.join(' ') : JSON.stringify(held))
    else if (typeof held === 'object' && held !== null) for (const [n, c] of flatten(held, name)) found.set(n, c)
    else found.set(name, isPlain(held) ? held : null)
  }
  return found
}

function isPlain(value: unknown): value is Cell {
  return value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

function cell(value: Cell): string {
  if (value === null) return ''
  if (typeof value !== 'string') return String(value)
  const safe = FORMULA.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
