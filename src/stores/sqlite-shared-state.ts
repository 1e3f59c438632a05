import { type Clock, systemClock } from "../core/clock.ts";
import { StoreUnavailableError } from "../core/errors.ts";
import { aFunction, anything, checkOptions, durationMs, type Rules } from "../core/options.ts";
import type { SharedChange, SharedState, Sharing } from "../core/shared-state.ts";
import { sharing } from "../policies/sharing.ts";
import { type Anchor, anchoredAt, machineNow } from "./machine-time.ts";
import type { SqliteDriver, SqliteStatement } from "./sqlite-driver.ts";
import { inTransaction, newerSchemaError, SqliteFile } from "./sqlite-file.ts";
import { idText } from "./sqlite-schema.ts";
import { type Change, changed, type StateEntry } from "./state-entry.ts";

export interface SqliteSharedStateOptions {
  /** How long to wait for another process to finish its update, which blocks this one. @default 2000 */
  busyTimeoutMs?: number | undefined;
  clock?: Clock | undefined;
  /** Milliseconds on a monotonic clock that all processes have in common; for tests. @default that of the machine */
  machineNow?: (() => number) | undefined;
}

const RULES: Rules<SqliteSharedStateOptions> = { busyTimeoutMs: durationMs, clock: anything, machineNow: aFunction };

/** The version of the tables below. An older program refuses a newer file. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS holdfast_state_clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,
    time REAL NOT NULL,
    machine REAL NOT NULL
  );
  CREATE TABLE IF NOT EXISTS holdfast_state (
    key TEXT PRIMARY KEY,
    until REAL NOT NULL,
    text TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS holdfast_state_by_until ON holdfast_state (until);
  INSERT OR IGNORE INTO holdfast_state_clock VALUES (1, ${SCHEMA_VERSION}, 0, 0);
`;

const STATEMENTS = {
  clock: "SELECT time, machine FROM holdfast_state_clock",
  setClock: "UPDATE holdfast_state_clock SET time = ?, machine = ?",
  entry: "SELECT text, until FROM holdfast_state WHERE key = ?",
  put: "INSERT OR REPLACE INTO holdfast_state (key, until, text) VALUES (?, ?, ?)",
  remove: "DELETE FROM holdfast_state WHERE key = ?",
  sweep: `DELETE FROM holdfast_state WHERE key IN (SELECT key FROM holdfast_state WHERE until <= ? ORDER BY until LIMIT ?)`,
};

type Statements = { readonly [Name in keyof typeof STATEMENTS]: SqliteStatement };

/** How many entries that are gone are deleted for each update: more than it can add, so that they cannot pile up. */
const SWEPT_PER_UPDATE = 4;

/** What a change came to: what it throws must not look like an error of the transaction. */
type Outcome = { thrown: false; result: unknown } | { thrown: true; error: unknown };

/**
 * State that the processes of one machine share, in a SQLite file of its own or in that of a store. Updates that come
 * within a turn of the event loop share one transaction, synced to the disk before any of them resolves. Time is that
 * of the machine's monotonic clock, carried on in the file: the wall clock is not read.
 *
 * The file is opened by the first update. One that finds it locked for longer than the busy timeout, read-only or
 * damaged rejects, and the next opens it anew.
 */
export class SqliteSharedState implements SharedState {
  readonly sharing: Sharing = sharing;
  readonly #file: SqliteFile<Statements, Updates>;

  constructor(path: string, options: SqliteSharedStateOptions = {}) {
    const given = checkOptions("SqliteSharedState", options, RULES);
    if (typeof path !== "string" || path === "")
      throw new StoreUnavailableError("SqliteSharedState needs the path of a file.");
    const now = given.machineNow ?? machineNow;
    this.#file = new SqliteFile(path, given.busyTimeoutMs ?? 2000, given.clock ?? systemClock, {
      prepare,
      begin: (statements) => new Updates(statements, now()),
      finish: (updates) => updates.sweep(),
    });
  }

  async update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    const outcome = await this.#file.write((updates) => updates.make(idText(key), change as Change));
    if (outcome.thrown) throw outcome.error;
    return outcome.result as R;
  }

  async close(): Promise<void> {
    this.#file.close();
  }
}

/** The updates of one transaction, all at the same instant. */
class Updates {
  readonly #statements: Statements;
  readonly #now: number;
  #made = 0;

  constructor(statements: Statements, machine: number) {
    this.#statements = statements;
    const { time } = anchoredAt(statements.clock.get() as Anchor, machine);
    statements.setClock.run(time, machine);
    this.#now = time;
  }

  make(key: string, change: Change): Outcome {
    this.#made++;
    const { entry, put, remove } = this.#statements;
    const last = entry.get(key) as StateEntry | undefined;
    let next: StateEntry | undefined;
    let result: unknown;
    try {
      ({ entry: next, result } = changed(last, this.#now, change));
    } catch (error) {
      return { thrown: true, error };
    }
    if (next !== undefined) put.run(key, next.until, next.text);
    else if (last !== undefined) remove.run(key);
    return { thrown: false, result };
  }

  sweep(): void {
    this.#statements.sweep.run(this.#now, this.#made * SWEPT_PER_UPDATE);
  }
}

function prepare(db: SqliteDriver): Statements {
  const version = schemaVersion(db);
  if (version > SCHEMA_VERSION) throw newerSchemaError(version, SCHEMA_VERSION);
  if (version === 0) inTransaction(db, () => db.exec(SCHEMA));
  return Object.fromEntries(
    Object.entries(STATEMENTS).map(([name, sql]) => [name, db.prepare(sql)]),
  ) as unknown as Statements;
}

/** 0 where there are no tables of ours yet. */
function schemaVersion(db: SqliteDriver): number {
  const table = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'holdfast_state_clock'").get();
  if (table === undefined) return 0;
  return (db.prepare("SELECT version FROM holdfast_state_clock").get() as { version: number }).version;
}
