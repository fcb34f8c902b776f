// Where an address of the configuration leads, as far as its text says. No name is looked up.
import { isIP } from 'node:net'

/** As part of a URL: host:port, with brackets around an address of IPv6. */
export function authorityOf(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
}

/** Scheme, host and port of a listener. */
export function originOf({ host, tls }: { readonly host: string; readonly tls: object | null }, port: number): string {
  return `${tls === null ? 'http' : 'https'}://${authorityOf(host, port)}`
}

/** Of host or host:port, without the brackets of IPv6. */
export function hostOf(authority: string): string {
  const inBrackets = /^\[([^\]]*)\]/.exec(authority)?.[1]
  return inBrackets ?? authority.replace(/:[^:]*$/, '')
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** An address as sockets give it, in its usual form: IPv4 where IPv6 only carries it, and no name of an interface. */
export function plainAddress(text: string): string {
  const address = text.replace(/%.*$/, '')
  if (isIP(address) !== 6) return isIP(address) === 4 ? address : 'unknown'
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const carried = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(plain)
  if (carried === null) return plain
  const [high, low] = [parseInt(carried[1], 16), parseInt(carried[2], 16)]
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/**
 * Whether a Host header names the listener itself: without tokens a page of another name must not reach it through a
 * browser (DNS rebinding).
 */
export function isOwnHost(header: string, host: string): boolean {
  const name = header.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  return name === host || name === 'localhost' || isIP(name) !== 0
}
