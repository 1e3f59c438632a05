import { describe, expect, it } from "vitest";
import { StoreCorruptError, StoreUnavailableError } from "../core/errors.ts";
import { isConstraint, isTrouble, openDriver, sqliteError } from "./sqlite-driver.ts";

// The shapes of both bindings: libsql names the code, node:sqlite numbers it and adds the extended part.
describe("what SQLite says becomes an error that says what to do, from either binding (C6.10)", () => {
  const cases: [string, object, object, typeof StoreCorruptError | typeof StoreUnavailableError, RegExp][] = [
    ["NOTADB", { code: "SQLITE_NOTADB" }, { errcode: 26 }, StoreCorruptError, /not a SQLite database\. Choose another/],
    [
      "CORRUPT",
      { code: "SQLITE_CORRUPT" },
      { errcode: 11 },
      StoreCorruptError,
      /Keep a copy of it .* restore a backup/,
    ],
    ["CORRUPT_INDEX", { code: "SQLITE_CORRUPT_INDEX" }, { errcode: 779 }, StoreCorruptError, /is damaged/],
    [
      "READONLY",
      { code: "SQLITE_READONLY" },
      { errcode: 8 },
      StoreUnavailableError,
      /read-only\. Check the permissions/,
    ],
    ["BUSY", { code: "SQLITE_BUSY" }, { errcode: 5 }, StoreUnavailableError, /another process .*fuser runs\.db/],
    ["BUSY_SNAPSHOT", { code: "SQLITE_BUSY_SNAPSHOT" }, { errcode: 517 }, StoreUnavailableError, /another process/],
    ["LOCKED", { code: "SQLITE_LOCKED" }, { errcode: 6 }, StoreUnavailableError, /another process/],
    [
      "FULL",
      { code: "SQLITE_FULL" },
      { errcode: 13 },
      StoreUnavailableError,
      /disk is full\. What was acknowledged is safe/,
    ],
    ["CANTOPEN", { code: "SQLITE_CANTOPEN" }, { errcode: 14 }, StoreUnavailableError, /cannot be opened/],
    [
      "IOERR",
      { code: "SQLITE_IOERR_WRITE" },
      { errcode: 778 },
      StoreUnavailableError,
      /the store runs\.db: it said so/,
    ],
  ];
  for (const [name, named, numbered, expected, message] of cases) {
    it(name, () => {
      for (const shape of [named, { code: "ERR_SQLITE_ERROR", ...numbered }]) {
        const cause = Object.assign(new Error("it said so"), shape);
        const error = sqliteError("runs.db", "write to", cause);
        expect(error).toBeInstanceOf(expected);
        expect(error.message).toMatch(message);
        expect(error.message).toContain("cannot write to the store runs.db");
        expect(error.cause).toBe(cause);
      }
    });
  }
});

it("a file that libsql cannot open is told by the number in its message (C6.10)", () => {
  const cause = new Error('ConnectionFailed("Unable to open connection to local database a/b: 14")');
  expect(sqliteError("a/b", "open", cause).message).toMatch(/it cannot be opened\. Check that its folder exists/);
});

it("anything else is shown as it is, as StoreUnavailableError (C6.10)", () => {
  const cause = Object.assign(new Error("EROFS: read-only file system"), { code: "EROFS" });
  expect(sqliteError("runs.db", "open", cause)).toMatchObject({ code: "STORE_UNAVAILABLE", cause });
  expect(sqliteError("runs.db", "open", cause).message).toContain("EROFS: read-only file system");
  expect(sqliteError("runs.db", "read", "a bare text").message).toContain("a bare text");
});

it("an error that is ours already stays as it is (C6.10)", () => {
  const error = new StoreUnavailableError("The store is closed.");
  expect(sqliteError("runs.db", "read", error)).toBe(error);
});

it("a rule of a table is told from trouble with the file, by either binding (C6.11)", () => {
  for (const error of [
    { code: "SQLITE_CONSTRAINT_UNIQUE", rawCode: 2067 },
    { code: "ERR_SQLITE_ERROR", errcode: 787 },
  ])
    expect([isConstraint(error), isTrouble(error)]).toEqual([true, false]);
  for (const error of [{ code: "SQLITE_IOERR_WRITE" }, { code: "ERR_SQLITE_ERROR", errcode: 13 }, { errcode: 7 }])
    expect([isConstraint(error), isTrouble(error)]).toEqual([false, true]);
  for (const error of [new Error("mine"), { code: "SQLITE_ERROR" }, { errcode: 5 }, { errcode: 6 }, undefined, "text"])
    expect([isConstraint(error), isTrouble(error)]).toEqual([false, false]);
});

it("a value that is alone is one value, whatever it is (C6.11)", () => {
  const db = openDriver(":memory:");
  const [one, all] = [db.prepare("SELECT typeof(?) AS type"), db.prepare("SELECT typeof(?) AS type")];
  for (const [value, type] of [
    [null, "null"],
    [new Uint8Array([1]), "blob"],
    [new Uint8Array(0), "blob"],
    ["text", "text"],
    [1n, "integer"],
    [null, "null"],
  ] as const) {
    expect(one.get(value)).toMatchObject({ type });
    expect(all.all(value)).toEqual([expect.objectContaining({ type })]);
  }
  db.exec("CREATE TABLE t (bytes)");
  db.prepare("INSERT INTO t VALUES (?)").run(new Uint8Array([1]));
  expect(db.prepare("SELECT 1 AS one FROM t").all()).toEqual([expect.objectContaining({ one: 1 })]);
  db.close();
});
