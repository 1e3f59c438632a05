import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Clock, Timer } from "../core/clock.ts";
import { HoldfastError, StoreUnavailableError } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import { isBusy, isConstraint, openDriver, type SqliteDriver, sqliteError } from "./sqlite-driver.ts";

/** What is kept in a file: how a connection is prepared for it, and what goes with each of its transactions. */
export interface SqliteUse<S, T> {
  /** Whether a commit waits for the disk: it does, unless this is `NORMAL`. */
  readonly synchronous?: "FULL" | "NORMAL";
  /** Makes the tables where they are missing, and the statements. */
  prepare(db: SqliteDriver): S;
  /** Called in each transaction before its writes: what it gives goes to them. */
  begin(statements: S): T;
  /** Called after the writes, before the commit. */
  finish(transaction: T): void;
  /** A transaction was rolled back, and what was known of the file with it. */
  lost?(): void;
}

/** Thrown by a write for an error that is none of the transaction: the write rejects with it. */
export class Refusal {
  readonly error: unknown;
  /** What is left of the transaction: all but this write, or nothing. */
  readonly left: "the others" | "nothing";

  constructor(error: unknown, left: "the others" | "nothing" = "the others") {
    this.error = error;
    this.left = left;
  }
}

/** A write that waits for the next transaction. Those that come together share one. */
interface Pending<T> {
  write: (transaction: T) => unknown;
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}

/** How long to leave a file alone that another process is writing, at most; spread, so that they do not meet again. */
const BUSY_PAUSE_MS = 10;

/** What `PRAGMA synchronous` says of the words that it is set by. */
const SYNCHRONOUS = { NORMAL: 1, FULL: 2 };

interface Connection<S> {
  db: SqliteDriver;
  statements: S;
}

/**
 * One SQLite file. Every write that comes within a turn of the event loop shares one transaction, synced to the disk
 * before any of them resolves (`synchronous=FULL`, set explicitly and read back: some bindings mean NORMAL, which loses
 * acknowledged commits at power loss; whoever wants that says so). Several processes may share the file.
 *
 * SQLite waits for another writer with the whole thread, and one that was stopped in the middle of a transaction would
 * stop the event loops of all others with it. So only opening, reading and closing wait that way. A write that finds
 * the file locked tries again from a timer, for as long as the busy timeout says.
 *
 * A commit that failed is never tried again on the same connection: what a failed sync has left behind is unknown, so
 * the next write opens the file anew (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
 */
export class SqliteFile<S, T> {
  readonly path: string;
  readonly #use: SqliteUse<S, T>;
  readonly #clock: Clock;
  readonly #busyTimeoutMs: number;
  #connection: Connection<S> | null = null;
  #pending: Pending<T>[] = [];
  /** Since when the writes that are pending find the file locked. */
  #busySince: number | null = null;
  #retry: Timer | null = null;
  /** How many of the pending writes get a transaction of their own, so that the one that spoils it is found. */
  #alone = 0;
  #closed = false;

  constructor(path: string, busyTimeoutMs: number, clock: Clock, use: SqliteUse<S, T>) {
    this.path = resolve(path);
    this.#busyTimeoutMs = busyTimeoutMs;
    this.#clock = clock;
    this.#use = use;
  }

  /** Opens the file where that has not happened yet. */
  open(): void {
    this.#connection ??= this.#connect();
  }

  /** The statements of the connection, which is opened where there is none. */
  get statements(): S {
    return (this.#connection ??= this.#connect()).statements;
  }

  /**
   * Puts a write into the next transaction. A HoldfastError or a Refusal that it throws is its own: it must have
   * written nothing. It may be called again, after everything that it did was rolled back.
   */
  write<R>(write: (transaction: T) => R): Promise<R> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(this.#closedError());
      if (this.#pending.length === 0) this.#clock.afterTurn(() => this.#flush());
      this.#pending.push({ write, resolve: resolve as (value: never) => void, reject });
    });
  }

  read<R>(read: (statements: S) => R): R {
    if (this.#closed) throw this.#closedError();
    const { statements } = this;
    try {
      return read(statements);
    } catch (error) {
      if (!isBusy(error)) throw sqliteError(this.path, "read", error);
    }
    // Readers wait for nobody but one who tidies up the log, which takes no time.
    this.#bePatient(true);
    try {
      return read(statements);
    } catch (error) {
      throw sqliteError(this.path, "read", error);
    } finally {
      this.#bePatient(false);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#retry?.cancel();
    if (this.#connection !== null) this.#bePatient(true);
    if (this.#pending.length > 0) this.#flush(true);
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

  /** One transaction for everything pending. */
  #flush(last = false): void {
    while (this.#pending.length > 0) {
      const batch = this.#pending.splice(0, this.#alone > 0 ? 1 : Infinity);
      try {
        const connection = (this.#connection ??= this.#connect());
        if (!this.#begun(connection, last)) {
          this.#pending.unshift(...batch);
          this.#retry = this.#clock.timer(1 + systemRandom() * BUSY_PAUSE_MS, () => this.#flush());
          return;
        }
        for (const settle of this.#carriedOut(connection, batch)) settle();
        if (this.#alone > 0) this.#alone--;
      } catch (error) {
        this.#disconnect();
        this.#failed(batch, error);
      }
    }
  }

  /** Writes and commits. A write that is refused has written nothing and leaves the others alone. */
  #carriedOut({ db, statements }: Connection<S>, batch: readonly Pending<T>[]): (() => void)[] {
    const transaction = this.#use.begin(statements);
    const settled = batch.map(({ write, resolve, reject }) => {
      try {
        const value = write(transaction);
        return () => resolve(value as never);
      } catch (error) {
        if (error instanceof Refusal && error.left === "the others") return () => reject(error.error);
        if (!(error instanceof HoldfastError)) throw error;
        return () => reject(error);
      }
    });
    this.#use.finish(transaction);
    try {
      // Not prepared: libsql leaves a prepared one that fails under way, and the file of a closed connection locked.
      db.exec("COMMIT");
    } catch (error) {
      // No constraint of ours waits for the commit: it is one of the user's own tables.
      throw isConstraint(error) ? new Refusal(error, "nothing") : error;
    }
    return settled;
  }

  #failed(batch: Pending<T>[], error: unknown): void {
    if (error instanceof Refusal && batch.length > 1) {
      this.#pending.unshift(...batch);
      this.#alone = batch.length;
      return;
    }
    if (this.#alone > 0) this.#alone--;
    const told = error instanceof Refusal ? error.error : sqliteError(this.path, "write to", error);
    for (const { reject } of batch) reject(told);
  }

  /** Whether the file is ours to write; false where that is worth waiting for. */
  #begun({ db }: Connection<S>, last: boolean): boolean {
    const now = this.#clock.now();
    try {
      db.exec("BEGIN IMMEDIATE");
    } catch (error) {
      this.#busySince ??= now;
      if (!last && isBusy(error) && now - this.#busySince < this.#busyTimeoutMs) return false;
      this.#busySince = null;
      throw error;
    }
    this.#busySince = null;
    return true;
  }

  /** Whether this connection waits for others, and the thread with it. */
  #bePatient(patient: boolean): void {
    this.#connection?.db.exec(`PRAGMA busy_timeout=${patient ? Math.ceil(this.#busyTimeoutMs) : 0}`);
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = null;
    this.#use.lost?.();
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

  #connect(): Connection<S> {
    let db: SqliteDriver | undefined;
    try {
      const newNames = createFile(this.path);
      db = openDriver(this.path);
      db.exec(`PRAGMA busy_timeout=${Math.ceil(this.#busyTimeoutMs)}`);
      db.exec("PRAGMA journal_mode=WAL");
      const word = this.#use.synchronous ?? "FULL";
      db.exec(`PRAGMA synchronous=${word}`);
      const { synchronous } = db.prepare("PRAGMA synchronous").get() as { synchronous: number };
      if (synchronous !== SYNCHRONOUS[word])
        throw new Error(
          `PRAGMA synchronous is ${synchronous}, not ${SYNCHRONOUS[word]} (${word}), although it was set.`,
        );
      // For tables of the user's own, whatever a binding does unless it is told.
      db.exec("PRAGMA foreign_keys=ON");
      const statements = this.#use.prepare(db);
      newNames.forEach(syncFolder);
      db.exec("PRAGMA busy_timeout=0");
      return { db, statements };
    } catch (error) {
      db?.close();
      throw sqliteError(this.path, "open", error);
    }
  }

  #closedError(): StoreUnavailableError {
    return new StoreUnavailableError(`The store ${this.path} is closed.`);
  }
}

/** Runs what makes tables in a transaction, so that processes which start together do not meet a half of them. */
export function inTransaction(db: SqliteDriver, work: () => void): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    work();
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

/** The error for tables that a newer version of Holdfast has made. */
export function newerSchemaError(found: number, known: number): StoreUnavailableError {
  return new StoreUnavailableError(
    `The store was written by a newer version of Holdfast (schema ${found}, this version knows ${known}). Use that version.`,
  );
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
