// The search for card data: the short form of the proof over generated ids and planted numbers, and single cases.
import t from 'tap'
import { countIds, countPlants, ID_KINDS } from '../../bench/card-data.js'
import { holdsCardData, isCardDataName, keepTraceparent } from '../../src/contract/card-data.js'

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
t.comment(`FUZZ_SEED=${SEED}`)

void t.test('generated ids are not taken for card numbers, declared ones never', (t) => {
  for (const kind of Object.keys(ID_KINDS)) {
    const { refused, refusedDeclared } = countIds(kind, 20_000, SEED)
    t.same([refused <= 1, refusedDeclared], [true, 0], `${kind}: ${refused} of 20,000`)
  }
  t.end()
})

void t.test('planted numbers of every scheme are found in every separation and place', (t) => {
  for (const { scheme, planted, found } of countPlants(2, SEED)) t.equal(found, planted, scheme)
  t.end()
})

void t.test('a token is a card number only as a whole, with a valid check digit, prefix and length', (t) => {
  const found = [
    '4111111111111111',
    '378282246310005',
    '6304 0000 0000 0000',
    '4111-1111 1111-1111',
    '4111 1111 1111 1111 2nd',
  ]
  for (const text of found) t.ok(holdsCardData(text), text)
  const clear = [
    '4111111111111112', // check digit
    '41111111111111111111', // twenty digits
    'a4111111111111111', // a letter beside it
    '4111111111111111b',
    'ü4111111111111111',
    '4111  1111  1111  1111', // two separators
    '0000000000000000', // nobody's prefix
    '41111111-1111-4111-8111-111111111111', // a UUID by shape
    'DE89 3704 0044 0532 0130 00', // an IBAN: letters beside its first group
    '12',
    '',
  ]
  for (const text of clear) t.notOk(holdsCardData(text), text)
  t.end()
})

void t.test('track data is found by its shape, and text that only resembles it is not', (t) => {
  t.ok(holdsCardData('%B4000000000000000^DOE/JANE^2712101000000000?'))
  t.ok(holdsCardData(';4000000000000000=27121010000000000000?'))
  t.notOk(holdsCardData('%B40000^DOE'))
  t.notOk(holdsCardData('limit=4000; count=20261122100000'))
  t.end()
})

void t.test('names that say CVV, PIN or track data are known in any spelling, others pass', (t) => {
  for (const name of [
    'cvv',
    'CVV2',
    'card_cvc',
    'cardCvv',
    'pin',
    'pin_block',
    'PIN-Block',
    'track2',
    'track_1_data',
    'magstripe',
  ]) {
    t.ok(isCardDataName(name), name)
  }
  for (const name of [
    'customer_id',
    'pinned',
    'tracking',
    'cvv_result',
    'shipping',
    'card_token',
    'pincode_area',
    '',
  ]) {
    t.notOk(isCardDataName(name), name)
  }
  t.end()
})

void t.test('a traceparent is kept if it is one and holds no card number', (t) => {
  const fine = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  t.equal(keepTraceparent(fine), fine)
  for (const bad of [
    '',
    fine.toUpperCase(),
    `${fine}-x`,
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    fine.replace('00f067aa0ba902b7', '4111111111111111'),
  ]) {
    t.equal(keepTraceparent(bad), null, bad)
  }
  t.end()
})
