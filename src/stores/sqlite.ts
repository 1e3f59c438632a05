import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Clock, systemClock } from "../core/clock.ts";
import {
  HoldfastError,
  LeaseLostError,
  runHeldError,
  StoreUnavailableError,
  versionConflictError,
} from "../core/errors.ts";
import { checkOptions, durationMs, type Rules, anything } from "../core/options.ts";
import type { StoredRecord } from "../core/record.ts";
import {
  type Append,
  type Claim,
  type DeadLetter,
  type DeadLetterFilter,
  isEnded,
  type RunFilter,
  type RunRow,
  type Store,
} from "../core/store.ts";
import { openDriver, type SqliteDriver, sqliteError } from "./sqlite-driver.ts";
import { createSchema, prepareStatements, type SqliteStatements, type StoredRun } from "./sqlite-schema.ts";

export interface SqliteStoreOptions {
  /** How long to wait for another process to finish its write, which blocks this one. @default 2000 */
  busyTimeoutMs?: number | undefined;
  clock?: Clock | undefined;
}

const RULES: Rules<SqliteStoreOptions> = { busyTimeoutMs: durationMs, clock: anything };

/** A write that waits for the next transaction. */
interface Pending {
  write: () => unknown;
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
 * Throws `StoreUnavailableError` for a file that cannot be opened, is read-only or locked, and `StoreCorruptError`
 * for one that is no SQLite database. A commit that failed is never tried again on the same connection: what a failed
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
  /** Row numbers of runs that were claimed here. */
  readonly #numbers = new Map<string, number>();

  constructor(path: string, options: SqliteStoreOptions = {}) {
    const { busyTimeoutMs = 2000, clock = systemClock } = checkOptions("SqliteStore", options, RULES);
    if (typeof path !== "string" || path === "")
      throw new StoreUnavailableError("SqliteStore needs the path of a file.");
    this.location = resolve(path);
    this.#clock = clock;
    this.#busyTimeoutMs = busyTimeoutMs;
    this.#connection = this.#open();
  }

  claim(claim: Claim): Promise<RunRow> {
    return this.#write((): RunRow => {
      const { runId, workflowId, owner, leaseMs, isDead, reopen } = claim;
      const { statements } = this.#connected();
      const now = this.#clock.wallNow();
      statements.createRun.run(runId, workflowId, now, now);
      const row = rowOf(statements.runById.get(runId) as StoredRun);
      this.#numbers.set(runId, row.num);
      if (isEnded(row.status) && !reopen) return row;
      if (row.owner !== null && row.owner !== owner && row.leaseUntil > now && !isDead(row.owner)) {
        throw runHeldError(runId, row.owner, row.leaseUntil - now);
      }
      const lease = { token: row.token + 1, owner, leaseUntil: now + leaseMs };
      statements.takeLease.run(lease.token, owner, lease.leaseUntil, row.num);
      return { ...row, ...lease };
    });
  }

  append(append: Append): Promise<void> {
    return this.#write((): void => {
      const { runId, token, version, body, checksum, status, deadLetters } = append;
      const { statements } = this.#connected();
      const num = this.#numberOf(runId, token);
      // The fence and the version are part of the statement that stores: there is no moment between check and write.
      const { changes } = statements.append.run(version, checksum, body, num, token, version);
      if (Number(changes) !== 1) throw this.#refusal(runId, token, version);
      if (status !== undefined) {
        const ends = isEnded(status) ? 1 : 0;
        statements.setStatus.run(status, this.#clock.wallNow(), version + 1, checksum, ends, ends, num);
      }
      for (const letter of deadLetters ?? []) {
        const { id, workflowId, nodeId, status: state, timestamp } = letter;
        statements.putDeadLetter.run(id, num, workflowId, nodeId, state, timestamp, JSON.stringify(letter));
      }
    });
  }

  renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]> {
    return this.#write((): string[] => {
      const until = this.#clock.wallNow() + leaseMs;
      const { statements } = this.#connected();
      return runIds.filter(
        (runId) => Number(statements.renew.run(until, this.#numberOf(runId, 0), owner).changes) === 0,
      );
    });
  }

  release(runId: string, token: number): Promise<void> {
    return this.#write((): void => void this.#connected().statements.release.run(this.#numberOf(runId, token), token));
  }

  setAside(runId: string, token: number, seq: number): Promise<void> {
    return this.#write((): void => {
      const { statements } = this.#connected();
      const num = this.#numberOf(runId, token);
      if (Number((statements.tokenOf.get(num) as { token: number }).token) !== token)
        throw new LeaseLostError(runId, token);
      statements.copyAside.run(this.#clock.wallNow(), num, seq);
      statements.deleteFrom.run(num, seq);
    });
  }

  async get(runId: string): Promise<RunRow | undefined> {
    return this.#read(({ statements }) => {
      const row = statements.runById.get(runId) as StoredRun | undefined;
      return row === undefined ? undefined : rowOf(row);
    });
  }

  async read(runId: string): Promise<StoredRecord[]> {
    return this.#read(({ statements }) => statements.records.all(runId) as StoredRecord[]);
  }

  async list({ workflowId, status, limit = 100 }: RunFilter = {}): Promise<RunRow[]> {
    const rows = this.#read(({ statements }) =>
      statements.runs.all(workflowId ?? null, workflowId ?? null, status ?? null, status ?? null, limit),
    );
    return (rows as StoredRun[]).map(rowOf);
  }

  async deadLetters({ workflowId, nodeId, runId, status, limit = 100 }: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    const filter = [workflowId, nodeId, runId, status].flatMap((value) => [value ?? null, value ?? null]);
    const rows = this.#read(({ statements }) => statements.deadLetters.all(...filter, limit)) as { body: string }[];
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
      // Leaves one file behind where nobody else has it open; where somebody does, they will do it.
      connection.db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // The log holds everything that was acknowledged; it is only not tidied up.
    }
    connection.db.close();
  }

  #write<T>(write: () => T): Promise<T> {
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
      const { db } = this.#connected();
      db.exec("BEGIN IMMEDIATE");
      for (const { write, resolve, reject } of batch) {
        try {
          const value = write();
          settle.push(() => resolve(value as never));
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          settle.push(() => reject(error));
        }
      }
      db.exec("COMMIT");
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

  #numberOf(runId: string, token: number): number {
    const known = this.#numbers.get(runId);
    if (known !== undefined) return known;
    const row = this.#connected().statements.runById.get(runId) as StoredRun | undefined;
    if (row === undefined) throw new LeaseLostError(runId, token);
    this.#numbers.set(runId, row.num);
    return row.num;
  }

  #refusal(runId: string, token: number, version: number): HoldfastError {
    const row = this.#connected().statements.runById.get(runId) as StoredRun | undefined;
    if (row === undefined || row.token !== token || row.owner === null) return new LeaseLostError(runId, token);
    return versionConflictError(runId, version, row.version);
  }

  #connected(): Connection {
    return (this.#connection ??= this.#open());
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = null;
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
      const isNew = createFile(this.location);
      db = openDriver(this.location);
      db.exec(`PRAGMA busy_timeout=${Math.ceil(this.#busyTimeoutMs)}`);
      db.exec("PRAGMA journal_mode=WAL");
      db.exec("PRAGMA synchronous=FULL");
      const { synchronous } = db.prepare("PRAGMA synchronous").get() as { synchronous: number };
      if (synchronous !== 2)
        throw new Error(`PRAGMA synchronous is ${synchronous}, not 2 (FULL), although it was set.`);
      // A crash right after a file was created may take its name with it, and what was acknowledged into it.
      createSchema(db);
      if (isNew) syncFolder(dirname(this.location));
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

function rowOf(row: StoredRun): RunRow & { num: number } {
  const { headVersion, headChecksum, ...rest } = row;
  return { ...rest, head: { version: headVersion, checksum: headChecksum } };
}

/** Makes the file where there is none, readable by its owner only; SQLite gives its log files the same mode. */
function createFile(path: string): boolean {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    closeSync(openSync(path, "wx", 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
