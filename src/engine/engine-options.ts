import type { Blobs } from "../core/blobs.ts";
import type { ValueType } from "../core/codec.ts";
import { ConfigError } from "../core/errors.ts";
import type { EventListener } from "../core/events.ts";
import {
  aBoolean,
  aFunction,
  anObject,
  anything,
  checkOptions,
  durationMs,
  either,
  positiveMs,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Store } from "../core/store.ts";
import type { AutoRedriveOptions } from "./auto-redrive.ts";
import { type RetentionOptions, retentionOptions } from "./retention.ts";
import type { Runnable } from "./runnable.ts";
import { type SnapshotOptions, snapshotOptions } from "./snapshot-schedule.ts";

export interface EngineOptions {
  /** Where journals are kept. */
  store: Store;
  /** Where values are kept that are too large for a journal. Without it they are refused. Closed with the engine. */
  blobs?: Blobs | undefined;
  /** How many bytes a stored value may have in the journal; larger ones go to `blobs`. @default 16777216 */
  journaledBytes?: number | undefined;
  /** Workflows that may be recovered or redriven by their id alone, without having been run here before. */
  workflows?: readonly Runnable[] | undefined;
  /**
   * How many runs are carried out at the same time. Others wait their turn; their start is recorded before they do.
   * @default Infinity
   */
  concurrency?: number | undefined;
  /** How long a run stays with an engine that has stopped responding. @default 5000 */
  leaseMs?: number | undefined;
  /** How long a run pauses for a store that is in trouble, before it stops. 0 stops it at once. @default Infinity */
  pauseMs?: number | undefined;
  /** How often a process may die while a node runs before the node is given up. @default 10 */
  maxCrashes?: number | undefined;
  /** How often a dead letter may be redriven before it is quarantined. @default 3 */
  maxRetries?: number | undefined;
  /** Redrives dead letters by itself when their `nextRetryAt` has come. `true` is an empty object. @default false */
  autoRedrive?: boolean | AutoRedriveOptions | undefined;
  /** Ended runs that this engine deletes by itself, now and then. Without it none is. */
  retention?: RetentionOptions | undefined;
  /** How often the state of a long run is stored whole. */
  snapshots?: SnapshotOptions | undefined;
  /** Classes whose instances may be stored. */
  types?: readonly ValueType[] | undefined;
  /** Called with every event of this engine's runtime. */
  onEvent?: EventListener | undefined;
  /** Time, randomness and events: for tests. */
  runtime?: Runtime | undefined;
}

export interface RunOptions {
  /** Names the run: running it again joins, resumes or returns the one that is there. @default a new id */
  runId?: string | undefined;
  /** Cancels the run. */
  signal?: AbortSignal | undefined;
}

const RULES: Rules<EngineOptions> = {
  store: anything,
  blobs: anything,
  journaledBytes: wholeNumber(0, true),
  workflows: anything,
  concurrency: wholeNumber(1, true),
  leaseMs: positiveMs,
  pauseMs: {
    says: `${durationMs.says}, or Infinity`,
    allows: (value) => value === Infinity || durationMs.allows(value),
  },
  maxCrashes: wholeNumber(0, true),
  maxRetries: wholeNumber(0, true),
  autoRedrive: either(aBoolean, anObject),
  retention: anObject,
  snapshots: anObject,
  types: anything,
  onEvent: aFunction,
  runtime: anything,
};

/** The options of an engine, checked. */
export function engineOptions(options: EngineOptions): EngineOptions {
  const checked = checkOptions("engine", options, RULES);
  if (checked.retention !== undefined) checked.retention = retentionOptions(checked.retention);
  if (checked.snapshots !== undefined) checked.snapshots = snapshotOptions(checked.snapshots);
  if (typeof checked.store?.append !== "function")
    throw new ConfigError('engine.store must be a store, such as new SqliteStore("runs.db"), got something else.');
  if (checked.blobs !== undefined && typeof checked.blobs?.put !== "function")
    throw new ConfigError(
      'engine.blobs must be a place for blobs, such as new FileBlobs("blobs"), got something else.',
    );
  return checked;
}
