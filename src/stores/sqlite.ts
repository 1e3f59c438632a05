import { type Clock, systemClock } from "../core/clock.ts";
import { LeaseLostError, runHeldError, StoreUnavailableError } from "../core/errors.ts";
import { anything, checkOptions, durationMs, oneOf, type Rules } from "../core/options.ts";
import type { StoredRecord } from "../core/record.ts";
import type { SharedState } from "../core/shared-state.ts";
import {
  type Append,
  type Claim,
  type ClaimedRun,
  type DeadLetter,
  type DeadLetterFilter,
  type DeadLetterStatus,
  isEnded,
  newRun,
  type PruneFilter,
  type RunFilter,
  type RunRow,
  type Signal,
  type Store,
  takesSignals,
} from "../core/store.ts";
import { noLetters } from "./letters.ts";
import { noTakerError } from "./refusals.ts";
import { Appends, type KnownRuns } from "./sqlite-appends.ts";
import { SqliteFile } from "./sqlite-file.ts";
import { listLetters, listRuns } from "./sqlite-lists.ts";
import { LETTERS_AT_ONCE, prunableRuns, pruneRuns } from "./sqlite-retention.ts";
import { idText, prepareTables } from "./sqlite-schema.ts";
import { SqliteSharedState } from "./sqlite-shared-state.ts";
import { prepareStatements, rowOf, type SqliteStatements, type StoredRun } from "./sqlite-statements.ts";

export interface SqliteStoreOptions {
  /**
   * What an acknowledged write survives: `full` a loss of power, `relaxed` a crash of the process only, since nobody
   * waits for the disk. @default "full"
   */
  durability?: "full" | "relaxed" | undefined;
  /** How long to wait for another process to finish its write, which blocks this one. @default 2000 */
  busyTimeoutMs?: number | undefined;
  clock?: Clock | undefined;
}

const RULES: Rules<SqliteStoreOptions> = {
  durability: oneOf("full", "relaxed"),
  busyTimeoutMs: durationMs,
  clock: anything,
};

/**
 * Journals in one SQLite file. Every write that comes within a turn of the event loop shares one transaction, synced
 * to the disk before any of them resolves. Several processes may share the file. What was deleted leaves room in it
 * that is used again; the file does not shrink.
 *
 * Throws `StoreUnavailableError` for a file that cannot be opened, and `StoreCorruptError` for one that is no SQLite
 * database. A file that is read-only or locked can be read; it is the first write that rejects.
 */
export class SqliteStore implements Store {
  readonly durability: "full" | "relaxed";
  readonly location: string;
  readonly state: SharedState;
  readonly #clock: Clock;
  readonly #file: SqliteFile<SqliteStatements, Appends>;
  readonly #known: KnownRuns = { dataVersion: -1, runs: new Map() };

  constructor(path: string, options: SqliteStoreOptions = {}) {
    const given = checkOptions("SqliteStore", options, RULES);
    const { durability = "full", busyTimeoutMs = 2000, clock = systemClock } = given;
    if (typeof path !== "string" || path === "")
      throw new StoreUnavailableError("SqliteStore needs the path of a file.");
    this.durability = durability;
    this.#clock = clock;
    this.#file = new SqliteFile(path, busyTimeoutMs, clock, {
      synchronous: durability === "full" ? "FULL" : "NORMAL",
      prepare: (db) => {
        prepareTables(db);
        return prepareStatements(db);
      },
      begin: (statements) => new Appends(statements, this.#known, clock.wallNow()),
      finish: (appends) => appends.store(),
      // A run that was rolled back leaves its number to the next one, and versions that were counted are not stored.
      lost: () => this.#known.runs.clear(),
    });
    this.location = this.#file.path;
    this.state = new SqliteSharedState(this.location, { busyTimeoutMs, clock });
    this.#file.open();
  }

  claim(claim: Claim): Promise<ClaimedRun> {
    return this.#file.write((appends): ClaimedRun => {
      appends.store();
      const { runId, workflowId, owner, leaseMs, isDead, reopen } = claim;
      const { statements } = this.#file;
      const now = this.#clock.wallNow();
      const leaseUntil = now + leaseMs;
      const made = statements.createRun.run(idText(runId), idText(workflowId), owner, leaseUntil, now, now);
      if (Number(made.changes) === 1) {
        this.#known.runs.set(runId, { num: Number(made.lastInsertRowid), token: 1, version: 0, isRunning: true });
        return { ...newRun(runId, workflowId, now), token: 1, owner, leaseUntil, formerOwner: null };
      }
      const stored = statements.runById.get(idText(runId)) as StoredRun;
      const row = rowOf(stored);
      const formerOwner = row.owner;
      if (isEnded(row.status) && !reopen) return { ...row, formerOwner };
      if (row.owner !== null && row.owner !== owner && row.leaseUntil > now && !isDead(row.owner)) {
        throw runHeldError(runId, row.owner, row.leaseUntil - now);
      }
      const token = row.token + 1;
      statements.takeLease.run(token, owner, leaseUntil, stored.num);
      this.#known.runs.delete(runId);
      return { ...row, token, owner, leaseUntil, formerOwner };
    });
  }

  append(append: Append): Promise<void> {
    return this.#file.write((appends) => appends.add(append));
  }

  renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]> {
    return this.#file.write((): string[] => {
      const until = this.#clock.wallNow() + leaseMs;
      const { renew } = this.#file.statements;
      return runIds.filter((runId) => Number(renew.run(until, idText(runId), owner).changes) === 0);
    });
  }

  release(runId: string, token: number): Promise<void> {
    return this.#file.write((): void => {
      this.#known.runs.delete(runId);
      this.#file.statements.release.run(idText(runId), token);
    });
  }

  setAside(runId: string, token: number, seq: number): Promise<void> {
    return this.#file.write((appends): void => {
      appends.store();
      this.#known.runs.delete(runId);
      const { statements } = this.#file;
      const row = statements.runById.get(idText(runId)) as StoredRun | undefined;
      if (row === undefined || row.token !== token || row.owner === null) throw new LeaseLostError(runId, token);
      statements.copyAside.run(this.#clock.wallNow(), row.num, seq);
      statements.deleteFrom.run(row.num, seq);
      statements.forgetSnapshot.run(row.num, seq);
    });
  }

  async get(runId: string): Promise<RunRow | undefined> {
    return this.#file.read((statements) => {
      const row = statements.runById.get(idText(runId)) as StoredRun | undefined;
      return row === undefined ? undefined : rowOf(row);
    });
  }

  async read(runId: string, from = 0, to: number = Infinity): Promise<StoredRecord[]> {
    const records = this.#file.read(({ records }) => records.all(idText(runId), from, to)) as StoredRecord[];
    // libsql gives the bytes of a blob as a bare ArrayBuffer, node:sqlite as a Uint8Array.
    return records.map(({ seq, body, checksum }) => ({ seq, body: new Uint8Array(body), checksum }));
  }

  async list(filter: RunFilter = {}): Promise<RunRow[]> {
    return this.#file.read((statements) => listRuns(statements, filter));
  }

  async deadLetters(filter: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    return this.#file.read((statements) => listLetters(statements, filter));
  }

  async deadLetter(id: string): Promise<DeadLetter | undefined> {
    const row = this.#file.read((statements) => statements.deadLetter.get(idText(id))) as { body: string } | undefined;
    return row && (JSON.parse(row.body) as DeadLetter);
  }

  async deadLetterCounts(workflowId?: string): Promise<Record<DeadLetterStatus, number>> {
    const rows = this.#file.read(({ countLetters, countLettersOf }) =>
      workflowId === undefined ? countLetters.all() : countLettersOf.all(idText(workflowId)),
    ) as { status: DeadLetterStatus; count: number }[];
    const counts = noLetters();
    for (const { status, count } of rows) counts[status] = count;
    return counts;
  }

  async pruneDeadLetters(enteredBefore: number, workflowId?: string): Promise<number> {
    const workflow = workflowId === undefined ? null : idText(workflowId);
    let gone = 0;
    for (let more = true; more;) {
      const { changes } = await this.#file.write(() =>
        this.#file.statements.pruneLetters.run(enteredBefore, workflow, workflow, LETTERS_AT_ONCE),
      );
      gone += Number(changes);
      more = Number(changes) === LETTERS_AT_ONCE;
    }
    return gone;
  }

  signal(signal: Signal): Promise<void> {
    return this.#file.write((): void => {
      const { statements } = this.#file;
      const { runId, id } = signal;
      const now = this.#clock.wallNow();
      const row = statements.runById.get(idText(runId)) as StoredRun | undefined;
      if (row === undefined || !takesSignals(row.status)) throw noTakerError(runId, row?.status);
      const { changes } = statements.putSignal.run(row.num, idText(id), JSON.stringify(signal));
      if (Number(changes) > 0) statements.wake.run(now, now, row.num);
    });
  }

  async signals(of: { runId: string } | { owner: string }): Promise<Signal[]> {
    const rows = this.#file.read(({ signalsOfRun, signalsOfOwner }) =>
      "runId" in of ? signalsOfRun.all(idText(of.runId)) : signalsOfOwner.all(of.owner),
    ) as { body: string }[];
    return rows.map(({ body }) => JSON.parse(body) as Signal);
  }

  async prune(filter: PruneFilter): Promise<string[]> {
    if (filter.dryRun === true)
      return this.#file
        .read((statements) => prunableRuns(statements, filter, this.#clock.wallNow()))
        .map(({ runId }) => runId);
    return this.#file.write((appends): string[] => {
      appends.store();
      const gone = pruneRuns(this.#file.statements, filter, this.#clock.wallNow());
      for (const runId of gone) this.#known.runs.delete(runId);
      return gone;
    });
  }

  async close(): Promise<void> {
    this.#file.close();
    await this.state.close();
  }
}
