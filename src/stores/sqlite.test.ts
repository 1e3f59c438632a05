import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { claimSynchronous, commits, connections, reset } from "../../test/watched-driver.ts";
import { StoreCorruptError, StoreUnavailableError } from "../core/errors.ts";
import type { Append, Claim } from "../core/store.ts";
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
  expect(executed.indexOf("PRAGMA synchronous=FULL")).toBeLessThan(executed.indexOf("BEGIN IMMEDIATE"));
  await store.close();
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
  expect(() => new SqliteStore(path)).toThrow(/newer version of Holdfast \(schema 99, this version knows 1\)/);
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
