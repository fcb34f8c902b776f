// What labels say of a transaction, as one small number, and which of those an aggregate wants. A label comes after its
// transaction: an event that was none of an aggregate's becomes one, and may cease to be one again.
//
//   marks = fraud (0, 1) + 2 × the issuer's answer (0 none yet, 1 approved, 2 declined)
import type { FeatureSpec } from '../contract/catalogue.js'
import type { Label } from '../contract/label.js'

type Test = NonNullable<Extract<FeatureSpec, { kind: 'aggregate' }>['where']>[number]
export type LabelTest = Extract<Test, { label: string }>
export type FieldTest = Exclude<Test, LabelTest>

/** A set of marks: the bit 2^marks is in it. */
export type MarkSet = number

export const ANY_MARKS: MarkSet = 0b111111
const FRAUD: MarkSet = 0b101010
const UNANSWERED: MarkSet = 0b000011
const APPROVED: MarkSet = 0b001100
const DECLINED: MarkSet = 0b110000

export function isLabelTest(test: Test): test is LabelTest {
  return 'label' in test
}

/** The marks that pass all tests; none where they contradict each other. */
export function markSet(tests: readonly LabelTest[]): MarkSet {
  return tests.reduce((set, test) => set & setOf(test), ANY_MARKS)
}

function setOf(test: LabelTest): MarkSet {
  if (test.label === 'fraud') return test.is === 'reported' ? FRAUD : ANY_MARKS & ~FRAUD
  return test.is === 'approved' ? APPROVED : test.is === 'declined' ? DECLINED : UNANSWERED
}

/** Those of the set that are fraud. */
export function fraudOf(set: MarkSet): MarkSet {
  return set & FRAUD
}

/** Whether a word of that kind can move a transaction into the set or out of it. */
export function dependsOn(set: MarkSet, kind: Label['kind']): boolean {
  if (kind === 'fraud') return (set & FRAUD) !== (set & ~FRAUD) << 1
  const [none, approved, declined] = [set & 0b11, (set >> 2) & 0b11, (set >> 4) & 0b11]
  return none !== approved || none !== declined
}

/** 1 where the marks are in the set, else 0. */
export function isMarked(set: MarkSet, marks: number): number {
  return (set >>> marks) & 1
}

/** Marks of what the two kinds of words say: fraud as 0 or 1, the answer as 0, 1 or 2. */
export function marksOf(fraud: number, answer: number): number {
  return fraud + 2 * answer
}
