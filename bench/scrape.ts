// What a running server says of itself on /metrics.
import type { RunningServer } from './server.js'

/** Counters and buckets of /metrics by their sample's whole name. */
export type Scrape = ReadonlyMap<string, number>

export async function scrape(server: RunningServer): Promise<Scrape> {
  const text = await (await fetch(`http://127.0.0.1:${server.operationsPort}/metrics`)).text()
  return new Map(
    text.split('\n').flatMap((line): [string, number][] => {
      const space = line.lastIndexOf(' ')
      return line.startsWith('#') || space === -1 ? [] : [[line.slice(0, space), Number(line.slice(space + 1))]]
    }),
  )
}
