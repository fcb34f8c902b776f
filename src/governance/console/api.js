// Questions to the listener that served this page, and its stream. A token, where one is asked for, stays in this tab.

const TOKEN = 'assay-token'

function headers() {
  const token = sessionStorage.getItem(TOKEN)
  return token ? { authorization: `Bearer ${token}` } : {}
}

export const setToken = (token) => sessionStorage.setItem(TOKEN, token)

/** A coded answer other than 200. */
export class Refusal extends Error {
  constructor(problem, status) {
    super(problem.detail ?? `HTTP ${status}`)
    this.status = status
    this.code = problem.code ?? ''
    this.errors = problem.errors ?? []
  }
}

/** JSON of an address under /api/v1; parameters that are empty are left out. */
export async function ask(path, params = {}, signal = undefined) {
  const response = await fetch(address(path, params), { headers: headers(), signal })
  if (response.ok) return response.json()
  throw new Refusal(await response.json().catch(() => ({})), response.status)
}

export function address(path, params = {}) {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(params)) if (value !== '' && value != null) query.set(name, value)
  return `/api/v1/${path}${query.size > 0 ? `?${query}` : ''}`
}

/** Saves a table as CSV. Through fetch, since a link could not carry the token. */
export async function saveCsv(path, params) {
  const response = await fetch(address(path, { ...params, format: 'csv' }), { headers: headers() })
  if (!response.ok) throw new Refusal(await response.json().catch(() => ({})), response.status)
  const link = document.createElement('a')
  link.href = URL.createObjectURL(await response.blob())
  link.download = /filename="([^"]+)"/.exec(response.headers.get('content-disposition') ?? '')?.[1] ?? 'assay.csv'
  link.click()
  URL.revokeObjectURL(link.href)
}

const BACK_MS = 2_000

/**
 * The stream by fetch, which can carry a token where EventSource cannot. Goes on after the last event it saw, for ever;
 * says 'live' and 'lost'. Returns what ends it.
 */
export function follow(kinds, { onEvent, onState }) {
  const ended = new AbortController()
  let last = ''
  const run = async () => {
    while (!ended.signal.aborted) {
      try {
        const resume = last === '' ? {} : { 'last-event-id': last }
        const path = address('stream', { events: kinds.join(',') })
        const response = await fetch(path, { headers: { ...headers(), ...resume }, signal: ended.signal })
        if (!response.ok) {
          const problem = await response.json().catch(() => ({}))
          // A place that this store does not know any more: begin at now instead of for ever asking for it.
          if (response.status === 400) last = ''
          throw new Refusal(problem, response.status)
        }
        onState('live')
        await read(response.body, (event) => {
          if (event.id) last = event.id
          onEvent(event)
        })
      } catch (error) {
        if (ended.signal.aborted) return
        onState('lost', error)
      }
      await new Promise((resolve) => setTimeout(resolve, BACK_MS))
    }
  }
  void run()
  return () => ended.abort()
}

/** Frames of text/event-stream. */
async function read(body, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) throw new Error('the stream ended')
    const frames = (rest + value).split('\n\n')
    rest = frames.pop()
    for (const frame of frames) {
      const event = { kind: '', id: '', data: null }
      for (const line of frame.split('\n')) {
        if (line.startsWith('event: ')) event.kind = line.slice(7)
        else if (line.startsWith('id: ')) event.id = line.slice(4)
        else if (line.startsWith('data: ')) event.data = JSON.parse(line.slice(6))
      }
      if (event.kind !== '') onEvent(event)
    }
  }
}
