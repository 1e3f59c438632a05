import { utf8Bytes, utf8Text } from "../core/bytes.ts";
import { codeOf, LeaseLostError, StoreCorruptError, StoreUnavailableError, HoldfastError } from "../core/errors.ts";
import { firstLink, link, type StoredRecord } from "../core/record.ts";
import type { Runtime } from "../core/runtime.ts";
import {
  type Claim,
  type ClaimedRun,
  type DeadLetter,
  isEnded,
  type RunStatus,
  type SqlTransaction,
  type Store,
} from "../core/store.ts";
import {
  applyEvent,
  applyStep,
  newRunState,
  type RunEvent,
  type RunState,
  type StepCompleted,
  wakingOf,
} from "../workflow/run-state.ts";
import { announce } from "./announce.ts";

const NOTHING = new Uint8Array();

/**
 * The journal of one run, held under a lease. Events are staged, which folds them into the state, and committed, which
 * stores all that is staged as one record. Whoever awaits a commit may believe what was staged before it; commits
 * resolve in order. After a commit has failed the state is ahead of the store: the journal then refuses everything,
 * and the run is read anew by whoever resumes it.
 */
export class Journal {
  readonly state: RunState = newRunState();
  readonly token: number;
  readonly runId: string;
  /** Whether the run was taken over from a holder that did not give it back: its process died, or had stalled. */
  readonly takenOver: boolean;
  readonly #store: Store;
  readonly #runtime: Runtime;
  /** Told once, when a commit has failed. */
  onBroken: (error: unknown) => void = () => {};
  /** Told after each commit. */
  onCommitted: () => void = () => {};
  #broken: { error: unknown } | null = null;
  #staged: RunEvent[] = [];
  #deadLetters: DeadLetter[] = [];
  #signalsTaken: string[] = [];
  #version = 0;
  #checksum: number;
  #storedStatus: RunState["status"] = "new";
  /** The transaction with work of the user's that is under way. */
  #transaction: Promise<void> | null = null;

  private constructor(store: Store, runtime: Runtime, row: ClaimedRun, owner: string) {
    this.#store = store;
    this.#runtime = runtime;
    this.runId = row.runId;
    this.token = row.token;
    this.takenOver = row.formerOwner !== null && row.formerOwner !== owner;
    this.#checksum = firstLink(row.runId);
  }

  /** Claims the run, reads what is there, checks it and folds it. New, interrupted and finished runs take this one path. */
  static async open(store: Store, runtime: Runtime, claim: Claim): Promise<Journal> {
    const row = await store.claim(claim);
    try {
      const found = row.version > 0 || row.head.version > 0 ? await store.read(claim.runId) : [];
      const intact = [...intactRecords(row.runId, found)];
      const isDamaged = intact.length < Math.max(found.length, row.head.version);
      // A run that had ended is claimed without a lease; what is left of a damaged one has to be carried on under one.
      if (isDamaged && isEnded(row.status) && !claim.reopen) {
        const reopened = await Journal.open(store, runtime, { ...claim, reopen: true });
        // Where it had ended nevertheless, nobody will work on it and give the lease back.
        if (isEnded(reopened.state.status as RunStatus)) await reopened.release();
        return reopened;
      }
      const journal = new Journal(store, runtime, row, claim.owner);
      if (isDamaged) await journal.#setAside(intact.length, found.length, row.head.version);
      journal.#replay(row, intact);
      return journal;
    } catch (error) {
      // Why it cannot be opened says more than why it cannot be given back, which time does too.
      await store.release(row.runId, row.token).catch(() => {});
      throw error;
    }
  }

  /** Folds an event and keeps it for the next commit. */
  stage(event: RunEvent): void {
    this.#expectWhole();
    applyEvent(this.state, event);
    this.#staged.push(event);
  }

  /** Keeps a dead letter, new or changed, for the next commit: it is stored with the events it belongs to, or not at all. */
  keep(deadLetter: DeadLetter): void {
    this.#deadLetters.push(deadLetter);
  }

  /** Takes a signal in with the next commit: it is kept no longer once its events are stored. */
  takeSignal(id: string): void {
    this.#signalsTaken.push(id);
  }

  /** Stores everything staged as one record. Resolves when it is durable; rejects when it is not stored. */
  async commit(): Promise<void> {
    while (this.#transaction !== null) await this.#transaction.catch(() => {});
    await this.#commit();
  }

  /**
   * Stores a step with work of the user's, in one transaction of the store: both are there, or neither. What the work
   * throws rejects this and breaks nothing. Meanwhile nothing else of the run is committed, since the next record hangs
   * on the one that the work makes.
   */
  async transact(work: (transaction: SqlTransaction) => StepCompleted): Promise<void> {
    while (this.#transaction !== null) await this.#transaction.catch(() => {});
    this.#transaction = this.#commit().then(() => this.#transact(work));
    try {
      await this.#transaction;
    } finally {
      this.#transaction = null;
    }
  }

  async #transact(work: (transaction: SqlTransaction) => StepCompleted): Promise<void> {
    const { runId, token } = this;
    const version = this.#version;
    const made: { event?: StepCompleted; checksum?: number; thrown?: { error: unknown } } = {};
    const within = (transaction: SqlTransaction): { body: Uint8Array; checksum: number } => {
      try {
        made.event = work(transaction);
      } catch (error) {
        made.thrown = { error };
        throw error;
      }
      const body = utf8Bytes(encodeEvents([made.event]));
      made.checksum = link(this.#checksum, version, body);
      return { body, checksum: made.checksum };
    };
    try {
      await this.#store.append({ runId, token, version, body: NOTHING, checksum: 0, within });
    } catch (error) {
      // The work has failed, or the store has no such transactions; the run goes on as if nothing had been asked.
      if (made.thrown?.error === error || codeOf(error) === "CONFIG") throw error;
      throw this.#break(error);
    }
    this.#version++;
    this.#checksum = made.checksum!;
    applyStep(this.state, made.event!);
    this.#expectWhole();
  }

  async #commit(): Promise<void> {
    this.#expectWhole();
    const events = this.#staged;
    if (events.length === 0) return;
    this.#staged = [];
    const deadLetters = this.#deadLetters;
    this.#deadLetters = [];
    const signalsTaken = this.#signalsTaken;
    this.#signalsTaken = [];
    const seq = this.#version++;
    const body = utf8Bytes(encodeEvents(events));
    this.#checksum = link(this.#checksum, seq, body);
    const { status } = this.state;
    const changed = status !== this.#storedStatus && status !== "new" ? status : undefined;
    this.#storedStatus = status;
    try {
      await this.#store.append({
        runId: this.runId,
        token: this.token,
        version: seq,
        body,
        checksum: this.#checksum,
        status: changed,
        ...(status === "waiting" && wakingOf(this.state)),
        deadLetters: deadLetters.length === 0 ? undefined : deadLetters,
        signalsTaken: signalsTaken.length === 0 ? undefined : signalsTaken,
      });
    } catch (error) {
      throw this.#break(error);
    }
    if (this.#runtime.events.emit !== null) announce(this.#runtime.events, this.runId, this.state, events, deadLetters);
    this.onCommitted();
    // It is stored, but whoever waits for it must not act on it any more.
    this.#expectWhole();
  }

  /** Stages one event and commits. */
  async record(event: RunEvent): Promise<void> {
    this.stage(event);
    await this.commit();
  }

  /** Refuses everything from now on: the lease is lost or the engine closes. */
  abandon(error: unknown): void {
    this.#break(error);
  }

  /** Whether it refuses everything: the run has stopped here. */
  get isBroken(): boolean {
    return this.#broken !== null;
  }

  release(): Promise<void> {
    return this.#store.release(this.runId, this.token);
  }

  #expectWhole(): void {
    if (this.#broken !== null) throw this.#broken.error;
  }

  #break(cause: unknown): unknown {
    if (this.#broken !== null) return this.#broken.error;
    const error =
      cause instanceof HoldfastError
        ? cause
        : new StoreUnavailableError(`The store failed while it wrote run "${this.runId}".`, cause);
    this.#broken = { error };
    if (error instanceof LeaseLostError)
      this.#runtime.events.emit?.("lease.lost", { runId: this.runId, token: this.token });
    this.onBroken(error);
    return error;
  }

  #replay(row: ClaimedRun, records: readonly IntactRecord[]): void {
    for (const { events, checksum } of records) {
      for (const event of events) applyEvent(this.state, event);
      this.#checksum = checksum;
      this.#version++;
    }
    if (this.#version > 0) this.#storedStatus = row.status;
  }

  // What comes after the damage cannot be trusted either: its chain hangs on the damaged record (C6.7).
  async #setAside(intact: number, found: number, written: number): Promise<void> {
    if (intact < found) await this.#store.setAside(this.runId, this.token, intact);
    const why = intact < found ? "its checksum does not fit its content and place" : vanishedTail(intact, written)!;
    this.#runtime.events.emit?.("journal.damaged", { runId: this.runId, seq: intact, why });
    if (intact > 0) return;
    throw new StoreCorruptError(
      `The journal of run "${this.runId}" is damaged from its first record on; nothing of it can be used. Start the work again under another run id.`,
    );
  }
}

/** A record that is what was written in its place, with what it says. */
export interface IntactRecord {
  readonly checksum: number;
  readonly events: readonly RunEvent[];
}

/** The records of a run up to the first one that is damaged or out of place. */
export function* intactRecords(runId: string, records: readonly StoredRecord[]): Generator<IntactRecord, void> {
  let checksum = firstLink(runId);
  for (const [i, record] of records.entries()) {
    checksum = link(checksum, i, record.body);
    if (record.seq !== i || record.checksum !== checksum) return;
    yield { checksum, events: decodeEvents(record.body) };
  }
}

/** What to say of a journal that ends before a record that is known to have been written; undefined for a whole one. */
export function vanishedTail(intact: number, written: number): string | undefined {
  if (intact >= written) return undefined;
  return `the newest ${written - intact} of ${written} records known to have been written are gone`;
}

/** Fields of events that are encoded values. */
export const VALUES: Partial<Record<RunEvent["kind"], string>> = {
  run_started: "input",
  invocation_completed: "output",
  step_completed: "output",
};

/**
 * Events as text: a line of JSON, then the encoded values one after the other, each named in the line by its length.
 * A value is already JSON, and putting it into JSON once more would double its quotes and its cost.
 */
function encodeEvents(events: readonly RunEvent[]): string {
  let values = "";
  const heads = events.map((event) => {
    const field = VALUES[event.kind];
    if (field === undefined) return event;
    const value = (event as unknown as Record<string, string>)[field]!;
    values += value;
    return { ...event, [field]: value.length };
  });
  return `${JSON.stringify(heads)}\n${values}`;
}

function decodeEvents(body: Uint8Array): RunEvent[] {
  const text = utf8Text(body);
  const newline = text.indexOf("\n");
  const heads = JSON.parse(text.slice(0, newline)) as RunEvent[];
  let from = newline + 1;
  for (const event of heads) {
    const field = VALUES[event.kind];
    if (field === undefined) continue;
    const values = event as unknown as Record<string, string | number>;
    values[field] = text.slice(from, (from += values[field] as number));
  }
  return heads;
}
