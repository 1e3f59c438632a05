import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { claimSynchronous, commits, connections, reset } from "../../test/watched-driver.ts";
import { StoreCorruptError, StoreUnavailableError } from "../core/errors.ts";
import type { Append, Claim } from "../core/store.ts";
import { letterOf } from "../testing/store-bench.ts";
import { storeContract } from "../testing/store-contract.ts";
import { openDriver } from "./sqlite-driver.ts";
import { SqliteStore } from "./sqlite.ts";

vi.mock(import("./sqlite-driver.ts"), async (importOriginal) => {
  const { watched } = await import("../../test/watched-driver.ts");
  return watched(await importOriginal());
});

const folders: string[] = [];

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-sqlite-"));
  folders.push(folder);
  return folder;
}

afterEach(() => {
  reset();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function claimOf(runId: string): Claim {
  return { runId, workflowId: "w", owner: "one", leaseMs: 5000, isDead: () => false, reopen: false };
}

function appendOf(runId: string, version: number): Append {
  return { runId, token: 1, version, body: new TextEncoder().encode(runId), checksum: 1 };
}

describe("SqliteStore keeps the contract of stores", () => {
  const cases = storeContract(() => {
    const path = join(newFolder(), "runs.db");
    return { open: (clock) => new SqliteStore(path, { clock }) };
  });
  for (const { title, run } of cases) it(title, run);
});

it("every connection is set to FULL and says so, also one that is opened after trouble (C6.5)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"), { busyTimeoutMs: 77 });
  await store.claim(claimOf("r"));
  connections[0]!.refuse = "COMMIT";
  await expect(store.append(appendOf("r", 0))).rejects.toThrow(StoreUnavailableError);
  await store.append(appendOf("r", 0));
  expect(connections).toHaveLength(2);
  const { db, executed } = connections[1]!;
  expect(db.prepare("PRAGMA synchronous").get()).toMatchObject({ synchronous: 2 });
  expect(db.prepare("PRAGMA journal_mode").get()).toMatchObject({ journal_mode: "wal" });
  expect(executed).toContain("PRAGMA busy_timeout=77");
  expect(db.prepare("PRAGMA busy_timeout").get()).toMatchObject({ timeout: 0 });
  for (const connection of connections) expect(connection.executed).toContain("PRAGMA synchronous=FULL");
  expect(executed).toContain("PRAGMA foreign_keys=ON");
  expect(executed.indexOf("PRAGMA synchronous=FULL")).toBeLessThan(executed.indexOf("BEGIN IMMEDIATE"));
  await store.close();
});

it("relaxed is set and read back on every connection, says so, and is never meant by itself (C6.5)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"), { durability: "relaxed" });
  expect(store.durability).toBe("relaxed");
  await store.claim(claimOf("r"));
  connections[0]!.refuse = "COMMIT";
  await expect(store.append(appendOf("r", 0))).rejects.toThrow(StoreUnavailableError);
  await store.append(appendOf("r", 0));
  expect(connections).toHaveLength(2);
  expect(connections[1]!.db.prepare("PRAGMA synchronous").get()).toMatchObject({ synchronous: 1 });
  for (const { executed } of connections) {
    expect(executed).toContain("PRAGMA synchronous=NORMAL");
    expect(executed).not.toContain("PRAGMA synchronous=FULL");
  }
  await store.close();
  claimSynchronous(2);
  const open = (): SqliteStore => new SqliteStore(join(newFolder(), "runs.db"), { durability: "relaxed" });
  expect(open).toThrow(/PRAGMA synchronous is 2, not 1 \(NORMAL\), although it was set/);
});

it("a binding on which FULL does not hold is refused (C6.5)", () => {
  claimSynchronous(1);
  const open = (): SqliteStore => new SqliteStore(join(newFolder(), "runs.db"));
  expect(open).toThrow(StoreUnavailableError);
  expect(open).toThrow(/PRAGMA synchronous is 1, not 2 \(FULL\), although it was set/);
});

it("writes that come within a turn share one commit (C6.5)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"));
  const runs = Array.from({ length: 64 }, (_, i) => `r-${i}`);
  await Promise.all(runs.map((runId) => store.claim(claimOf(runId))));
  await Promise.all(runs.map((runId) => store.append(appendOf(runId, 0))));
  expect(commits()).toBe(2);
  await store.append(appendOf("r-0", 1));
  expect(commits()).toBe(3);
  expect(store.durability).toBe("full");
  await store.close();
});

it("a commit that failed is not tried again on its connection, and what was acknowledged stays (C6.10)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"));
  await store.claim(claimOf("r"));
  await store.append(appendOf("r", 0));
  connections[0]!.refuse = "COMMIT";
  const outcomes = await Promise.allSettled([store.append(appendOf("r", 1)), store.claim(claimOf("s"))]);
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(StoreUnavailableError) });
    expect((outcome as PromiseRejectedResult).reason.message).toContain(`write to the store ${store.location}`);
  }
  const tried = connections[0]!.executed.length;
  expect((await store.read("r")).map(({ seq }) => seq)).toEqual([0]);
  expect(await store.get("s")).toBeUndefined();
  await store.append(appendOf("r", 1));
  expect(connections).toHaveLength(2);
  // All that is still done with the old connection is to roll it back and close it.
  expect(connections[0]!.executed.slice(tried - 2)).toEqual(["COMMIT", "ROLLBACK"]);
  expect(() => connections[0]!.db.exec("SELECT 1")).toThrow();
  await store.close();
});

it("a run whose creation was rolled back does not write into the one that got its place (C6.4)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"));
  connections[0]!.refuse = "COMMIT";
  await expect(store.claim(claimOf("gone"))).rejects.toThrow(StoreUnavailableError);
  await store.claim(claimOf("r"));
  await expect(store.append(appendOf("gone", 0))).rejects.toMatchObject({ code: "LEASE_LOST" });
  expect(await store.read("r")).toEqual([]);
  await store.close();
});

it("after closing, all that was stored is in the one file, which may be copied and opened again (C6.1)", async () => {
  const folder = newFolder();
  const store = new SqliteStore(join(folder, "runs.db"));
  await store.claim(claimOf("r"));
  await store.append(appendOf("r", 0));
  await store.close();
  copyFileSync(join(folder, "runs.db"), join(folder, "copy.db"));
  const again = new SqliteStore(join(folder, "copy.db"));
  expect(await again.read("r")).toHaveLength(1);
  expect(await again.get("r")).toMatchObject({ owner: "one", token: 1, version: 1 });
  await again.close();
});

it("only the owner may read the folders and files that are made (C6.5)", async () => {
  const folder = newFolder();
  const path = join(folder, "deep", "deeper", "runs.db");
  const store = new SqliteStore(path);
  await store.claim(claimOf("r"));
  const mode = (file: string): number => statSync(file).mode & 0o777;
  expect([mode(join(folder, "deep")), mode(join(folder, "deep", "deeper"))]).toEqual([0o700, 0o700]);
  for (const suffix of ["", "-wal", "-shm"]) expect([suffix, mode(path + suffix)]).toEqual([suffix, 0o600]);
  await store.close();
});

it("a file that is not a SQLite database is StoreCorruptError and is left as it is (C6.10)", () => {
  const path = join(newFolder(), "notes.txt");
  writeFileSync(path, "Buy milk. ".repeat(1000));
  expect(() => new SqliteStore(path)).toThrow(StoreCorruptError);
  expect(() => new SqliteStore(path)).toThrow(/notes\.txt: the file is not a SQLite database\. Choose another file/);
  expect(statSync(path).size).toBe(10_000);
});

it("a SQLite file whose pages are damaged is StoreCorruptError when they are met (C6.7)", async () => {
  const path = join(newFolder(), "runs.db");
  const store = new SqliteStore(path);
  await store.claim(claimOf("r"));
  for (let i = 0; i < 50; i++) await store.append(appendOf("r", i));
  await store.close();
  // The first page says which tables there are and stays whole; whatever they hold is garbage.
  const file = readFileSync(path);
  writeFileSync(path, file.fill(0xff, 4096));
  const meet = async (): Promise<unknown> => new SqliteStore(path).read("r");
  await expect(meet()).rejects.toThrow(StoreCorruptError);
});

it("a file of a newer schema is refused and not touched (C5.10)", async () => {
  const path = join(newFolder(), "runs.db");
  await new SqliteStore(path).close();
  const db = openDriver(path);
  db.exec("UPDATE holdfast_schema SET version = 99");
  db.close();
  expect(() => new SqliteStore(path)).toThrow(StoreUnavailableError);
  expect(() => new SqliteStore(path)).toThrow(/newer version of Holdfast \(schema 99, this version knows 2\)/);
});

it("what is shared through stores lies in their file, for all who open it, and closes with them (C5.11)", async () => {
  const path = join(newFolder(), "runs.db");
  const [one, other] = [new SqliteStore(path), new SqliteStore(path)];
  await one.claim(claimOf("r"));
  const put = (last: number | undefined) => ({ next: (last ?? 0) + 1, keepMs: Infinity, result: last });
  expect([await one.state.update("n", put), await other.state.update("n", put)]).toEqual([undefined, 1]);
  expect((await other.get("r"))?.runId).toBe("r");
  await one.close();
  await expect(one.state.update("n", put)).rejects.toThrow(StoreUnavailableError);
  await other.close();
  for (const { db } of connections) expect(() => db.prepare("SELECT 1")).toThrow();
});

it("a path that cannot be a file is StoreUnavailableError and says which (C6.10)", () => {
  const folder = newFolder();
  writeFileSync(join(folder, "file"), "");
  expect(() => new SqliteStore(folder)).toThrow(/it cannot be opened\. Check that its folder exists/);
  for (const path of ["", folder, join(folder, "file", "runs.db")]) {
    expect(() => new SqliteStore(path)).toThrow(StoreUnavailableError);
  }
  expect(existsSync(join(folder, "file", "runs.db"))).toBe(false);
});

it("an option that it does not know, or a wrong value, is a ConfigError (C0.3)", () => {
  const path = join(newFolder(), "runs.db");
  expect(() => new SqliteStore(path, { busyTimeoutMs: -1 })).toThrow(/SqliteStore\.busyTimeoutMs must be a number/);
  expect(() => new SqliteStore(path, { fast: true } as never)).toThrow(/has no option "fast"/);
  const none = { durability: "memory" } as never;
  expect(() => new SqliteStore(path, none)).toThrow(/durability must be one of "full", "relaxed", got "memory"/);
  expect(existsSync(path)).toBe(false);
});

it("a writer that is locked out waits its busy timeout, then says what to look for (C6.10)", async () => {
  const path = join(newFolder(), "runs.db");
  const store = new SqliteStore(path, { busyTimeoutMs: 20 });
  await store.claim(claimOf("r"));
  const holder = openDriver(path);
  holder.exec("BEGIN IMMEDIATE");
  await expect(store.append(appendOf("r", 0))).rejects.toThrow(/another process has locked it for longer than/);
  expect(await store.read("r")).toEqual([]);
  holder.exec("ROLLBACK");
  await store.append(appendOf("r", 0));
  holder.close();
  await store.close();
});

it("a plain record takes one statement, or a sixteenth of one, beside the transaction (C6.5)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"));
  const runs = Array.from({ length: 32 }, (_, i) => `r-${i}`);
  await Promise.all(runs.map((runId) => store.claim(claimOf(runId))));
  const { ran } = connections[0]!;
  const during = async (write: () => Promise<unknown>): Promise<string[]> => {
    ran.length = 0;
    await write();
    return ran.map((sql) => sql.split(/[\s(]/).slice(0, 3).join(" "));
  };
  const insert = "INSERT INTO holdfast_records";
  const transaction = (...statements: string[]): string[] => ["PRAGMA data_version", ...statements];
  expect(await during(() => store.append(appendOf("r-0", 0)))).toEqual(transaction(insert));
  const many = (): Promise<unknown> =>
    Promise.all(runs.map((runId, i) => store.append(appendOf(runId, i === 0 ? 1 : 0))));
  expect(await during(many)).toEqual(transaction(insert, insert));
  // A status that says what was said before leaves the indexes alone.
  const running = { ...appendOf("r-0", 2), status: "running" } as const;
  expect(await during(() => store.append(running))).toEqual(transaction("UPDATE holdfast_runs SET", insert));
  await store.close();
});

it("a run that is deleted leaves no row in any table (C6.9)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"));
  await store.claim(claimOf("r"));
  const signal = { id: "s", runId: "r", name: "n", payload: "1", at: 1 };
  await store.append({ ...appendOf("r", 0), deadLetters: [letterOf("dl", { status: "succeeded" })] });
  await store.append(appendOf("r", 1));
  await store.setAside("r", 1, 1);
  await store.signal(signal);
  await store.append({ ...appendOf("r", 1), status: "failed" });
  expect(await store.prune({ keep: 0 })).toEqual(["r"]);
  const { db } = connections[0]!;
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all() as { name: string }[];
  for (const { name } of tables)
    expect([name, db.prepare(`SELECT 1 FROM ${name}`).all().length]).toEqual([
      name,
      name === "holdfast_schema" ? 1 : 0,
    ]);
  await store.close();
});

it("many dead letters are deleted in several transactions, and counted together (C7.3)", async () => {
  const store = new SqliteStore(join(newFolder(), "runs.db"));
  await store.claim(claimOf("r"));
  const deadLetters = Array.from({ length: 2100 }, (_, i) =>
    letterOf(`dl-${i}`, { timestamp: i, status: i % 21 === 0 ? "pending" : "succeeded" }),
  );
  await store.append({ ...appendOf("r", 0), deadLetters });
  const before = commits();
  expect(await store.pruneDeadLetters(Infinity)).toBe(2000);
  expect(commits() - before).toBe(3);
  expect(await store.deadLetterCounts()).toMatchObject({ pending: 100, succeeded: 0 });
  await store.close();
});

it("a file with a hundred thousand finished runs opens at once, and lists those that are open (C6.9)", async () => {
  const path = join(newFolder(), "runs.db");
  await new SqliteStore(path).close();
  const db = openDriver(path);
  const [ended, open] = ["completed", "waiting"];
  const columns = "num, id, workflow, status, token, lease_until, created_at, updated_at, head_version, head_checksum";
  db.exec(`WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
    INSERT INTO holdfast_runs (${columns})
    SELECT n, 'run-' || n, 'w-' || (n % 7), iif(n % 20000 = 5, '${open}', '${ended}'), 1, 0, n, n + 9, 1, 1 FROM numbers`);
  db.close();
  const [seconds, nanoseconds] = process.hrtime();
  const store = new SqliteStore(path);
  const found = await store.list({ status: ["running", "waiting"] });
  const last = await store.list({
    workflowId: "w-3",
    status: ["failed", "completed"],
    createdBefore: 50_000,
    limit: 1,
  });
  const gone = await store.prune({ endedBefore: 0, keep: 15_000 });
  const [more, rest] = process.hrtime([seconds, nanoseconds]);
  expect(found.map(({ runId }) => runId)).toEqual([80005, 60005, 40005, 20005, 5].map((n) => `run-${n}`));
  expect(last.map(({ runId }) => runId)).toEqual(["run-49997"]);
  expect(gone).toEqual([]);
  // It takes about 10 ms; that much more is left for a machine that does other things too.
  expect(more * 1000 + rest / 1e6).toBeLessThan(200);
  await store.close();
});
