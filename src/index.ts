/** The front door of Holdfast: every public name of the package's main entry, grouped. */

// Workflows and the ways to run them
export {
  Workflow,
  type DynamicWorkflow,
  type ExecuteOptions,
  type FunctionOptions,
  type FunctionWorkflow,
  type NodeOptions,
} from "./workflow.ts";
export type { WorkflowOptions } from "./workflow/builder.ts";
export type { Compensation, Migration, TypedNode, WorkflowDefinition } from "./workflow/definition.ts";
export type { NodeDescription, WorkflowDescription } from "./workflow/description.ts";
export type { NodeContext, NodeFunction, StepContext } from "./core/node.ts";
export { type InferInput, type InferOutput, SchemaError, type StandardSchema } from "./core/schema.ts";
export { type ItemContext, type ItemResult, map, type MapOptions } from "./nodes/map.ts";
export { subWorkflow } from "./nodes/sub-workflow.ts";
export { wait, waitForSignal, type WaitForSignalOptions, type WaitOptions } from "./nodes/wait.ts";
export { transform, type TransformFields } from "./nodes/transform.ts";
export {
  type FromInput,
  httpRequest,
  type HttpBody,
  type HttpQuery,
  type HttpRequestOptions,
  type JsonBody,
} from "./nodes/http-request.ts";
export { type HttpBodies, type HttpResponse, HttpStatusError } from "./nodes/http-response.ts";
export { resilientQueueRun, type ResilientQueueRunOptions, type ResilientQueueRunResult } from "./entry-points.ts";

// Engines and what they leave behind
export { createEngine } from "./default-engine.ts";
export type { Engine } from "./engine/engine.ts";
export type { EngineOptions, RunOptions } from "./engine/engine-options.ts";
export type { EventStreamOptions } from "./engine/event-stream.ts";
export type { History, HistoryEvent } from "./engine/history-events.ts";
export type { ForkOptions } from "./engine/engine.ts";
export type { CancelOptions, SignalOptions } from "./engine/messenger.ts";
export type { Recovery } from "./engine/recovery.ts";
export type { PruneOptions, RetentionOptions } from "./engine/retention.ts";
export type { RunHandle } from "./engine/run.ts";
export type { Runnable } from "./engine/runnable.ts";
export type { Missed } from "./engine/schedule-record.ts";
export type { DueTime } from "./engine/schedule-watch.ts";
export type { Schedule, ScheduleOptions, ScheduleRow, Schedules } from "./engine/schedules.ts";
export type { CloseOptions, CloseReport, ShutdownSignal } from "./engine/shutdown.ts";
export type { SweepOptions } from "./engine/sweep-blobs.ts";
export type { SnapshotOptions } from "./engine/snapshot-schedule.ts";
export type { AgentStep, RunResult } from "./engine/run-result.ts";
export type { AutoRedriveOptions } from "./engine/auto-redrive.ts";
export type { DeadLetters, PruneDeadLettersOptions, RedriveOptions } from "./engine/dead-letters.ts";
export type { DiscardEntry, DiscardReport } from "./engine/discarding.ts";
export type { DeadLetterSelection } from "./engine/letter-pages.ts";
export type { DeadLetterGroup, DeadLetterStats } from "./engine/letter-stats.ts";
export type { PlainDeadLetter } from "./engine/plain-letter.ts";
export type { Skipped } from "./engine/redrivable.ts";
export type { RedriveAllOptions, RedriveEntry, RedrivePace, RedriveReport } from "./engine/redriving.ts";

// Checkpoints of any program
export { WorkflowCheckpoint, type WorkflowCheckpointOptions } from "./checkpoint.ts";
export type { CheckpointRow } from "./engine/checkpoints.ts";

// Stores
export { MemoryStore } from "./stores/memory.ts";
export { SqliteStore, type SqliteStoreOptions } from "./stores/sqlite.ts";
export { FileBlobs, type FileBlobsOptions } from "./stores/file-blobs.ts";
export { MemoryBlobs } from "./stores/memory-blobs.ts";
export { openSharedState, openStore } from "./stores/open.ts";
export type {
  Append,
  Claim,
  ClaimedRun,
  DeadLetter,
  DeadLetterFilter,
  DeadLetterStatus,
  PruneFilter,
  RunFilter,
  RunRow,
  RunStatus,
  Signal,
  Snapshot,
  SqlTransaction,
  SqlValue,
  Store,
} from "./core/store.ts";
export type { BlobRow, Blobs } from "./core/blobs.ts";
export type { StoredRecord } from "./core/record.ts";
export type { ValueType } from "./core/codec.ts";

// State that processes share
export { MemorySharedState } from "./stores/memory-shared-state.ts";
export { SqliteSharedState, type SqliteSharedStateOptions } from "./stores/sqlite-shared-state.ts";

// Errors of the engine; those of the policies come with them
export {
  NodeCrashedError,
  NotFoundError,
  RunInUseError,
  type SchemaIssue,
  StoreCorruptError,
  type StoredError,
  UnserializableValueError,
  VersionMismatchError,
  WorkflowDefinitionError,
  WorkflowExecutionError,
} from "./core/errors.ts";

// Policies
export * from "./policies/index.ts";
