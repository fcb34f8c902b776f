// State as a file: numbers, texts and arrays in the order in which one list of calls names them. The same list writes
// and reads, so the two cannot differ. The bytes lie in blocks of a known size, each with its checksum: nothing reaches
// the state that was not verified.
//
//   file   block … block, an empty block at the end
//   block  | length, 4 bytes | CRC-32 of the bytes, 4 bytes | bytes |
//
// In the byte order of the machine that wrote it: whoever reads must know that it is the same (scoring/snapshot.ts).
import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'

export type ImageArray = Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array

/** What state is put into, or taken from. */
export interface Image {
  /** Puts the number and gives it back, or gives the one that was put. */
  number(value: number): Promise<number>
  text(value: string): Promise<string>
  /** Puts what is in the array, or fills the array. */
  array(array: ImageArray): Promise<void>
}

/** A list in an image: `one` puts the item that it is given, or makes it of the image where it is given none. */
export async function listIn<T>(
  image: Image,
  items: readonly T[],
  one: (item: T | undefined) => Promise<T>,
): Promise<T[]> {
  const length = await image.number(items.length)
  const list: T[] = []
  while (list.length < length) list.push(await one(items[list.length]))
  return list
}

const BLOCK_BYTES = 1 << 20
const PREFIX_BYTES = 8
/** A text is made in one piece. */
const TEXT_BYTES_MAX = 1 << 28

export interface ImageWriter extends Image {
  /** Writes what is left and the end; returns the bytes of the whole file. */
  end(): Promise<number>
}

/** `onBlock` is called after each block, with the bytes so far: the place to sync and to rest. */
export function createImageWriter(file: FileHandle, onBlock: (bytes: number) => Promise<void>): ImageWriter {
  const block = Buffer.alloc(PREFIX_BYTES + BLOCK_BYTES)
  let used = 0
  let written = 0

  async function flush(): Promise<void> {
    const bytes = block.subarray(PREFIX_BYTES, PREFIX_BYTES + used)
    block.writeUInt32LE(used, 0)
    block.writeUInt32LE(crc32(bytes), 4)
    for (let at = 0; at < PREFIX_BYTES + used;) {
      const { bytesWritten } = await file.write(block, at, PREFIX_BYTES + used - at, written)
      at += bytesWritten
      written += bytesWritten
    }
    used = 0
    await onBlock(written)
  }

  async function put(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const piece = Math.min(bytes.length - at, BLOCK_BYTES - used)
      block.set(bytes.subarray(at, at + piece), PREFIX_BYTES + used)
      used += piece
      at += piece
      if (used === BLOCK_BYTES) await flush()
    }
  }

  const scratch = new Float64Array(1)
  async function number(value: number): Promise<number> {
    scratch[0] = value
    await put(bytesOf(scratch))
    return value
  }

  return {
    number,
    async text(value) {
      const bytes = Buffer.from(value)
      if (bytes.length > TEXT_BYTES_MAX)
        throw new RangeError(`a text of ${bytes.length} bytes is too long for an image`)
      await number(bytes.length)
      await put(bytes)
      return value
    },
    async array(array) {
      await number(array.byteLength)
      await put(bytesOf(array))
    },
    async end() {
      if (used > 0) await flush()
      await flush()
      return written
    },
  }
}

export interface ImageReader extends Image {
  /** Throws unless everything was taken. */
  end(): Promise<void>
  /** Reads to the end for the checksums alone. */
  skip(): Promise<void>
}

/** Its calls throw an Error that says what is wrong with the file. */
export function createImageReader(file: FileHandle): ImageReader {
  const buffers = [Buffer.alloc(PREFIX_BYTES + BLOCK_BYTES), Buffer.alloc(PREFIX_BYTES + BLOCK_BYTES)]
  let block = buffers[0].subarray(0, 0)
  let used = 0
  /** Where the next block begins. */
  let next = 0
  /** The next block, read while this one is taken; null where it is not a whole one or nothing is known of it. */
  let ahead: Promise<number> | null = null

  /** Reads as much as a whole block has; resolves to the bytes that there are. */
  async function fill(into: Buffer, from: number): Promise<number> {
    let filled = 0
    for (let bytesRead = -1; bytesRead !== 0 && filled < into.length; filled += bytesRead) {
      ;({ bytesRead } = await file.read(into, filled, into.length - filled, from + filled))
    }
    return filled
  }

  async function nextBlock(): Promise<void> {
    const [into, other] = buffers
    const there = await (ahead ?? fill(into, next))
    const length = there < PREFIX_BYTES ? 0 : into.readUInt32LE(0)
    if (length > BLOCK_BYTES) throw new Error(`the block at byte ${next} is longer than a block`)
    if (there < PREFIX_BYTES + length) throw new Error(`it ends at byte ${next + there}, in the middle of a block`)
    block = into.subarray(PREFIX_BYTES, PREFIX_BYTES + length)
    if (crc32(block) !== into.readUInt32LE(4)) throw new Error(`the block at byte ${next} does not have its checksum`)
    used = 0
    next += PREFIX_BYTES + length
    buffers.reverse()
    ahead = length === BLOCK_BYTES ? fill(other, next) : null
    // It is told to whoever asks for that block.
    ahead?.catch(() => undefined)
  }

  async function take(into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length;) {
      if (used === block.length) await nextBlock()
      if (block.length === 0) throw new Error('it holds less than the state has')
      const piece = Math.min(into.length - at, block.length - used)
      into.set(block.subarray(used, used + piece), at)
      used += piece
      at += piece
    }
  }

  const scratch = new Float64Array(1)
  async function number(): Promise<number> {
    await take(bytesOf(scratch))
    return scratch[0]
  }

  return {
    number,
    async text() {
      const length = await number()
      if (!(length >= 0 && length <= TEXT_BYTES_MAX)) throw new Error(`it holds a text of ${length} bytes`)
      const bytes = Buffer.alloc(length)
      await take(bytes)
      return bytes.toString()
    },
    async array(array) {
      const length = await number()
      if (length !== array.byteLength) throw new Error(`it holds ${length} bytes where ${array.byteLength} have room`)
      await take(bytesOf(array))
    },
    async end() {
      if (used === block.length) await nextBlock()
      if (block.length !== 0) throw new Error('it holds more than the state has')
    },
    async skip() {
      do await nextBlock()
      while (block.length > 0)
    },
  }
}

function bytesOf(array: ImageArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}
