import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Clock, systemClock } from "../core/clock.ts";
import { HoldfastError, LeaseLostError, runHeldError, StoreUnavailableError } from "../core/errors.ts";
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
import { openDriver, type SqliteDriver, sqliteError } from "./sqlite-driver.ts";
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

/** A write that waits for the next transaction. Those that come together share one. */
interface Pending {
  write: (appends: Appends) => unknown;
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}

interface Connection {
  db: SqliteDriver;
  statements: SqliteStatements;
}

/**
 * Journals in one SQLite file. Every write that comes within a turn of the event loop shares one transaction, synced
 * to the disk before any of them resolves (`synchronous=FULL`, set explicitly and read back: some bindings mean
 * NORMAL, which loses acknowledged commits at power loss). Several processes may share the file.
 *
 * Throws `StoreUnavailableError` for a file that cannot be opened, and `StoreCorruptError` for one that is no SQLite
 * database. A file that is read-only or locked can be read; it is the first write that rejects. A commit that failed is never tried again on the same connection: what a failed
 * sync has left behind is unknown, so the next write opens the file anew (Rebello et al., "Can Applications Recover
 * from fsync Failures?", 2020).
 */
export class SqliteStore implements Store {
  readonly durability = "full";
  readonly location: string;
  readonly #clock: Clock;
  readonly #busyTimeoutMs: number;
  #connection: Connection | null;
  #pending: Pending[] = [];
  #closed = false;
  readonly #known: KnownRuns = { dataVersion: -1, runs: new Map() };

  constructor(path: string, options: SqliteStoreOptions = {}) {
    const { busyTimeoutMs = 2000, clock = systemClock } = checkOptions("SqliteStore", options, RULES);
    if (typeof path !== "string" || path === "")
      throw new StoreUnavailableError("SqliteStore needs the path of a file.");
    this.location = resolve(path);
    this.#clock = clock;
    this.#busyTimeoutMs = busyTimeoutMs;
    this.#connection = this.#open();
  }

  claim(claim: Claim): Promise<ClaimedRun> {
    return this.#write((appends): ClaimedRun => {
      appends.store();
      const { runId, workflowId, owner, leaseMs, isDead, reopen } = claim;
      const { statements } = this.#connected();
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
    return this.#write((appends) => appends.add(append));
  }

  renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]> {
    return this.#write((): string[] => {
      const until = this.#clock.wallNow() + leaseMs;
      const { renew } = this.#connected().statements;
      return runIds.filter((runId) => Number(renew.run(until, idText(runId), owner).changes) === 0);
    });
  }

  release(runId: string, token: number): Promise<void> {
    return this.#write((): void => {
      this.#known.runs.delete(runId);
      this.#connected().statements.release.run(idText(runId), token);
    });
  }

  setAside(runId: string, token: number, seq: number): Promise<void> {
    return this.#write((appends): void => {
      appends.store();
      this.#known.runs.delete(runId);
      const { statements } = this.#connected();
      const row = statements.runById.get(idText(runId)) as StoredRun | undefined;
      if (row === undefined || row.token !== token || row.owner === null) throw new LeaseLostError(runId, token);
      statements.copyAside.run(this.#clock.wallNow(), row.num, seq);
      statements.deleteFrom.run(row.num, seq);
    });
  }

  async get(runId: string): Promise<RunRow | undefined> {
    return this.#read(({ statements }) => {
      const row = statements.runById.get(idText(runId)) as StoredRun | undefined;
      return row === undefined ? undefined : rowOf(row);
    });
  }

  async read(runId: string): Promise<StoredRecord[]> {
    const records = this.#read(({ statements }) => statements.records.all(idText(runId))) as StoredRecord[];
    // libsql gives the bytes of a blob as a bare ArrayBuffer, node:sqlite as a Uint8Array.
    return records.map(({ seq, body, checksum }) => ({ seq, body: new Uint8Array(body), checksum }));
  }

  async list({ workflowId, status, limit = 100 }: RunFilter = {}): Promise<RunRow[]> {
    const rows = this.#read(({ statements }) => statements.runs.all(...filters(workflowId, status), sqlLimit(limit)));
    return (rows as StoredRun[]).map(rowOf);
  }

  async deadLetters({ workflowId, nodeId, runId, status, limit = 100 }: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    const values = [...filters(workflowId, nodeId, runId, status), sqlLimit(limit)];
    const rows = this.#read(({ statements }) => statements.deadLetters.all(...values)) as { body: string }[];
    return rows.map(({ body }) => JSON.parse(body) as DeadLetter);
  }

  async deadLetter(id: string): Promise<DeadLetter | undefined> {
    const row = this.#read(({ statements }) => statements.deadLetter.get(id)) as { body: string } | undefined;
    return row && (JSON.parse(row.body) as DeadLetter);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.#pending.length > 0) this.#flush();
    this.#closed = true;
    const connection = this.#connection;
    this.#connection = null;
    if (connection === null) return;
    try {
      // Leaves everything in the one file where nobody else has it open; where somebody does, they will do it. With
      // libsql, empty files beside it stay until the statements are collected: they cannot be closed by hand.
      connection.db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // The log holds everything that was acknowledged; it is only not tidied up.
    }
    connection.db.close();
  }

  #write<T>(write: (appends: Appends) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(this.#closedError());
      if (this.#pending.length === 0) this.#clock.afterTurn(() => this.#flush());
      this.#pending.push({ write, resolve: resolve as (value: never) => void, reject });
    });
  }

  /** One transaction for everything pending. A write that is refused has written nothing and leaves the others alone. */
  #flush(): void {
    const batch = this.#pending;
    this.#pending = [];
    if (batch.length === 0) return;
    const settle: (() => void)[] = [];
    try {
      const { statements } = this.#connected();
      statements.begin.run();
      const appends = new Appends(statements, this.#known, this.#clock.wallNow());
      for (const { write, resolve, reject } of batch) {
        try {
          const value = write(appends);
          settle.push(() => resolve(value as never));
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          settle.push(() => reject(error));
        }
      }
      appends.store();
      statements.commit.run();
    } catch (error) {
      this.#disconnect();
      const typed = error instanceof HoldfastError ? error : sqliteError(this.location, "write to", error);
      for (const { reject } of batch) reject(typed);
      return;
    }
    for (const done of settle) done();
  }

  #read<T>(read: (connection: Connection) => T): T {
    if (this.#closed) throw this.#closedError();
    const connection = this.#connected();
    try {
      return read(connection);
    } catch (error) {
      throw sqliteError(this.location, "read", error);
    }
  }

  #connected(): Connection {
    return (this.#connection ??= this.#open());
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = null;
    // A run that was rolled back leaves its number to the next one, and versions that were counted are not stored.
    this.#known.runs.clear();
    try {
      connection?.db.exec("ROLLBACK");
    } catch {
      // SQLite has rolled back by itself, or never began.
    }
    try {
      connection?.db.close();
    } catch {
      // A handle that cannot even be closed is left to the garbage collector.
    }
  }

  #open(): Connection {
    let db: SqliteDriver | undefined;
    try {
      const newNames = createFile(this.location);
      db = openDriver(this.location);
      db.exec(`PRAGMA busy_timeout=${Math.ceil(this.#busyTimeoutMs)}`);
      db.exec("PRAGMA journal_mode=WAL");
      db.exec("PRAGMA synchronous=FULL");
      const { synchronous } = db.prepare("PRAGMA synchronous").get() as { synchronous: number };
      if (synchronous !== 2)
        throw new Error(`PRAGMA synchronous is ${synchronous}, not 2 (FULL), although it was set.`);
      createSchema(db);
      newNames.forEach(syncFolder);
      return { db, statements: prepareStatements(db) };
    } catch (error) {
      db?.close();
      throw error instanceof HoldfastError ? error : sqliteError(this.location, "open", error);
    }
  }

  #closedError(): StoreUnavailableError {
    return new StoreUnavailableError(`The store ${this.location} is closed.`);
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

/**
 * Makes the file where there is none, readable by its owner only; SQLite gives its log files the same mode. Gives the
 * folders that have got a new name in them: a crash right after may take it away again, with what was acknowledged
 * into the file, until the folder is synced.
 */
function createFile(path: string): string[] {
  const folder = dirname(path);
  const outermost = mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return [];
    throw error;
  }
  const folders = [folder];
  for (let made = folder; outermost !== undefined && folders[0] !== dirname(outermost); made = dirname(made)) {
    folders.unshift(dirname(made));
  }
  return folders;
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
