// What a script replies, taken as what it must be: anything else is a fault of ours.
import type { Reply } from './connection.js'

export function listOf(reply: Reply | undefined): readonly Reply[] {
  if (!isList(reply)) throw new TypeError('a reply is no list')
  return reply
}

export function bytesOf(reply: Reply | undefined): Buffer {
  if (!Buffer.isBuffer(reply)) throw new TypeError('a reply is no text')
  return reply
}

function isList(reply: Reply | undefined): reply is readonly Reply[] {
  return Array.isArray(reply)
}
