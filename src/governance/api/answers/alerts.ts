// Alerts, the audit and what the reader found: short tables, newest first.
import type { ControlState } from '../../../contract/control-state.js'
import type * as wire from '../../../contract/governance.js'
import type { JsonRow } from '../../store/queries.js'
import type { PageQuery } from '../source.js'
import * as cells from './cells.js'
import { cursorOf } from './decisions.js'
import type { Held } from './held.js'
import { routesOf } from './summary.js'
