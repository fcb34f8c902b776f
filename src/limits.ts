// Every bound of the system, with its unit and its reason. Nothing that grows is without one.
// `TINY` holds the same keys with values so small that tests really hit them.

export interface Limits {
  /**
   * Rows admitted and not yet answered; also the reorder buffer of replay. Eight full batches; each holds room in the
   * log.
   */
  readonly inFlightMax: number
  /** Bytes of one request body. A transaction is under 1 KiB; a batch of 256 with room. */
  readonly bodyBytesMax: number
  /** Bytes of all bodies being received at once. */
  readonly pendingBytesMax: number
  /** Transactions in one batch request. */
  readonly batchRowsMax: number
  /** Bytes of a refused body still read, so that its sender sees the answer instead of a reset. */
  readonly bodyDrainBytesMax: number
  /** Milliseconds without a new request after which a draining listener closes what is idle. */
  readonly drainQuietMs: number
  /** Milliseconds for a body to arrive after its headers. */
  readonly bodyTimeoutMs: number
  /** Requests of one transaction_id that wait for its first decision. */
  readonly duplicatesWaitingMax: number
  /** Loop lag, ms, above which the gate refuses: the deadline could not be kept anyway. */
  readonly loopLagMsMax: number
  /** Rows of one flight: nearly all of the gain of batching is reached at 16 to 32 rows. */
  readonly flightRowsMax: number
  /** Rows waiting in one lane's ring. */
  readonly laneRowsMax: number
  /** Milliseconds a lane thread gets to stop before it is abandoned. */
  readonly laneStopMs: number
  /** Rows of one run of a lane, flights joined: beyond it a longer batch gains nothing and everybody in it waits. */
  readonly laneBatchRowsMax: number
  /** The same where the model runs on a device that does many rows at once: half of what may wait. */
  readonly laneDeviceRowsMax: number
  /** Microseconds one run may take by the measured time per row: an eighth of the default deadline. */
  readonly laneBatchMicrosMax: number
  /** Milliseconds a lane thread gets to load its model and match the golden rows; sessions take 15 to 350 ms. */
  readonly laneStartMs: number
  /**
   * Milliseconds at most that a lane thread runs golden rows before it takes others: compiles the code, learns the
   * cost.
   */
  readonly laneWarmMs: number
  /** Milliseconds before the first replacement of a dead lane thread; doubles with each death. */
  readonly laneRestartMs: number
  /** Milliseconds the back-off ends at; a thread that lived longer than this starts the count again. */
  readonly laneRestartMsMax: number
  /** Deaths in a row after which a lane's model stays unloaded: a thread that cannot live costs more than it gives. */
  readonly laneRestartsMax: number
  /** Flights failed in a row, those of one stall counted once, that open a breaker at low traffic. */
  readonly breakerFailuresInRow: number
  /** Bytes of one record in the decision log, both sections and the frame. */
  readonly recordBytesMax: number
  /** Bytes of one control record: a change of the policy holds the whole of it, and what it replaced. */
  readonly controlBytesMax: number
  /** Bytes of a policy as JSON: two of them fit a control record. */
  readonly policyBytesMax: number
  /** Bytes of the ring between the main thread and the decision-log thread. */
  readonly logRingBytes: number
  /** Bytes of one segment of the decision log. */
  readonly segmentBytes: number
  /** Declared fields of a transaction beside the core. */
  readonly fieldsMax: number
  /** Characters of one string value of a transaction. */
  readonly stringCharsMax: number
  /** UTF-8 bytes of all text values of one transaction together: with facts and vector it must fit recordBytesMax. */
  readonly transactionTextBytesMax: number
  /** Minor units of one amount: exact in a double with room for a conversion. */
  readonly amountMinorMax: number
  /** Nested arrays and objects of one JSON body. A batch needs 3, a policy with conditions of all levels 18. */
  readonly jsonDepthMax: number
  /** Faults named in one rejection; beyond it a client learns nothing more. */
  readonly faultsMax: number
  /** Names of dropped unknown fields that are counted one by one; the rest is counted together. */
  readonly unknownNamesMax: number
  /** Features of one catalogue. */
  readonly featuresMax: number
  /** Entities held per entity field where the catalogue sets no bound; the least recently seen leaves first. */
  readonly entitiesMax: number
  /** Events held per entity; beyond it the oldest leaves and the entity is `truncated`. */
  readonly eventsPerEntityMax: number
  /** The same of slots for events, in all: about 1 GiB; beyond it the least recently seen entities leave. */
  readonly featureEventsMax: number
  /**
   * Milliseconds that events are held beyond the longest window, so that one that comes late finds its own windows
   * whole.
   */
  readonly lateMsMax: number
  /**
   * Minor units of the base currency that one transaction counts for in a window's sum: 4096 of them stay exact in
   * float64.
   */
  readonly amountSummedMax: number
  /** Buckets of a window and its delay. */
  readonly bucketsMax: number
  /** Labels that wait for a transaction not seen yet. */
  readonly labelsUnmatchedMax: number
  /** Entities whose shared windows are held here: asked for again, an entity costs the way of its whole list. */
  readonly sharedEntitiesMax: number
  /** Bytes of words of labels that wait for one transaction in the shared state: some 90 words. */
  readonly wordsWaitingBytesMax: number
  /** Labels remembered beside held transactions, so that a later word of the same source replaces the earlier. */
  readonly labelsHeldMax: number
  /** Labels of one file that `features build` sorts in memory, some 200 bytes each. */
  readonly buildLabelsMax: number
  /** Bytes of the features that `features check` and `model add` hold: 4 million rows of 20, ids and table included. */
  readonly checkBytesMax: number
  /** Transactions of one import of history: 25 bytes each, to find ids that come twice. */
  readonly historyRowsMax: number
  /** Milliseconds by which occurred_at may lie ahead of the clock of the server. */
  readonly clockAheadMsMax: number
  /** Answers that left before their record was durable, held until a reply record names them. */
  readonly repliesMax: number
  /** Ordinals in one reply record: 16 bytes each, well under recordBytesMax. */
  readonly replyEntriesMax: number
  /** Gaps of ordinals that a replay keeps to name; a crash leaves at most a few. */
  readonly gapsMax: number
  /** Bytes of the decisions' facts kept for repeats. */
  readonly factsBytesMax: number
  /** Steps of one ramp: so many stand in one control record. */
  readonly rampStepsMax: number
  /** Control records that the server shows, the newest; the sidecar keeps all. */
  readonly auditHeldMax: number
  /** Entities whose bucket is remembered. */
  readonly bucketsHeldMax: number
  /** Transactions of the warm-up before readiness: the optimising compiler has settled after a few thousand. */
  readonly warmUpRows: number
  /** Models loaded at once: each costs a thread and a session. */
  readonly modelsMax: number
  /** Approvals of models that are remembered, the newest. */
  readonly approvalsMax: number
  /** Bytes of one model file: gradient-boosted trees stay under 100 MB; it is held twice while it loads. */
  readonly modelBytesMax: number
  /** Bytes of one JSON file of a bundle: 1,024 golden rows of 256 features fit. */
  readonly bundleJsonBytesMax: number
  /** Points of a score map's table: a step for each thousandth of the score; found in ten comparisons. */
  readonly scoreTableMax: number
  /** Golden rows of one bundle: enough to reach every part of a model, few enough to run at each start. */
  readonly goldenRowsMax: number
  /** Bundles under one models directory that a listing looks at. */
  readonly bundlesMax: number
  /** Milliseconds for which the gate measures one batch size; a slower model is measured by a single run. */
  readonly gateMeasureMs: number
  /** Bytes of the process in which a stranger's model runs while it is added: eight times the largest file. */
  readonly onboardBytesMax: number
  /** Models ever given metric labels in one process; later ones count as `other`. */
  readonly metricModelsMax: number
  /** Rules ever given metric labels, likewise. */
  readonly metricRulesMax: number
  /** Kafka messages handed to the pipeline and not answered. */
  readonly kafkaRowsMax: number
  /** Rows that wait for a model, up to which Kafka adds one: two flights, so that requests do not queue behind. */
  readonly kafkaWaitingMax: number
  /** Times that a row is offered of which the server says that it met a fault of its own. */
  readonly kafkaTriesMax: number
  /** Milliseconds between two tries to reach brokers that do not answer, where the back-off ends. */
  readonly kafkaRetryMsMax: number
  /** Milliseconds that a Kafka client may take to do something or refuse to: after them another one is made. */
  readonly kafkaAnswerMsMax: number
  /** Kafka messages whose decisions are sent, and whose position is committed, at once. */
  readonly kafkaBatchRowsMax: number
  /** Bytes of one send to a topic at most: half of what a broker takes by default. */
  readonly kafkaSendBytesMax: number
  /** Decisions read back of an output partition when it is assigned: those before them are not known to stand. */
  readonly kafkaStandingMax: number
  /** Bytes of such a decision at most; nothing longer is one. */
  readonly kafkaStandingBytesMax: number
  /** Ranges of decided offsets known of a partition: one, and one for each time that another server had it. */
  readonly offsetRangesMax: number
  /** Partitions, by topic id, of which they are known. */
  readonly offsetPartitionsMax: number
  /** Partitions for which the log is looked through at once: 2 MB and an open file each. */
  readonly recallsMax: number
  /** Dead letters that a command looks at, the newest: some 400 bytes of memory each. */
  readonly kafkaLettersMax: number
  /** Bytes of a dead letter's value, and of its key, that a command shows. */
  readonly kafkaShownBytesMax: number
  /** Dead letters of a minute up to which they are no wave, however few other messages there were. */
  readonly kafkaDeadWaveMin: number
  /** Milliseconds without a step after which a partition is shown as stalled: well above a slow send or sync. */
  readonly kafkaStalledMs: number
  /** Schemas remembered, those that were refused among them: an allowed subject has few. */
  readonly schemasHeldMax: number
  /** Milliseconds for which it is remembered that a schema was refused: it may be registered later. */
  readonly schemaRefusedMs: number
  /** Bytes of a schema, and of what the registry answers but for its framing. */
  readonly schemaBytesMax: number
  /** Levels of JSON in a schema: what compiles and walks it goes down so deep. */
  readonly schemaDepthMax: number
  /** Milliseconds for one answer of the schema registry. */
  readonly registryAnswerMsMax: number
  /** Times that the registry is asked before whoever asks hears of it. */
  readonly registryTriesMax: number
  /** Records of one batch of the sidecar, which is one transaction of its store: commits are shared by so many. */
  readonly tailBatchRecordsMax: number
  /** Bytes of the bodies of one batch, to within one read: the sidecar's memory stays flat however far it lags. */
  readonly tailBatchBytesMax: number
  /** Records decoded before the sidecar's loop turns, so that its listener answers meanwhile: some 5 ms. */
  readonly tailTurnRecordsMax: number
  /** Milliseconds that the sidecar rests for each of its CPU, beside a server that writes. */
  readonly paceRestMs: number
  /** Microseconds for which it works between two rests then. */
  readonly paceSliceUs: number
  /** Milliseconds for which a server that takes over holds requests. */
  readonly heldMsMax: number
  /** Milliseconds between two snapshots that the sidecar has made: each is written whole. */
  readonly snapshotEveryMs: number
  /** Milliseconds for which a small batch is left to grow: one commit a second at low traffic. */
  readonly tailGatherMs: number
  /** Milliseconds between two looks of the sidecar at itself: a lag that lasts for three of them is an alert. */
  readonly watchMs: number
  /** Milliseconds between two looks for segments that may leave the log: some 20 at 2,000 decisions a second. */
  readonly pruneMs: number
  /** Milliseconds between two looks at an idle log, where the back-off ends. */
  readonly tailPollMsMax: number
  /** Milliseconds before the sidecar tries again what a disk, a lock or a log refused; doubles. */
  readonly governRetryMs: number
  /** Milliseconds the back-off ends at; also how long an attempt must last to start the count again. */
  readonly governRetryMsMax: number
  /** Rows of one page of a query: about 2 MB of decisions. */
  readonly pageRowsMax: number
  /** Findings shown at once; the newest. */
  readonly findingsShownMax: number
  /** Connections of the governance listener: people, their browsers' few each, and scrapers. */
  readonly apiConnectionsMax: number
  /** Queries of the API that run at once: the store's own readers are as many. */
  readonly apiQueriesMax: number
  /** Queries that wait for one of those; more are refused. */
  readonly apiQueriesWaitingMax: number
  /** Milliseconds after which a query is answered as too slow; a little more than the store gives it. */
  readonly apiQueryMs: number
  /** Event streams open at once. */
  readonly streamsMax: number
  /** Events of one page of a stream: about 250 KB, all that is held for a reader. */
  readonly streamRowsMax: number
  /** Decisions that a reader may fall behind while connected; beyond it they are skipped, and it is told. */
  readonly streamBehindMax: number
  /** Milliseconds for one page above which a reader is slow: 250 KB/s. Only slow ones are made to skip. */
  readonly streamSlowMs: number
  /** Milliseconds for which a reader may take nothing before it is let go; it can resume. */
  readonly streamStallMs: number
  /** Masks of sensitive values that can be asked for again: a day of an analyst's clicks. */
  readonly masksMax: number
  /** Rows of one drift window by count: a shift that matters is surely seen within it, at 20 cells a quantity. */
  readonly driftWindowRows: number
  /** Decisions from which a reference is made for a model whose bundle has none: a window by count. */
  readonly driftProvisionalRows: number
  /** Rows below which a window gets no verdict, nor one that it would be held against. */
  readonly driftRowsMin: number
  /** Model versions watched for drift at once, each with a week of hours; the one that answered longest ago leaves. */
  readonly driftModelsMax: number
  /** Segments that a policy may declare: drift keeps for each as much as for the whole again. */
  readonly driftSegmentsMax: number
  /** Values that one of them may name: more of them are a field of their own. */
  readonly segmentValuesMax: number
  /** Rules of one policy: each is looked at for every decision. */
  readonly rulesMax: number
  /** UTF-8 bytes of the ids of all rules together: a record names those that matched. */
  readonly ruleIdsBytesMax: number
  /** Characters of what a rule tells the caller: four of them stand in a record. */
  readonly ruleDetailCharsMax: number
  /** Tests of one condition, those within all, any and not together. */
  readonly conditionTestsMax: number
  /** Levels of all, any and not in one condition: nobody reads deeper ones. */
  readonly conditionDepthMax: number
  /** Combinations of values that a condition is tried with, to see whether it can hold and can fail: some 10 ms. */
  readonly conditionTriesMax: number
  /** Lists of one policy, and values of all of them together: the policy stands at the head of every segment. */
  readonly listsMax: number
  /** See `listsMax`: some 100 bytes each. */
  readonly listValuesMax: number
  /** Decisions that a policy is tried on at most, the newest, and milliseconds that it may take: some 5 s. */
  readonly trialDecisionsMax: number
  /** See `trialDecisionsMax`. */
  readonly trialMsMax: number
  /** Segments with cuts of their own. */
  readonly thresholdSegmentsMax: number
  /** Categories of one field with a cell of their own; the rest is `unseen`. */
  readonly driftCategoriesMax: number
  /** Milliseconds between two looks whether a file of keys has changed. */
  readonly keysLookMs: number
  /** Keys that are nobody's within one window, by address, after which it waits: ten guesses a second. */
  readonly authFailuresMax: number
  /** Milliseconds of that window: for so long at most a valid key waits as well. */
  readonly authWindowMs: number
  /** Addresses whose failures are counted; the one that failed longest ago leaves: about 1 MB. */
  readonly authAddressesMax: number
  /** Refusals shown by the audit, of known callers and of unknown ones each; the newest. */
  readonly refusalsHeldMax: number
  /** Refusals a second that become events; the next one says how many did not. */
  readonly refusalEventsMax: number
  /** Rows of one request of the Open Inference Protocol. */
  readonly inferRowsMax: number
  /** Values of direct calls of models that are held at once: 8 MiB. */
  readonly inferValuesMax: number
  /** Rows of direct calls with a lane, or whose records are not durable: room in the log that payments lack then. */
  readonly directRowsMax: number
  /** Milliseconds that a direct call may wait for payments, its model and the log. */
  readonly directWaitMs: number
  /** Changes of the routes that a fleet keeps: a server that was away longer goes from its own to the newest 64. */
  readonly routesHeldMax: number
  /** Rows of the route name that are remembered by their transaction_id: some 400 bytes each. */
  readonly rowIdsMax: number
}

export const LIMITS: Limits = Object.freeze({
  ...{ inFlightMax: 2048, bodyBytesMax: 1 << 20, pendingBytesMax: 32 << 20, batchRowsMax: 256 },
  ...{ bodyDrainBytesMax: 8 << 20, drainQuietMs: 500, bodyTimeoutMs: 5_000 },
  ...{ duplicatesWaitingMax: 8, loopLagMsMax: 50, warmUpRows: 6_000 },
  ...{ flightRowsMax: 32, laneRowsMax: 1024, laneStopMs: 2_000, laneBatchRowsMax: 64, laneBatchMicrosMax: 1_000 },
  ...{ laneStartMs: 30_000, laneWarmMs: 60, laneRestartMs: 100, laneRestartMsMax: 10_000, laneRestartsMax: 8 },
  ...{ laneDeviceRowsMax: 512, breakerFailuresInRow: 3 },
  ...{ recordBytesMax: 11 << 10, controlBytesMax: 900 << 10, policyBytesMax: 400 << 10 },
  ...{ logRingBytes: 24 << 20, segmentBytes: 64 << 20, fieldsMax: 64, stringCharsMax: 256 },
  ...{ transactionTextBytesMax: 3 << 10, amountMinorMax: 1e15, jsonDepthMax: 24, faultsMax: 32, unknownNamesMax: 64 },
  ...{ featuresMax: 256, entitiesMax: 1_000_000, eventsPerEntityMax: 4096, featureEventsMax: 1 << 25 },
  ...{ lateMsMax: 3_600_000, amountSummedMax: 2 ** 40 },
  ...{ bucketsMax: 1_000, labelsUnmatchedMax: 100_000, labelsHeldMax: 1_000_000 },
  ...{ sharedEntitiesMax: 200_000, wordsWaitingBytesMax: 4 << 10, routesHeldMax: 64 },
  ...{ buildLabelsMax: 5_000_000, checkBytesMax: 1 << 30, historyRowsMax: 50_000_000 },
  ...{ clockAheadMsMax: 300_000, repliesMax: 65_536, replyEntriesMax: 256, gapsMax: 10_000, factsBytesMax: 256 << 20 },
  ...{ bucketsHeldMax: 100_000, rampStepsMax: 16, auditHeldMax: 256, modelsMax: 8, approvalsMax: 16 },
  ...{ modelBytesMax: 512 << 20, bundleJsonBytesMax: 16 << 20, scoreTableMax: 1024, goldenRowsMax: 1024 },
  ...{ bundlesMax: 1024, gateMeasureMs: 30, onboardBytesMax: 4 * 2 ** 30 },
  ...{ metricModelsMax: 64, metricRulesMax: 512, routesHeldMax: 64 },
  ...{ kafkaRowsMax: 512, kafkaWaitingMax: 64, kafkaTriesMax: 5, kafkaRetryMsMax: 5_000, kafkaAnswerMsMax: 60_000 },
  ...{ kafkaBatchRowsMax: 512, kafkaSendBytesMax: 512 << 10 },
  ...{ kafkaStandingMax: 20_000, kafkaStandingBytesMax: 8_192 },
  ...{ offsetRangesMax: 256, offsetPartitionsMax: 4_096, recallsMax: 8 },
  ...{ kafkaLettersMax: 100_000, kafkaShownBytesMax: 64 << 10 },
  ...{ kafkaDeadWaveMin: 20, kafkaStalledMs: 10_000 },
  ...{ schemasHeldMax: 1024, schemaRefusedMs: 30_000, schemaBytesMax: 256 << 10, schemaDepthMax: 64 },
  ...{ registryAnswerMsMax: 3_000, registryTriesMax: 3 },
  ...{ tailBatchRecordsMax: 8192, tailBatchBytesMax: 16 << 20, tailTurnRecordsMax: 512 },
  ...{ heldMsMax: 2_000, paceRestMs: 4, paceSliceUs: 250, snapshotEveryMs: 300_000, tailGatherMs: 1_000 },
  tailPollMsMax: 200,
  ...{ watchMs: 5_000, pruneMs: 600_000 },
  ...{ governRetryMs: 500, governRetryMsMax: 30_000 },
  ...{ pageRowsMax: 1_000, findingsShownMax: 1_000, apiConnectionsMax: 256 },
  ...{ apiQueriesMax: 4, apiQueriesWaitingMax: 64, apiQueryMs: 12_000 },
  ...{ streamsMax: 64, streamRowsMax: 500, streamBehindMax: 10_000, streamSlowMs: 1_000, streamStallMs: 30_000 },
  masksMax: 10_000,
  ...{ driftWindowRows: 5_000, driftProvisionalRows: 5_000, driftRowsMin: 500, driftModelsMax: 16 },
  ...{ driftSegmentsMax: 16, segmentValuesMax: 64, driftCategoriesMax: 64 },
  ...{ rulesMax: 128, ruleIdsBytesMax: 2_048, ruleDetailCharsMax: 120, thresholdSegmentsMax: 64 },
  ...{ conditionTestsMax: 64, conditionDepthMax: 6, conditionTriesMax: 50_000, listsMax: 32, listValuesMax: 10_000 },
  ...{ trialDecisionsMax: 100_000, trialMsMax: 30_000 },
  ...{ keysLookMs: 1_000, authFailuresMax: 100, authWindowMs: 10_000, authAddressesMax: 10_000 },
  ...{ refusalsHeldMax: 256, refusalEventsMax: 20 },
  ...{ inferRowsMax: 1024, inferValuesMax: 1 << 20, directRowsMax: 128, directWaitMs: 2_000, rowIdsMax: 100_000 },
})

export const TINY: Limits = Object.freeze({
  ...LIMITS,
  ...{ inFlightMax: 8, bodyBytesMax: 2048, pendingBytesMax: 8192, batchRowsMax: 4 },
  ...{ bodyDrainBytesMax: 16 << 10, drainQuietMs: 50, bodyTimeoutMs: 200 },
  ...{ flightRowsMax: 4, laneRowsMax: 8, laneStopMs: 200, laneBatchRowsMax: 4 },
  ...{ laneDeviceRowsMax: 8, laneWarmMs: 10, laneRestartMs: 5, laneRestartMsMax: 500, laneRestartsMax: 3 },
  ...{ recordBytesMax: 4 << 10, controlBytesMax: 4 << 10, policyBytesMax: 1 << 10 },
  ...{ logRingBytes: 32 << 10, segmentBytes: 64 << 10, stringCharsMax: 64 },
  transactionTextBytesMax: 1 << 10,
  jsonDepthMax: 4,
  faultsMax: 4,
  unknownNamesMax: 2,
  ...{ entitiesMax: 16, eventsPerEntityMax: 8, featureEventsMax: 64, lateMsMax: 60_000, bucketsMax: 64 },
  ...{ labelsUnmatchedMax: 4, labelsHeldMax: 8, sharedEntitiesMax: 4, wordsWaitingBytesMax: 256 },
  ...{ buildLabelsMax: 8, checkBytesMax: 2 << 10, historyRowsMax: 64 },
  ...{ repliesMax: 16, replyEntriesMax: 4, gapsMax: 100, factsBytesMax: 64 << 10 },
  ...{ bucketsHeldMax: 16, rampStepsMax: 4, auditHeldMax: 4, warmUpRows: 500, routesHeldMax: 4 },
  ...{ metricModelsMax: 3, metricRulesMax: 3 },
  ...{ driftWindowRows: 50, driftProvisionalRows: 40, driftRowsMin: 10, driftModelsMax: 2 },
  ...{ driftSegmentsMax: 2, segmentValuesMax: 4, driftCategoriesMax: 4 },
  ...{ rulesMax: 4, ruleIdsBytesMax: 64, ruleDetailCharsMax: 40, thresholdSegmentsMax: 2 },
  ...{ conditionTestsMax: 8, conditionDepthMax: 3, conditionTriesMax: 1_000, listsMax: 2, listValuesMax: 8 },
  ...{ trialDecisionsMax: 100, trialMsMax: 10_000 },
  ...{ modelBytesMax: 64 << 10, bundleJsonBytesMax: 64 << 10 },
  ...{ scoreTableMax: 8, goldenRowsMax: 64, bundlesMax: 4, gateMeasureMs: 5, onboardBytesMax: 512 << 20 },
  ...{ kafkaRowsMax: 4, kafkaWaitingMax: 2, kafkaTriesMax: 2, kafkaRetryMsMax: 100, kafkaAnswerMsMax: 2_000 },
  ...{ kafkaBatchRowsMax: 3, kafkaSendBytesMax: 4 << 10 },
  ...{ kafkaStandingMax: 8, kafkaStandingBytesMax: 4_096 },
  ...{ offsetRangesMax: 4, offsetPartitionsMax: 4, recallsMax: 2 },
  ...{ kafkaLettersMax: 8, kafkaShownBytesMax: 256 },
  kafkaDeadWaveMin: 2,
  kafkaStalledMs: 200,
  ...{ schemasHeldMax: 4, schemaRefusedMs: 100, schemaBytesMax: 8 << 10, schemaDepthMax: 16 },
  ...{ registryAnswerMsMax: 1_000, registryTriesMax: 2 },
  ...{ tailBatchRecordsMax: 16, tailBatchBytesMax: 8 << 10, tailTurnRecordsMax: 4 },
  ...{ heldMsMax: 100, paceRestMs: 1, paceSliceUs: 100, snapshotEveryMs: 10, tailGatherMs: 5 },
  tailPollMsMax: 10,
  ...{ watchMs: 10, pruneMs: 10 },
  ...{ governRetryMs: 10, governRetryMsMax: 100 },
  ...{ pageRowsMax: 8, findingsShownMax: 16, apiConnectionsMax: 16 },
  ...{ apiQueriesMax: 2, apiQueriesWaitingMax: 4, apiQueryMs: 5_000 },
  ...{ streamsMax: 2, streamRowsMax: 8, streamBehindMax: 32, streamSlowMs: 100, streamStallMs: 500 },
  masksMax: 8,
  ...{ keysLookMs: 10, authFailuresMax: 4, authWindowMs: 300, authAddressesMax: 4 },
  ...{ refusalsHeldMax: 8, refusalEventsMax: 3 },
  ...{ inferRowsMax: 16, inferValuesMax: 1 << 10, directRowsMax: 4, directWaitMs: 200, rowIdsMax: 4 },
})
