// Rests of a thread beside others, on a clock of the test's own.
import t from 'tap'
import { createRests } from '../../src/runtime/rests.js'

void t.test('twelve parts of thirteen are rest, in slices, until it has rested for five seconds', (t) => {
  let atMs = 0
  const rests: number[] = []
  const rest = createRests({
    monoMs: () => atMs,
    keepThread(ms) {
      rests.push(ms)
      atMs += ms
    },
  })
  const work = (ms: number): void => {
    atMs += ms
    rest()
  }
  work(0.125)
  t.same(rests, [], 'no slice is over')
  work(0.125)
  t.same(rests, [3])
  work(2)
  t.same(rests, [3, 24], 'a long piece of work has a long rest')
  work(10_000)
  t.same(rests, [3, 24, 4_973], 'a slow model comes to an end all the same')
  work(10)
  t.equal(rests.length, 3)
  t.end()
})
