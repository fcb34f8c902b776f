// The ring against a model (fast-check) and against a real thread that reads while this one writes.
import { once } from 'node:events'
import { MessageChannel, Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t from 'tap'
import { createRingBuffer, ringFrameBytes, ringReader, ringWriter } from '../../src/runtime/ring.js'
import type { RingReader, RingWriter } from '../../src/runtime/ring.js'

type Step = { readonly write: number } | 'publish' | 'drain' | 'release'

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ write: fc.integer({ min: 0, max: 40 }) }) },
  { weight: 2, arbitrary: fc.constant<Step>('publish') },
  { weight: 2, arbitrary: fc.constant<Step>('drain') },
  { weight: 2, arbitrary: fc.constant<Step>('release') },
)

function put(writer: RingWriter, bytes: number, mark: number): boolean {
  const at = writer.reserve(bytes + 8)
  if (at < 0) return false
  writer.buffer.fill(mark & 0xff, at, at + bytes)
  writer.commit(bytes)
  return true
}

function take(reader: RingReader, into: string[], bytesMax?: number): number {
  return reader.drain((buffer, at, length) => into.push(buffer.toString('hex', at, at + length)), bytesMax)
}

void t.test(
  'any order of writes, publishes, drains and releases gives the frames back whole, once and in order',
  (t) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const sab = createRingBuffer(128)
        const writer = ringWriter(sab, () => undefined)
        const reader = ringReader(sab)
        const written: string[] = []
        const read: string[] = []
        let visible = 0
        for (const s of steps) {
          if (s === 'publish') {
            writer.publish()
            visible = written.length
          } else if (s === 'drain') {
            take(reader, read)
            if (read.length !== visible) return false
          } else if (s === 'release') reader.release()
          else {
            const free = writer.free()
            const taken = put(writer, s.write, written.length)
            // A frame that surely fits is never refused, and one larger than what is free never accepted.
            if (!taken && free >= 2 * ringFrameBytes(s.write + 8)) return false
            if (taken && free < ringFrameBytes(s.write)) return false
            if (taken) written.push(Buffer.alloc(s.write, written.length & 0xff).toString('hex'))
          }
        }
        writer.publish()
        take(reader, read)
        return read.join() === written.join()
      }),
      { numRuns: 500 },
    )
    t.pass('500 random programs')
    t.end()
  },
)

void t.test('a frame drained but not released keeps its room', (t) => {
  const sab = createRingBuffer(64)
  const writer = ringWriter(sab)
  const reader = ringReader(sab)
  t.ok(put(writer, 16, 1))
  t.ok(put(writer, 16, 2))
  writer.publish()
  t.equal(take(reader, []), 2)
  t.notOk(put(writer, 16, 3), 'full until the release')
  reader.release()
  t.ok(put(writer, 16, 3))
  t.end()
})

void t.test('a reader that starts again gets what was not released', (t) => {
  const sab = createRingBuffer(256)
  const writer = ringWriter(sab)
  const first = ringReader(sab)
  put(writer, 8, 1)
  writer.publish()
  take(first, [])
  first.release()
  put(writer, 8, 2)
  put(writer, 8, 3)
  writer.publish()
  take(first, [])
  const seen: string[] = []
  take(ringReader(sab), seen)
  t.same(seen, ['02'.repeat(8), '03'.repeat(8)])
  t.end()
})

void t.test('a drain stops at the bytes it may take, but never takes nothing', (t) => {
  const sab = createRingBuffer(512)
  const writer = ringWriter(sab)
  const reader = ringReader(sab)
  for (let i = 0; i < 4; i++) put(writer, 40, i)
  writer.publish()
  t.equal(take(reader, [], 80), 2)
  t.equal(take(reader, [], 1), 1)
  t.equal(take(reader, []), 1)
  t.equal(take(reader, []), 0)
  t.end()
})

void t.test('positions pass 2^32 bytes without a fault', (t) => {
  const sab = createRingBuffer(128)
  const control = new Int32Array(sab)
  control[0] = -64
  control[16] = -64
  const writer = ringWriter(sab)
  const reader = ringReader(sab)
  for (let i = 0; i < 20; i++) {
    t.ok(put(writer, 24, i))
    writer.publish()
    const seen: string[] = []
    take(reader, seen)
    reader.release()
    t.same(seen, [Buffer.alloc(24, i).toString('hex')])
  }
  t.end()
})

void t.test('a reader with an event loop is woken once per sleep, and not while it is awake', (t) => {
  const sab = createRingBuffer(256)
  let woken = 0
  const writer = ringWriter(sab, () => woken++)
  const reader = ringReader(sab)
  put(writer, 8, 1)
  writer.publish()
  t.equal(woken, 0, 'awake: no wake-up')
  t.notOk(reader.arm(), 'a frame waits: it must not sleep')
  take(reader, [])
  t.ok(reader.arm())
  put(writer, 8, 2)
  t.equal(woken, 0, 'not yet published')
  writer.publish()
  put(writer, 8, 3)
  writer.publish()
  t.equal(woken, 1)
  writer.publish()
  t.equal(woken, 1, 'nothing new to publish')
  take(reader, [])
  t.ok(reader.arm())
  writer.close()
  t.equal(woken, 2, 'the end wakes too')
  t.ok(reader.ended())
  t.notOk(reader.arm(), 'after the end nobody would wake it')
  t.end()
})

void t.test('what cannot fit is a fault of the caller, not a full ring', (t) => {
  const sab = createRingBuffer(100)
  const writer = ringWriter(sab)
  t.equal(writer.capacity, 128)
  t.throws(() => writer.reserve(60), RangeError)
  t.throws(() => writer.commit(1), RangeError, 'nothing is reserved')
  t.ok(writer.reserve(16) >= 0)
  t.throws(() => writer.commit(17), RangeError)
  t.throws(() => createRingBuffer(0), RangeError)
  t.throws(() => ringWriter(new SharedArrayBuffer(1000)), RangeError)
  t.end()
})

const READER = `
const { workerData, parentPort } = require('node:worker_threads')
import(workerData.module).then(({ ringReader }) => {
  const reader = ringReader(workerData.sab)
  let frames = 0, bad = 0, sleeps = 0, hash = 0
  while (!reader.ended()) {
    const n = reader.drain((buffer, at, length) => {
      const i = buffer.readUInt32LE(at)
      if (i !== frames) bad++
      for (let k = 4; k < length; k++) if (buffer[at + k] !== (i & 0xff)) bad++
      hash = (hash * 31 + length) | 0
      frames++
    })
    reader.release()
    if (n === 0) { sleeps++; reader.sleep(10_000) }
  }
  parentPort.postMessage({ frames, bad, sleeps, hash })
})`

void t.test(
  'a real thread reads 200,000 frames through a small ring, whole, in order, with no wake-up lost',
  async (t) => {
    const sab = createRingBuffer(4096)
    const module = new URL('../../src/runtime/ring.js', import.meta.url).href
    const worker = new Worker(READER, { eval: true, workerData: { sab, module } })
    const done = once(worker, 'message')
    const writer = ringWriter(sab)
    let hash = 0
    const started = Date.now()
    for (let i = 0; i < 200_000;) {
      const length = 4 + ((i * 7919) % 97)
      const at = writer.reserve(length)
      if (at < 0) {
        writer.publish()
        // Lets the reader run; with a lost wake-up it would sleep its 10 s here.
        await new Promise((go) => setImmediate(go))
        continue
      }
      writer.buffer.writeUInt32LE(i, at)
      writer.buffer.fill(i & 0xff, at + 4, at + length)
      writer.commit(length)
      hash = (hash * 31 + length) | 0
      i++
      if (i % 3 === 0) writer.publish()
    }
    writer.publish()
    writer.close()
    const [answer] = (await done) as unknown[]
    t.match(answer, { frames: 200_000, bad: 0, hash })
    t.ok(Date.now() - started < 9_000, 'nobody slept through a wake-up')
  },
)

const ECHO = `
const { workerData } = require('node:worker_threads')
import(workerData.module).then(({ ringReader, ringWriter }) => {
  const reader = ringReader(workerData.there)
  const writer = ringWriter(workerData.back, () => workerData.port.postMessage(0))
  while (!reader.ended()) {
    const n = reader.drain((buffer, at, length) => {
      const to = writer.reserve(length)
      buffer.copy(writer.buffer, to, at, at + length)
      writer.commit(length)
    })
    reader.release()
    writer.publish()
    if (n === 0) reader.sleep(10_000)
  }
  workerData.port.close()
})`

void t.test(
  'two rings between an event loop and a thread: 5,000 round trips at rest, each side asleep in between',
  async (t) => {
    const there = createRingBuffer(1024)
    const back = createRingBuffer(1024)
    const { port1, port2 } = new MessageChannel()
    const module = new URL('../../src/runtime/ring.js', import.meta.url).href
    const workerData = { there, back, port: port2, module }
    const worker = new Worker(ECHO, { eval: true, workerData, transferList: [port2] })
    const writer = ringWriter(there)
    const reader = ringReader(back)
    const started = Date.now()
    let sent = 0
    let received = 0
    const send = (): void => {
      const at = writer.reserve(4)
      writer.buffer.writeUInt32LE(sent++, at)
      writer.commit(4)
      writer.publish()
    }
    const onWake = (): void => {
      do {
        reader.drain((buffer, at) => {
          if (buffer.readUInt32LE(at) !== received) throw new Error('out of order')
          received++
          if (sent < 5_000) send()
        })
        reader.release()
      } while (!reader.arm())
      if (received === 5_000) writer.close()
    }
    port1.on('message', onWake)
    onWake()
    send()
    await once(worker, 'exit')
    port1.close()
    t.equal(received, 5_000)
    t.ok(Date.now() - started < 9_000, 'nobody slept through a wake-up')
  },
)
