import { utf8Bytes, utf8Text } from "../core/bytes.ts";
import { LeaseLostError, StoreCorruptError, StoreUnavailableError, HoldfastError } from "../core/errors.ts";
import { firstLink, link, type StoredRecord } from "../core/record.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Claim, DeadLetter, RunRow, Store } from "../core/store.ts";
import { applyEvent, newRunState, type RunEvent, type RunState } from "../workflow/run-state.ts";
import { announce } from "./announce.ts";

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
  readonly #store: Store;
  readonly #runtime: Runtime;
  /** Told once, when a commit has failed. */
  onBroken: (error: unknown) => void = () => {};
  #broken: { error: unknown } | null = null;
  #staged: RunEvent[] = [];
  #deadLetters: DeadLetter[] = [];
  #version = 0;
  #checksum: number;
  #storedStatus: RunState["status"] = "new";

  private constructor(store: Store, runtime: Runtime, row: RunRow) {
    this.#store = store;
    this.#runtime = runtime;
    this.runId = row.runId;
    this.token = row.token;
    this.#checksum = firstLink(row.runId);
  }

  /** Claims the run, reads what is there, checks it and folds it. New, interrupted and finished runs take this one path. */
  static async open(store: Store, runtime: Runtime, claim: Claim): Promise<Journal> {
    const row = await store.claim(claim);
    const journal = new Journal(store, runtime, row);
    try {
      if (row.version > 0 || row.head.version > 0) await journal.#replay(row, await store.read(claim.runId));
    } catch (error) {
      await store.release(row.runId, row.token);
      throw error;
    }
    return journal;
  }

  /** Folds an event and keeps it for the next commit. */
  stage(event: RunEvent): void {
    if (this.#broken !== null) throw this.#broken.error;
    applyEvent(this.state, event);
    this.#staged.push(event);
  }

  /** Keeps a dead letter, new or changed, for the next commit: it is stored with the events it belongs to, or not at all. */
  keep(deadLetter: DeadLetter): void {
    this.#deadLetters.push(deadLetter);
  }

  /** Stores everything staged as one record. Resolves when it is durable; rejects when it is not stored. */
  async commit(): Promise<void> {
    if (this.#broken !== null) throw this.#broken.error;
    const events = this.#staged;
    if (events.length === 0) return;
    this.#staged = [];
    const deadLetters = this.#deadLetters;
    this.#deadLetters = [];
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
        deadLetters: deadLetters.length === 0 ? undefined : deadLetters,
      });
    } catch (error) {
      throw this.#break(error);
    }
    if (this.#runtime.events.emit !== null) announce(this.#runtime.events, this.runId, this.state, events, deadLetters);
  }

  /** Stages one event and commits. */
  record(event: RunEvent): Promise<void> {
    this.stage(event);
    return this.commit();
  }

  /** Refuses everything from now on: the lease is lost or the engine closes. */
  abandon(error: unknown): void {
    this.#break(error);
  }

  release(): Promise<void> {
    return this.#store.release(this.runId, this.token);
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

  async #replay(row: RunRow, records: StoredRecord[]): Promise<void> {
    for (const record of records) {
      const seq = this.#version;
      const checksum = link(this.#checksum, seq, record.body);
      if (record.seq !== seq || record.checksum !== checksum) {
        await this.#setAside(seq, "its checksum does not fit its content and place");
        break;
      }
      for (const event of decodeEvents(record.body)) applyEvent(this.state, event);
      this.#checksum = checksum;
      this.#version++;
    }
    if (this.#version < row.head.version) {
      const why = `the newest ${row.head.version - this.#version} of ${row.head.version} records known to have been written are gone`;
      this.#runtime.events.emit?.("journal.damaged", { runId: this.runId, seq: this.#version, why });
    }
    if (this.#version === 0) {
      throw new StoreCorruptError(
        `The journal of run "${this.runId}" is damaged from its first record on; nothing of it can be used. Start the work again under another run id.`,
      );
    }
    this.#storedStatus = row.status;
  }

  // What comes after the damage cannot be trusted either: its chain hangs on the damaged record (C6.7).
  async #setAside(seq: number, why: string): Promise<void> {
    await this.#store.setAside(this.runId, this.token, seq);
    this.#runtime.events.emit?.("journal.damaged", { runId: this.runId, seq, why });
  }
}

/**
 * Events as text: a line of JSON, then the encoded values one after the other, each named in the line by its length.
 * A value is already JSON, and putting it into JSON once more would double its quotes and its cost.
 */
function encodeEvents(events: readonly RunEvent[]): string {
  let values = "";
  const heads = events.map((event) => {
    if (event.kind === "invocation_completed") {
      values += event.output;
      return { ...event, output: event.output.length };
    }
    if (event.kind === "run_started") {
      values += event.input;
      return { ...event, input: event.input.length };
    }
    return event;
  });
  return `${JSON.stringify(heads)}\n${values}`;
}

function decodeEvents(body: Uint8Array): RunEvent[] {
  const text = utf8Text(body);
  const newline = text.indexOf("\n");
  const heads = JSON.parse(text.slice(0, newline)) as RunEvent[];
  let from = newline + 1;
  const next = (length: number): string => text.slice(from, (from += length));
  for (const event of heads) {
    if (event.kind === "invocation_completed") event.output = next(event.output as unknown as number);
    else if (event.kind === "run_started") event.input = next(event.input as unknown as number);
  }
  return heads;
}
