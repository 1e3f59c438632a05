import { utf8Bytes } from "../core/bytes.ts";
import { codeOf, LeaseLostError, StoreCorruptError, StoreUnavailableError, HoldfastError } from "../core/errors.ts";
import { link, type StoredRecord } from "../core/record.ts";
import type { Runtime } from "../core/runtime.ts";
import {
  type Claim,
  type ClaimedRun,
  type DeadLetter,
  isEnded,
  type RunStatus,
  type Snapshot,
  type SqlTransaction,
  type Store,
} from "../core/store.ts";
import { applyEvent, applyStep } from "../workflow/apply-event.ts";
import { newRunState, type RunEvent, type RunState, type StepCompleted, wakingOf } from "../workflow/run-state.ts";
import { announce } from "./announce.ts";
import { JournaledValues, notesOf, placeOf, readNoted, replaceNotes } from "./noted-values.ts";
import { encodeEvents, type IntactRecord, intactRecords, startOf, vanishedTail } from "./records.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot.ts";
import { type SnapshotOptions, SnapshotSchedule } from "./snapshot-schedule.ts";

const NOTHING = new Uint8Array();

/**
 * The journal of one run, held under a lease. Events are staged, which folds them into the state, and committed, which
 * stores all that is staged as one record. Whoever awaits a commit may believe what was staged before it; commits
 * resolve in order. After a commit has failed the state is ahead of the store: the journal then refuses everything,
 * and the run is read anew by whoever resumes it.
 */
export class Journal {
  readonly state: RunState;
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
  /** Whether the state may have notes in the place of values. */
  readonly isNoted: boolean;
  readonly #values = new JournaledValues();
  readonly #snapshots: SnapshotSchedule;
  #signalsTaken: string[] = [];
  #version: number;
  #checksum: number;
  #storedStatus: RunState["status"] = "new";
  /** The transaction with work of the user's that is under way. */
  #transaction: Promise<void> | null = null;

  private constructor(
    store: Store,
    runtime: Runtime,
    row: ClaimedRun,
    { owner, snapshots = {} }: JournalClaim,
    { state, snapshot, found }: Beginning,
  ) {
    this.#store = store;
    this.#runtime = runtime;
    this.runId = row.runId;
    this.token = row.token;
    this.takenOver = row.formerOwner !== null && row.formerOwner !== owner;
    this.state = state;
    this.isNoted = snapshot !== null;
    const { seq, previous } = startOf(row.runId, snapshot);
    this.#snapshots = new SnapshotSchedule(snapshots, snapshot === null ? 0 : found[0]!.body.length, seq);
    this.#version = seq;
    this.#checksum = previous;
  }

  /**
   * Claims the run, reads what is there, checks it and folds it. New, interrupted and finished runs take this one path.
   * A long run is read from its newest snapshot on; one that has ended is read whole, since its result is asked of it.
   */
  static async open(store: Store, runtime: Runtime, claim: JournalClaim): Promise<Journal> {
    const row = await store.claim(claim);
    try {
      const isWhole = claim.isWhole === true || (isEnded(row.status) && !claim.reopen);
      const beginning = (isWhole ? undefined : await fromSnapshot(store, row)) ?? (await fromStart(store, row));
      const { snapshot, found } = beginning;
      const start = startOf(row.runId, snapshot);
      const intact = [...intactRecords(found, start, snapshot === null ? row.snapshot : null)];
      const whole = start.seq + intact.length;
      const isDamaged = whole < Math.max(start.seq + found.length, row.head.version);
      // A run that had ended is claimed without a lease; what is left of a damaged one has to be carried on under one.
      if (isDamaged && isEnded(row.status) && !claim.reopen) {
        const reopened = await Journal.open(store, runtime, { ...claim, reopen: true, isWhole: true });
        // Where it had ended nevertheless, nobody will work on it and give the lease back.
        if (isEnded(reopened.state.status as RunStatus)) await reopened.release();
        return reopened;
      }
      const journal = new Journal(store, runtime, row, claim, beginning);
      const useless = intact.findIndex((record) => record.isDamaged);
      if (useless >= 0)
        journal.#report(useless, "the snapshot in it is damaged; what it said is taken from the events");
      if (isDamaged) await journal.#setAside(whole, start.seq + found.length, row.head.version);
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
  commit(): Promise<void> {
    return this.#transaction === null ? this.#commit() : this.#commitLater();
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
    this.#values.add(version, [made.event!]);
    this.#snapshots.count(1);
    this.#expectWhole();
  }

  async #commitLater(): Promise<void> {
    while (this.#transaction !== null) await this.#transaction.catch(() => {});
    await this.#commit();
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
    // One that woke for nothing and waits again has the same status, but gives its lease back and waits anew.
    const isNews = status !== this.#storedStatus || status === "waiting";
    const changed = isNews && status !== "new" ? status : undefined;
    this.#storedStatus = status;
    this.#values.add(seq, events);
    this.#snapshots.count(events.length);
    try {
      const stored = this.#store.append({
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
      // Asked for at once, so that both are stored in one go. Whoever parks or ends the run has given its lease back.
      if (status === "running" && this.#snapshots.isDue) await Promise.all([stored, this.#takeSnapshot()]);
      else await stored;
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

  /**
   * Reads in what a snapshot has only noted: the outputs of invocations and of the steps that they have made. Whoever
   * works on outputs of an earlier life asks for them first.
   */
  async load(keys: Iterable<string>): Promise<void> {
    if (!this.isNoted) return;
    const noted = new Map(Array.from(keys, (key) => [key, notesOf(this.state, key)]));
    const notes = [...new Set([...noted.values()].flat())];
    if (notes.length === 0) return;
    const values = await readNoted(this.#store, this.runId, notes);
    const lost = notes.filter((note) => !values.has(note)).map((note) => placeOf(note).seq);
    if (lost.length > 0) throw await this.#loseValue(Math.min(...lost));
    this.#values.learn(values);
    for (const key of noted.keys()) replaceNotes(this.state, key, values);
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
      this.#values.add(this.#version, events);
      this.#snapshots.count(events.length);
      this.#checksum = checksum;
      this.#version++;
    }
    if (this.#version > 0) this.#storedStatus = row.status;
  }

  /** Stores the whole state as a record of its own, where it is small enough by now. */
  #takeSnapshot(): Promise<void> | null {
    const body = encodeSnapshot(this.#values.noted(this.state));
    if (!this.#snapshots.take(body.length)) return null;
    const snapshotAfter = this.#checksum;
    const version = this.#version++;
    this.#checksum = link(snapshotAfter, version, body);
    const { runId, token } = this;
    return this.#store.append({ runId, token, version, body, checksum: this.#checksum, snapshotAfter });
  }

  /** What a snapshot had only noted is damaged: the run goes on from before it when it is taken up again (C6.7). */
  async #loseValue(seq: number): Promise<unknown> {
    const error = new StoreCorruptError(
      `Record ${seq} of run "${this.runId}" is damaged, and a value in it is needed. Run it again with the same id: it goes on from what was recorded before.`,
    );
    this.#report(seq, "a value that is needed from it does not fit its checksum");
    await this.#store.setAside(this.runId, this.token, seq);
    return this.#break(error);
  }

  // What comes after the damage cannot be trusted either: its chain hangs on the damaged record (C6.7).
  async #setAside(intact: number, found: number, written: number): Promise<void> {
    if (intact < found) await this.#store.setAside(this.runId, this.token, intact);
    const why = intact < found ? "its checksum does not fit its content and place" : vanishedTail(intact, written)!;
    this.#report(intact, why);
    if (intact > 0) return;
    throw new StoreCorruptError(
      `The journal of run "${this.runId}" is damaged from its first record on; nothing of it can be used. Start the work again under another run id.`,
    );
  }

  #report(seq: number, why: string): void {
    this.#runtime.events.emit?.("journal.damaged", { runId: this.runId, seq, why });
  }
}

/** A claim on a run to open its journal. */
export interface JournalClaim extends Claim {
  readonly snapshots?: SnapshotOptions | undefined;
  /** Read all of it, also where there is a snapshot. */
  readonly isWhole?: boolean;
}

/** What a journal is read from: nothing, or the state of a snapshot, and the records from there on. */
interface Beginning {
  readonly state: RunState;
  readonly snapshot: Snapshot | null;
  readonly found: readonly StoredRecord[];
}

async function fromStart(store: Store, { runId, version, head }: ClaimedRun): Promise<Beginning> {
  const isNew = version === 0 && head.version === 0;
  return { state: newRunState(), snapshot: null, found: isNew ? [] : await store.read(runId) };
}

/** The newest snapshot, where there is one and it can be used. */
async function fromSnapshot(store: Store, { runId, snapshot }: ClaimedRun): Promise<Beginning | undefined> {
  if (snapshot === null) return undefined;
  const found = await store.read(runId, snapshot.seq);
  const [first] = intactRecords(found.slice(0, 1), snapshot);
  const state = first && decodeSnapshot(first.body);
  return state && { state, snapshot, found };
}
