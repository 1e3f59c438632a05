import type { StoredRecord } from "./record.ts";
import type { StoredError } from "./errors.ts";

/** Where a run stands. */
export type RunStatus = "running" | "waiting" | "completed" | "failed" | "cancelled";

/** A run as a store lists it: projections of its events, written together with them. */
export interface RunRow {
  runId: string;
  workflowId: string;
  status: RunStatus;
  /** Rises with each claim; every write names it (the fencing token). */
  token: number;
  /** Who holds the lease, null where nobody does. */
  owner: string | null;
  /** Wall-clock milliseconds until which the lease holds. */
  leaseUntil: number;
  createdAt: number;
  updatedAt: number;
  /** How many records the journal has. */
  version: number;
  /** The checksum of the newest record when the status was last written: shows a tail that vanished whole. */
  head: { version: number; checksum: number };
}

export type DeadLetterStatus = "pending" | "retrying" | "succeeded" | "permanent_failure";

/** What a run leaves when a node has failed for good (C7.1). */
export interface DeadLetter {
  id: string;
  /** When the node failed first, in wall-clock milliseconds. */
  timestamp: number;
  workflowId: string;
  runId: string;
  nodeId: string;
  invocationId: string;
  /** The message of the error. */
  error: string;
  errorDetail: StoredError;
  /** Calls of the node that were made in all. */
  attempts: number;
  retryCount: number;
  maxRetries: number;
  nextRetryAt: number | null;
  status: DeadLetterStatus;
  /** The input of the node as encoded text; null where it could not be encoded. */
  payload: string | null;
}

/** A claim on a run: who wants it, and for how long. The run is created where it does not exist. */
export interface Claim {
  runId: string;
  workflowId: string;
  owner: string;
  leaseMs: number;
  /** Whether the holder of a lease that has not run out is known to be dead. */
  isDead: (owner: string) => boolean;
  /** Claim the run even though it has ended, to redrive it. Otherwise an ended run is returned without a lease. */
  reopen: boolean;
}

/** A claimed run. Without a lease where it has ended and was not to be reopened. */
export interface ClaimedRun extends RunRow {
  /** Who still held the lease that was taken over; null where it had been given back, or there was none. */
  formerOwner: string | null;
}

/** One record to append, with what is projected from it. All of it is stored, or nothing. */
export interface Append {
  runId: string;
  token: number;
  /** How many records the journal must have now. */
  version: number;
  body: Uint8Array;
  checksum: number;
  /** Given when the status changes. A status that ends the run gives the lease back. */
  status?: RunStatus | undefined;
  deadLetters?: readonly DeadLetter[] | undefined;
}

export interface RunFilter {
  workflowId?: string | undefined;
  status?: RunStatus | undefined;
  limit?: number | undefined;
}

export interface DeadLetterFilter {
  workflowId?: string | undefined;
  nodeId?: string | undefined;
  runId?: string | undefined;
  status?: DeadLetterStatus | undefined;
  limit?: number | undefined;
}

/**
 * Keeps journals. A write names the token of the lease and the version it expects, and both are checked in the
 * transaction that stores it: `LeaseLostError` where another executor has claimed the run since, `StoreUnavailableError`
 * where it cannot be stored. The promise of a write resolves when it is as durable as the store promises.
 */
export interface Store {
  /** What survives: power loss, a crash of the process, or nothing. */
  readonly durability: "full" | "memory";
  /** A short text for messages: where this store is. */
  readonly location: string;
  /** Takes the lease of a run, or throws `RunInUseError` while a living holder has it. */
  claim(claim: Claim): Promise<ClaimedRun>;
  append(append: Append): Promise<void>;
  /** Lengthens the leases of an owner; gives the runs among `runIds` that it no longer holds. */
  renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]>;
  /** Gives a lease back, so that the run can be claimed at once. Does nothing where somebody else has claimed it since. */
  release(runId: string, token: number): Promise<void>;
  get(runId: string): Promise<RunRow | undefined>;
  /** The records of a run in order. */
  read(runId: string): Promise<StoredRecord[]>;
  /** Moves the records from `seq` on out of the journal, to be looked at by a person: they are damaged. */
  setAside(runId: string, token: number, seq: number): Promise<void>;
  /** Runs, newest first. */
  list(filter?: RunFilter): Promise<RunRow[]>;
  /** Dead letters, newest first. */
  deadLetters(filter?: DeadLetterFilter): Promise<DeadLetter[]>;
  deadLetter(id: string): Promise<DeadLetter | undefined>;
  close(): Promise<void>;
}

/** Statuses after which a run does nothing more by itself. */
export function isEnded(status: RunStatus): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}

/** The row of a run that nobody has claimed yet. */
export function newRun(runId: string, workflowId: string, now: number): RunRow {
  return {
    runId,
    workflowId,
    status: "running",
    token: 0,
    owner: null,
    leaseUntil: 0,
    createdAt: now,
    updatedAt: now,
    version: 0,
    head: { version: 0, checksum: 0 },
  };
}
