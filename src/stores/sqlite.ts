import { type Clock, systemClock } from "../core/clock.ts";
import { LeaseLostError, runHeldError, StoreUnavailableError } from "../core/errors.ts";
import { checkOptions, durationMs, type Rules, anything } from "../core/options.ts";
import type { StoredRecord } from "../core/record.ts";
import {
  type Append,
  type Claim,
  type ClaimedRun,
  type DeadLetter,
  type DeadLetterFilter,
  isEnded,
  newRun,
  type RunFilter,
  type RunRow,
  type Store,
} from "../core/store.ts";
import { Appends, type KnownRuns } from "./sqlite-appends.ts";
import { SqliteFile } from "./sqlite-file.ts";
import {
  createSchema,
  idOf,
  idText,
  prepareStatements,
  type SqliteStatements,
  type StoredRun,
} from "./sqlite-schema.ts";

export interface SqliteStoreOptions {
  /** How long to wait for another process to finish its write, which blocks this one. @default 2000 */
  busyTimeoutMs?: number | undefined;
  clock?: Clock | undefined;
}

const RULES: Rules<SqliteStoreOptions> = { busyTimeoutMs: durationMs, clock: anything };

/**
 * Journals in one SQLite file. Every write that comes within a turn of the event loop shares one transaction, synced
 * to the disk before any of them resolves. Several processes may share the file.
 *
 * Throws `StoreUnavailableError` for a file that cannot be opened, and `StoreCorruptError` for one that is no SQLite
 * database. A file that is read-only or locked can be read; it is the first write that rejects.
 */
export class SqliteStore implements Store {
  readonly durability = "full";
  readonly location: string;
  readonly #clock: Clock;
  readonly #file: SqliteFile<SqliteStatements, Appends>;
  readonly #known: KnownRuns = { dataVersion: -1, runs: new Map() };

  constructor(path: string, options: SqliteStoreOptions = {}) {
    const { busyTimeoutMs = 2000, clock = systemClock } = checkOptions("SqliteStore", options, RULES);
    if (typeof path !== "string" || path === "")
      throw new StoreUnavailableError("SqliteStore needs the path of a file.");
    this.#clock = clock;
    this.#file = new SqliteFile(path, busyTimeoutMs, clock, {
      prepare: (db) => {
        createSchema(db);
        return prepareStatements(db);
      },
      begin: (statements) => new Appends(statements, this.#known, clock.wallNow()),
      finish: (appends) => appends.store(),
      // A run that was rolled back leaves its number to the next one, and versions that were counted are not stored.
      lost: () => this.#known.runs.clear(),
    });
    this.location = this.#file.path;
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
        this.#known.runs.set(runId, { num: Number(made.lastInsertRowid), token: 1, version: 0 });
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
    });
  }

  async get(runId: string): Promise<RunRow | undefined> {
    return this.#file.read((statements) => {
      const row = statements.runById.get(idText(runId)) as StoredRun | undefined;
      return row === undefined ? undefined : rowOf(row);
    });
  }

  async read(runId: string): Promise<StoredRecord[]> {
    const records = this.#file.read((statements) => statements.records.all(idText(runId))) as StoredRecord[];
    // libsql gives the bytes of a blob as a bare ArrayBuffer, node:sqlite as a Uint8Array.
    return records.map(({ seq, body, checksum }) => ({ seq, body: new Uint8Array(body), checksum }));
  }

  async list({ workflowId, status, limit = 100 }: RunFilter = {}): Promise<RunRow[]> {
    const rows = this.#file.read((statements) => statements.runs.all(...filters(workflowId, status), sqlLimit(limit)));
    return (rows as StoredRun[]).map(rowOf);
  }

  async deadLetters({ workflowId, nodeId, runId, status, limit = 100 }: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    const values = [...filters(workflowId, nodeId, runId, status), sqlLimit(limit)];
    const rows = this.#file.read((statements) => statements.deadLetters.all(...values)) as { body: string }[];
    return rows.map(({ body }) => JSON.parse(body) as DeadLetter);
  }

  async deadLetter(id: string): Promise<DeadLetter | undefined> {
    const row = this.#file.read((statements) => statements.deadLetter.get(id)) as { body: string } | undefined;
    return row && (JSON.parse(row.body) as DeadLetter);
  }

  async close(): Promise<void> {
    this.#file.close();
  }
}

// Field by field, since libsql adds fields of its own to what it gives.
function rowOf(row: StoredRun): RunRow {
  const { status, token, owner, leaseUntil, createdAt, updatedAt, version, headVersion, headChecksum } = row;
  return {
    runId: idOf(row.runId),
    workflowId: idOf(row.workflowId),
    status,
    token,
    owner,
    leaseUntil,
    createdAt,
    updatedAt,
    version,
    head: { version: headVersion, checksum: headChecksum },
  };
}

// The statements ask twice for each value: whether there is one, and whether it is the same.
function filters(...values: (string | undefined)[]): (string | null)[] {
  return values.map((value) => (value === undefined ? null : idText(value))).flatMap((value) => [value, value]);
}

// SQLite takes whole numbers only; a negative one means all.
function sqlLimit(limit: number): number {
  return limit === Infinity ? -1 : limit;
}
