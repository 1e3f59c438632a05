import type { StoredRecord } from "./record.ts";
import type { StoredError } from "./errors.ts";
import type { SharedState } from "./shared-state.ts";

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
  /**
   * When a waiting run goes on by itself, in wall-clock milliseconds; null where only a signal wakes it. A signal that
   * comes while it waits brings this forward to when it came.
   */
  wakeAt: number | null;
  /** How many records the journal has. */
  version: number;
  /** The newest record that holds the whole state: a replay may begin with it. Null where there is none. */
  snapshot: Snapshot | null;
  /** The checksum of the newest record when the status was last written: shows a tail that vanished whole. */
  head: { version: number; checksum: number };
}

/** Where a snapshot lies in a journal, and the checksum of the record before it, which the chain goes on from. */
export interface Snapshot {
  seq: number;
  previous: number;
}

/** Something that a person or a program tells a run: it is kept until the run has taken it. */
export interface Signal {
  /** Telling the same thing twice under one id tells it once. */
  id: string;
  runId: string;
  name: string;
  /** The payload as encoded text. */
  payload: string;
  /** When it was sent, in wall-clock milliseconds. */
  at: number;
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
  /** Why somebody has given it up; such an entry is settled. Absent where nobody has. */
  discarded?: { reason: string; at: number };
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
  /** Given when the status changes. A status that ends the run gives the lease back, and so does `waiting`. */
  status?: RunStatus | undefined;
  /** With the status `waiting`: when the run goes on by itself. Every other status forgets it. */
  wakeAt?: number | null | undefined;
  /**
   * With the status `waiting`: the names of signals that the run waits for. Where one of them has come already and is
   * not taken, the run goes on at once: it came after the holder had looked for it.
   */
  wakeOn?: readonly string[] | undefined;
  deadLetters?: readonly DeadLetter[] | undefined;
  /** Ids of signals that this record takes in: they are kept no longer. */
  signalsTaken?: readonly string[] | undefined;
  /** Given where the record holds the whole state: the checksum of the record before it. */
  snapshotAfter?: number | undefined;
  /**
   * Work of the user's own in the transaction of the store, done before the record is stored. What it throws rejects
   * this append, undoes what it did, and leaves the other writes alone. It may be called again, after everything that
   * it did was undone. What it gives is stored in place of `body` and `checksum`, for a record that tells what came of
   * it. Stores that have no such transaction reject with a `ConfigError`.
   */
  within?: ((transaction: SqlTransaction) => Pick<Append, "body" | "checksum"> | void) | undefined;
}

/**
 * SQL in the transaction that stores a record. Statements run at once; nothing may be awaited. Each call takes one
 * statement that reads or changes rows or tables; what begins or ends a transaction is refused. Foreign keys are
 * checked. Tables whose names begin with `holdfast_` are the store's own: leave them alone.
 */
export interface SqlTransaction {
  /** Runs a statement with its parameters and gives its rows. Whole numbers beyond 2^53 may come back rounded or be an error. */
  all(sql: string, ...parameters: SqlValue[]): Record<string, unknown>[];
  /** Runs a statement with its parameters and gives the number of rows it has changed. */
  run(sql: string, ...parameters: SqlValue[]): number;
}

export type SqlValue = string | number | bigint | null | Uint8Array;

export interface RunFilter {
  workflowId?: string | undefined;
  status?: RunStatus | readonly RunStatus[] | undefined;
  /** Only runs that come after this one in the list: its next page. `NotFoundError` where there is no such run. */
  olderThan?: string | undefined;
  /** Wall-clock milliseconds; the first is included, the second is not. */
  createdFrom?: number | undefined;
  createdBefore?: number | undefined;
  /**
   * Only waiting runs that go on before this instant, by themselves or because they were signalled. They come in that
   * order, the longest due first, and in one page: what is due is taken up and is listed no longer. Whoever has claimed
   * one, and has not written yet that it runs, is its `owner`.
   */
  wakesBefore?: number | undefined;
  /** @default 100 */
  limit?: number | undefined;
}

export interface DeadLetterFilter {
  workflowId?: string | undefined;
  nodeId?: string | undefined;
  runId?: string | undefined;
  status?: DeadLetterStatus | undefined;
  /** The code of the error. */
  errorCode?: string | undefined;
  /** Wall-clock milliseconds of `timestamp`; the first is included, the second is not. */
  enteredFrom?: number | undefined;
  enteredBefore?: number | undefined;
  /** Only entries that come after this one in the list: its next page. `NotFoundError` where there is no such entry. */
  olderThan?: string | undefined;
  /** @default 100 */
  limit?: number | undefined;
}

/**
 * Which ended runs may go: those that ended before an instant, and those beyond the newest `keep` ended ones of each
 * workflow. Either is enough; where neither is given, none may. Newer is what was created later, as in a list.
 */
export interface PruneFilter {
  workflowId?: string | undefined;
  /** Wall-clock milliseconds. */
  endedBefore?: number | undefined;
  keep?: number | undefined;
  /** How many go at once, so that nobody waits long for the store. @default 1000 */
  limit?: number | undefined;
  /** Say which may go, and leave them. @default false */
  dryRun?: boolean | undefined;
}

/**
 * Keeps journals. A write names the token of the lease and the version it expects, and both are checked in the
 * transaction that stores it: `LeaseLostError` where another executor has claimed the run since, `StoreUnavailableError`
 * where it cannot be stored. The promise of a write resolves when it is as durable as the store promises.
 */
export interface Store {
  /** What survives: power loss, a crash of the process, or nothing. */
  readonly durability: "full" | "relaxed" | "memory";
  /** A short text for messages: where this store is. */
  readonly location: string;
  /** Small pieces of state that all who share this store share too. It is closed with the store. */
  readonly state: SharedState;
  /** Takes the lease of a run, or throws `RunInUseError` while a living holder has it. */
  claim(claim: Claim): Promise<ClaimedRun>;
  append(append: Append): Promise<void>;
  /** Lengthens the leases of an owner; gives the runs among `runIds` that it no longer holds. */
  renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]>;
  /** Gives a lease back, so that the run can be claimed at once. Does nothing where somebody else has claimed it since. */
  release(runId: string, token: number): Promise<void>;
  get(runId: string): Promise<RunRow | undefined>;
  /** The records of a run in order: all, or those from a number on, up to one that is not among them. */
  read(runId: string, from?: number, to?: number): Promise<StoredRecord[]>;
  /** Moves the records from `seq` on out of the journal, to be looked at by a person: they are damaged. */
  setAside(runId: string, token: number, seq: number): Promise<void>;
  /** Runs, newest first, unless the filter says otherwise. */
  list(filter?: RunFilter): Promise<RunRow[]>;
  /** Dead letters, newest first. */
  deadLetters(filter?: DeadLetterFilter): Promise<DeadLetter[]>;
  deadLetter(id: string): Promise<DeadLetter | undefined>;
  /** How many entries there are of each status, of one workflow or of all. */
  deadLetterCounts(workflowId?: string): Promise<Record<DeadLetterStatus, number>>;
  /** Deletes settled entries (succeeded or discarded) that were entered before an instant; gives their number. */
  pruneDeadLetters(enteredBefore: number, workflowId?: string): Promise<number>;
  /**
   * Keeps a signal until its run has taken it, and wakes the run where it waits. Throws `NotFoundError` where there is no
   * such run, or it is completed or cancelled. One that has failed may be redriven, and take it then.
   */
  signal(signal: Signal): Promise<void>;
  /** Signals that wait to be taken, oldest first: of one run, or of all runs that an owner holds. */
  signals(of: { runId: string } | { owner: string }): Promise<Signal[]>;
  /**
   * Deletes ended runs with all that belongs to them, oldest first, and gives their ids. A run with an entry among its
   * dead letters that is not settled stays, and so does one that somebody has claimed to redrive it.
   */
  prune(filter: PruneFilter): Promise<string[]>;
  close(): Promise<void>;
}

/** Statuses after which a run does nothing more by itself. */
export function isEnded(status: RunStatus): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}

/** Whether a run may still be told something: one that has failed may be redriven, and take it then. */
export function takesSignals(status: RunStatus): boolean {
  return status !== "completed" && status !== "cancelled";
}

/** Whether nothing is left to be done about a dead letter, so that it may go. */
export function isSettled({ status, discarded }: DeadLetter): boolean {
  return status === "succeeded" || discarded !== undefined;
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
    wakeAt: null,
    version: 0,
    snapshot: null,
    head: { version: 0, checksum: 0 },
  };
}
