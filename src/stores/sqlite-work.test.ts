import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connections, reset } from "../../test/watched-driver.ts";
import type { SqlTransaction } from "../core/store.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { appendOf, claimOf } from "../testing/store-bench.ts";
import { openDriver } from "./sqlite-driver.ts";
import { SqliteStore } from "./sqlite.ts";

vi.mock(import("./sqlite-driver.ts"), async (importOriginal) => {
  const { watched } = await import("../../test/watched-driver.ts");
  return watched(await importOriginal());
});

let folder: string;
let store: SqliteStore;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-work-"));
  store = new SqliteStore(join(folder, "runs.db"));
  await Promise.all(["r", "s", "t"].map((runId) => store.claim(claimOf(runId))));
  const db = openDriver(store.location);
  db.exec(`CREATE TABLE users (n INTEGER PRIMARY KEY, value);
    CREATE TABLE strict (n INTEGER PRIMARY KEY ON CONFLICT ROLLBACK);
    CREATE TABLE posts (owner REFERENCES users (n) DEFERRABLE INITIALLY DEFERRED)`);
  db.close();
  connections.splice(1);
});
afterEach(async () => {
  await store.close();
  reset();
  rmSync(folder, { recursive: true });
});

/** All that is stored: the records of each run, and what is in the tables of the user's. */
async function stored(): Promise<string> {
  const lengths = await Promise.all(["r", "s", "t"].map(async (runId) => (await store.read(runId)).length));
  const db = openDriver(store.location);
  const inTable = (name: string): number => db.prepare(`SELECT 1 FROM ${name}`).all().length;
  const rows = ["users", "strict", "posts"].map(inTable);
  db.close();
  connections.pop();
  return `${lengths.join(" ")}, ${rows.join(" ")}`;
}

function doing(within: (sql: SqlTransaction) => void, runId = "r", version = 0): Promise<void> {
  return store.append(appendOf(runId, 1, version, { within }));
}

it("any value comes back as it went in, also one that is alone (C6.11)", async () => {
  const seen: unknown[] = [];
  await doing((sql) => {
    const given = [null, "it's", 1.5, -3, 7n, new Uint8Array([1, 2, 3]).subarray(1), new Uint8Array(0)];
    for (const value of given) sql.run("INSERT INTO users (value) VALUES (?)", value);
    seen.push(...sql.all("SELECT value FROM users ORDER BY n").map(({ value }) => value));
    seen.push(sql.all("SELECT ? AS none, ? AS bytes", null, new Uint8Array([9])));
    seen.push(sql.all("SELECT 1 = ? AS one", 1n).length);
  });
  const bytes = [new Uint8Array([2, 3]), new Uint8Array(0)];
  expect(seen).toEqual([null, "it's", 1.5, -3, 7, ...bytes, [{ none: null, bytes: new Uint8Array([9]) }], 1]);
});

it("a value of another type is refused before SQLite sees it (C6.11)", async () => {
  for (const value of [true, undefined, {}, [], new Date(0), new ArrayBuffer(2), () => 1, Symbol("s")])
    for (const parameters of [[value], [1, value]])
      await expect(doing((sql) => void sql.run("SELECT ?, ?", ...(parameters as never[])))).rejects.toThrow(
        /^A parameter of "SELECT \?, \?" is of the type \w+\. SQL takes strings, numbers/,
      );
  expect(await stored()).toBe("0 0 0, 0 0 0");
});

it("a statement with rows that nobody reads does not keep the transaction open (C6.11)", async () => {
  await doing((sql) => {
    expect(sql.run("INSERT INTO users (n) VALUES (1), (2) RETURNING n")).toBe(2);
    expect(sql.run("SELECT n FROM users")).toBe(0);
    expect(sql.all("UPDATE users SET n = n + 5 RETURNING n")).toEqual([{ n: 6 }, { n: 7 }]);
  });
  expect(await stored()).toBe("1 0 0, 2 0 0");
});

it("only what changes rows tells how many (C6.11)", async () => {
  const seen: number[] = [];
  await doing((sql) => {
    for (const statement of [
      "INSERT INTO users (n) VALUES (1), (2), (3)",
      "SELECT 1",
      "CREATE TABLE more (n)",
      "WITH some (n) AS (VALUES (1), (2)) DELETE FROM users WHERE n IN some",
      "WITH some (n) AS (VALUES (1)) SELECT n FROM some",
      "REPLACE INTO users (n) VALUES (3)",
      "UPDATE users SET n = 5 WHERE n = 4",
      "DROP TABLE more",
    ])
      seen.push(sql.run(statement));
  });
  expect(seen).toEqual([3, 0, 0, 2, 0, 1, 0, 0]);
});

describe("one statement is told from several", () => {
  const single = [
    "SELECT 1;",
    "SELECT 1 ; -- ; SELECT 2",
    "SELECT ';', \"n\" AS [a;b], 1 AS `c;d` FROM users -- it's; all\n",
    "SELECT 'it''s; ' /* ; ' */ ; /* the end",
    ";; select 1",
    "CREATE TRIGGER tidy AFTER DELETE ON users BEGIN DELETE FROM posts; DELETE FROM strict; END",
  ];
  for (const statement of single)
    it(`${JSON.stringify(statement)} runs (C6.11)`, async () => {
      await doing((sql) => void sql.all(statement));
    });

  for (const statement of ["SELECT 1; SELECT 2", ";SELECT 1;/* */; INSERT INTO users VALUES (1)", "SELECT ''; COMMIT"])
    it(`${JSON.stringify(statement)} is refused (C6.11)`, async () => {
      await expect(doing((sql) => void sql.all(statement))).rejects.toThrow(/is more than one statement/);
      expect(await stored()).toBe("0 0 0, 0 0 0");
    });
});

describe("work that takes the whole transaction with it", () => {
  it("rejects its own append only; the others are stored, each once (C6.11)", async () => {
    const outcomes = await Promise.allSettled([
      store.append(appendOf("s", 1, 0)),
      doing((sql) => void sql.run("INSERT INTO users (n) VALUES (1)"), "t"),
      doing((sql) => {
        sql.run("INSERT INTO strict VALUES (1)");
        try {
          sql.run("INSERT INTO strict VALUES (1)");
        } catch {
          // As if nothing had happened.
        }
        // This would be committed by itself.
        sql.run("INSERT INTO users (n) VALUES (99)");
      }),
      store.append(appendOf("s", 1, 1)),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    expect(String((outcomes[2] as PromiseRejectedResult).reason)).toMatch(/UNIQUE constraint failed: strict\.n/);
    expect(await stored()).toBe("0 2 1, 1 0 0");
    // Only they got a transaction each: what comes now shares one again.
    const { executed } = connections.at(-1)!;
    executed.length = 0;
    await Promise.all([store.append(appendOf("r", 1, 0)), store.append(appendOf("s", 1, 2))]);
    expect(executed.filter((sql) => sql === "COMMIT")).toHaveLength(1);
    expect(await stored()).toBe("1 3 1, 1 0 0");
  });

  it("is found out also where it hides the error (C6.11)", async () => {
    const hidden = doing((sql) => {
      for (let i = 0; i < 2; i++)
        try {
          sql.run("INSERT INTO strict VALUES (1)");
        } catch {
          // As if nothing had happened.
        }
    });
    await expect(hidden).rejects.toThrow(/UNIQUE constraint failed/);
    expect(await stored()).toBe("0 0 0, 0 0 0");
  });

  it("also where a rule of the user's tables is broken only at the commit (C6.11)", async () => {
    const outcomes = await Promise.allSettled([
      store.append(appendOf("s", 1, 0)),
      doing((sql) => void sql.run("INSERT INTO posts VALUES (7)")),
      doing((sql) => void sql.run("INSERT INTO users (n) VALUES (1)"), "t"),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(String((outcomes[1] as PromiseRejectedResult).reason)).toMatch(/FOREIGN KEY constraint failed/);
    expect(await stored()).toBe("0 1 1, 1 0 0");
    await doing((sql) => void sql.run("INSERT INTO posts VALUES (1)"));
    expect(await stored()).toBe("1 1 1, 1 0 1");
  });

  it("waits for its turn again where the file is locked meanwhile, and loses nothing (C6.11)", async () => {
    const clock = new FakeClock();
    const patient = new SqliteStore(store.location, { clock });
    const other = openDriver(store.location);
    const taken = (sql: SqlTransaction): void => {
      sql.run("INSERT OR REPLACE INTO strict VALUES (1)");
      try {
        sql.run("INSERT INTO strict VALUES (1)");
      } catch {
        // The lock is free now, and somebody else takes it for a while.
        other.exec("BEGIN IMMEDIATE");
      }
    };
    const outcomes = Promise.allSettled([
      patient.append(appendOf("s", 1, 0)),
      patient.append(appendOf("r", 1, 0, { within: taken })),
      patient.append(appendOf("t", 1, 0)),
    ]);
    await clock.advance(100);
    expect(await stored()).toBe("0 0 0, 0 0 0");
    other.exec("ROLLBACK");
    await clock.advance(20);
    // The work is called again, and takes the lock again.
    other.exec("ROLLBACK");
    await clock.advance(20);
    expect((await outcomes).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(await stored()).toBe("0 1 1, 0 0 0");
    other.close();
    await patient.close();
  });
});

it("where the disk fails in the work of a user's, it is the store that is in trouble, and not the user (C6.10)", async () => {
  const full = Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL", errcode: 13 });
  connections[0]!.fail = { sql: "INSERT INTO users (n) VALUES (1)", error: full };
  let seen: unknown;
  const outcomes = await Promise.allSettled([
    doing((sql) => {
      try {
        sql.run("INSERT INTO users (n) VALUES (1)");
      } catch (error) {
        seen = error;
      }
      expect(() => sql.all("SELECT 1")).toThrow(full);
      throw new Error("mine");
    }),
    store.append(appendOf("s", 1, 0)),
  ]);
  expect(seen).toBe(full);
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "STORE_UNAVAILABLE" } });
  expect((outcomes[0] as PromiseRejectedResult).reason.message).toMatch(/the disk is full/);
  expect(await stored()).toBe("0 0 0, 0 0 0");
  await store.append(appendOf("r", 1, 0));
});

it("the work of sixty-four steps shares one commit (C6.5)", async () => {
  const { executed } = connections[0]!;
  executed.length = 0;
  await Promise.all(
    Array.from({ length: 64 }, (_, n) => doing((sql) => void sql.run("INSERT INTO users (n) VALUES (?)", n), "r", n)),
  );
  expect(executed.filter((sql) => sql === "COMMIT")).toHaveLength(1);
  expect(await stored()).toBe("64 0 0, 64 0 0");
});
