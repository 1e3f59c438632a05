import { createRequire } from "node:module";
import { HoldfastError, StoreCorruptError, StoreUnavailableError } from "../core/errors.ts";
import type { SqlValue } from "../core/store.ts";

/** What the store needs of a SQLite binding. */
export interface SqliteDriver {
  exec(sql: string): void;
  prepare(sql: string): SqliteStatement;
  close(): void;
}

/** A statement is used with `get` or with `all`: libsql mistakes the values of a `get` that follows an `all`. */
export interface SqliteStatement {
  run(...values: SqlValue[]): { changes: number | bigint; lastInsertRowid: number | bigint };
  get(...values: SqlValue[]): unknown;
  all(...values: SqlValue[]): unknown[];
}

type Binding = new (path: string) => SqliteDriver;

/**
 * libsql with the values of a statement handed over as a list: a lone one that is an object it reads as values by name,
 * and ends the process where it has none.
 */
function withLists(Libsql: Binding): Binding {
  return class extends Libsql {
    override prepare(sql: string): SqliteStatement {
      const statement = super.prepare(sql) as unknown as ListStatement;
      return {
        run: (...values) => statement.run(values),
        get: (...values) => statement.get(values),
        all: (...values) => statement.all(values),
      };
    }
  };
}

interface ListStatement {
  run(values: SqlValue[]): ReturnType<SqliteStatement["run"]>;
  get(values: SqlValue[]): unknown;
  all(values: SqlValue[]): unknown[];
}

/** `node:sqlite` where Node has it (22.13 and later), else the `libsql` package. */
export function openDriver(path: string): SqliteDriver {
  const require = createRequire(import.meta.url);
  let cause: unknown;
  for (const load of [
    () => (require("node:sqlite") as { DatabaseSync: Binding }).DatabaseSync,
    () => withLists(require("libsql") as Binding),
  ]) {
    let Database: Binding;
    try {
      Database = load();
    } catch (error) {
      cause = error;
      continue;
    }
    return new Database(path);
  }
  throw new StoreUnavailableError(
    "No SQLite binding can be loaded: this Node has no node:sqlite, and the optional package libsql is not installed. Run `npm install libsql`, or use Node 22.13 or later.",
    cause,
  );
}

/** Primary result codes of SQLite that mean something to a caller (sqlite.org/rescode.html). */
const CODES: Record<number, string> = {
  5: "BUSY",
  6: "BUSY",
  7: "NOMEM",
  8: "READONLY",
  10: "IOERR",
  11: "CORRUPT",
  13: "FULL",
  14: "CANTOPEN",
  19: "CONSTRAINT",
  26: "NOTADB",
};

/** The name of the primary result code in an error, from whichever binding it came. */
function codeNameOf(error: unknown): string | undefined {
  const { code, errcode, rawCode, message } = (error ?? {}) as { [key: string]: unknown };
  // libsql tells why a file cannot be opened at the end of a message only.
  const opening = /^ConnectionFailed\(.*: (\d+)"\)$/s.exec(String(message))?.[1];
  const number = [errcode, rawCode, opening && Number(opening)].find((value) => typeof value === "number");
  return number === undefined ? /^SQLITE_([A-Z]+)/.exec(String(code))?.[1] : CODES[number & 0xff];
}

/** Whether somebody else has locked the file. */
export function isBusy(error: unknown): boolean {
  return codeNameOf(error) === "BUSY";
}

/** Whether a statement would have broken a rule of its table. */
export function isConstraint(error: unknown): boolean {
  return codeNameOf(error) === "CONSTRAINT";
}

/** Whether it is the file, the disk or the memory that is in trouble, and not the statement. */
export function isTrouble(error: unknown): boolean {
  return TROUBLE.has(codeNameOf(error));
}

const TROUBLE: ReadonlySet<string | undefined> = new Set([
  "NOMEM",
  "READONLY",
  "IOERR",
  "CORRUPT",
  "FULL",
  "CANTOPEN",
  "NOTADB",
]);

/**
 * What went wrong with a store file, in words that say what to do, from whichever binding it came. An error that is
 * ours already says so.
 */
export function sqliteError(path: string, doing: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const cannot = `Holdfast cannot ${doing} the store ${path}: `;
  switch (codeNameOf(error)) {
    case "NOTADB":
      return new StoreCorruptError(
        `${cannot}the file is not a SQLite database. Choose another file, or move this one away.`,
        error,
      );
    case "CORRUPT":
      return new StoreCorruptError(
        `${cannot}the SQLite file is damaged. Keep a copy of it together with its -wal file, and restore a backup.`,
        error,
      );
    case "READONLY":
      return new StoreUnavailableError(
        `${cannot}it is read-only. Check the permissions of the file and of its folder, and whether the disk is mounted read-only.`,
        error,
      );
    case "BUSY":
    case "LOCKED":
      return new StoreUnavailableError(
        `${cannot}another process has locked it for longer than the busy timeout. Find it with \`fuser ${path}\`, or try again.`,
        error,
      );
    case "FULL":
      return new StoreUnavailableError(
        `${cannot}the disk is full. What was acknowledged is safe; free some space and run again with the same run ids.`,
        error,
      );
    case "CANTOPEN":
      return new StoreUnavailableError(
        `${cannot}it cannot be opened. Check that its folder exists and that the path is a file.`,
        error,
      );
    default:
      return new StoreUnavailableError(`${cannot}${(error as Error).message ?? String(error)}`, error);
  }
}
