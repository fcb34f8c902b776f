// Where an address of the configuration leads, as far as its text says. No name is looked up.
import { isIP } from 'node:net'

/** As part of a URL: host:port, with brackets around an address of IPv6. */
export function authorityOf(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
