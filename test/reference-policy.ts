// The reference policy as it stands in models/, each time a copy of its own: read by the yaml package alone, so that
// those who judge the server share no code with it. Holds no test.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { Policy } from '../src/contract/policy.js'

// The compiled file lies two levels below the root.
export const POLICY_FILE = join(import.meta.dirname, '../..', 'models/policy.yaml')

export function referencePolicy(): Policy {
  return parse(readFileSync(POLICY_FILE, 'utf8')) as Policy
}
