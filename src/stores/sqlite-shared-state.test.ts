import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { commits, connections, reset } from "../../test/watched-driver.ts";
import { StoreCorruptError, StoreUnavailableError } from "../core/errors.ts";
import type { SharedState } from "../core/shared-state.ts";
import { openDriver } from "./sqlite-driver.ts";
import { SqliteSharedState } from "./sqlite-shared-state.ts";
import { SqliteStore } from "./sqlite.ts";

vi.mock(import("./sqlite-driver.ts"), async (importOriginal) => {
  const { watched } = await import("../../test/watched-driver.ts");
  return watched(await importOriginal());
});

const folders: string[] = [];

function newPath(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-state-"));
  folders.push(folder);
  return join(folder, "deep", "state.db");
}

afterEach(() => {
  reset();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function add(state: SharedState, key: string, keepMs = 1000): Promise<number> {
  return state.update<number, number>(key, (last = 0) => ({ next: last + 1, keepMs, result: last + 1 }));
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function timeOf(state: SharedState): Promise<number> {
  return state.update<unknown, number>("time", (_, now) => ({ next: undefined, keepMs: 0, result: now }));
}

it("the file is opened by the first update, with FULL, and only its owner may read it (C6.5)", async () => {
  const path = newPath();
  const state = new SqliteSharedState(path, { busyTimeoutMs: 77 });
  expect(existsSync(path)).toBe(false);
  await add(state, "key");
  const { db, executed } = connections[0]!;
  expect(executed).toContain("PRAGMA busy_timeout=77");
  expect(db.prepare("PRAGMA synchronous").get()).toMatchObject({ synchronous: 2 });
  expect(db.prepare("PRAGMA journal_mode").get()).toMatchObject({ journal_mode: "wal" });
  expect(db.prepare("PRAGMA busy_timeout").get()).toMatchObject({ timeout: 0 });
  for (const name of ["", "-wal", "-shm"]) expect(statSync(path + name).mode & 0o777).toBe(0o600);
  expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
  await state.close();
});

it("updates that come within a turn share one commit and one instant (C2.9)", async () => {
  const state = new SqliteSharedState(newPath());
  const counts = await Promise.all(Array.from({ length: 64 }, (_, i) => add(state, `key ${i % 8}`)));
  expect(Math.max(...counts)).toBe(8);
  expect(commits()).toBe(1);
  const times = await Promise.all([timeOf(state), timeOf(state), timeOf(state)]);
  expect(commits()).toBe(2);
  expect(new Set(times).size).toBe(1);
  await state.close();
});

it("a commit that failed rejects what was in it, and the next update opens the file anew (C6.10)", async () => {
  const state = new SqliteSharedState(newPath());
  await add(state, "key");
  connections[0]!.refuse = "COMMIT";
  const outcomes = await Promise.allSettled([add(state, "key"), add(state, "other")]);
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(StoreUnavailableError) });
  expect(() => connections[0]!.db.exec("SELECT 1")).toThrow();
  expect(await Promise.all([add(state, "key"), add(state, "other")])).toEqual([2, 1]);
  expect(connections).toHaveLength(2);
  await state.close();
});

it("one that cannot be opened rejects, and is opened when it can (C6.10)", async () => {
  const state = new SqliteSharedState(newPath());
  const folder = folders[0]!;
  const blocker = new SqliteStore(join(folder, "deep"));
  await blocker.close();
  await expect(add(state, "key")).rejects.toThrow(StoreUnavailableError);
  rmSync(join(folder, "deep"));
  expect(await add(state, "key")).toBe(1);
  await state.close();
});

it("an update that is locked out waits its busy timeout, then says what to look for (C6.10)", async () => {
  const path = newPath();
  const state = new SqliteSharedState(path, { busyTimeoutMs: 20 });
  await add(state, "key");
  const holder = openDriver(path);
  holder.exec("BEGIN IMMEDIATE");
  await expect(add(state, "key")).rejects.toThrow(/another process has locked it for longer than/);
  holder.exec("ROLLBACK");
  expect(await add(state, "key")).toBe(2);
  holder.close();
  await state.close();
});

it("while another process writes, the event loop goes on, and the update is made once it is done (C2.9, C6.10)", async () => {
  const path = newPath();
  const state = new SqliteSharedState(path);
  await add(state, "key");
  const holder = openDriver(path);
  holder.exec("BEGIN IMMEDIATE");
  let turns = 0;
  const ticking = setInterval(() => {
    if (++turns === 20) holder.exec("ROLLBACK");
  }, 1);
  const added = await Promise.all([add(state, "key"), add(state, "key"), later(5).then(() => add(state, "key"))]);
  clearInterval(ticking);
  expect(turns).toBeGreaterThanOrEqual(20);
  expect(added).toEqual([2, 3, 4]);
  holder.close();
  await state.close();
});

it("one that is closed while another process writes waits for it, and says so where that takes too long", async () => {
  const path = newPath();
  const state = new SqliteSharedState(path, { busyTimeoutMs: 20 });
  await add(state, "key");
  const holder = openDriver(path);
  holder.exec("BEGIN IMMEDIATE");
  const refused = add(state, "key").catch(String);
  await later(5);
  await state.close();
  expect(await refused).toMatch(/another process has locked it/);
  holder.exec("ROLLBACK");
  holder.close();
});

it("it may lie in the file of a store, whichever comes first (C2.9)", async () => {
  const path = newPath();
  const state = new SqliteSharedState(path);
  await add(state, "key");
  const store = new SqliteStore(path);
  const lease = { owner: "one", leaseMs: 5000, isDead: () => false, reopen: false };
  await Promise.all([store.claim({ runId: "r", workflowId: "w", ...lease }), add(state, "key")]);
  expect(await add(state, "key")).toBe(3);
  expect((await store.get("r"))?.token).toBe(1);
  await state.close();
  await store.close();
  const again = new SqliteSharedState(path);
  expect(await add(again, "key")).toBe(4);
  await again.close();
});

it("what lies there outlives the process, and time goes on through a start of the machine (C0.4)", async () => {
  const path = newPath();
  let machine = 50_000;
  const machineNow = (): number => machine;
  const first = new SqliteSharedState(path, { machineNow });
  await add(first, "key", 1000);
  const start = await timeOf(first);
  machine += 600;
  expect(await timeOf(first)).toBe(start + 600);
  await first.close();
  machine = 3;
  const second = new SqliteSharedState(path, { machineNow });
  expect(await timeOf(second)).toBe(start + 600);
  machine += 399;
  expect(await add(second, "key", 1000)).toBe(2);
  machine += 1000;
  expect(await add(second, "key")).toBe(1);
  await second.close();
});

it("two handles that read the machine's own clock agree on time (C0.4)", async () => {
  const path = newPath();
  const handles = [new SqliteSharedState(path), new SqliteSharedState(path)];
  const start = performance.now();
  const first = await timeOf(handles[0]!);
  let last = first;
  for (let i = 0; i < 20; i++) {
    const now = await timeOf(handles[i % 2]!);
    expect(now).toBeGreaterThan(last);
    last = now;
  }
  expect(last - first).toBeLessThanOrEqual(performance.now() - start);
  for (const handle of handles) await handle.close();
});

it("entries that are gone are deleted, a few with each update (C2.9)", async () => {
  const path = newPath();
  let machine = 0;
  const state = new SqliteSharedState(path, { machineNow: () => machine });
  await Promise.all(Array.from({ length: 100 }, (_, i) => add(state, `gone ${i}`, 10)));
  await add(state, "kept", Infinity);
  const count = (): number =>
    (connections[0]!.db.prepare("SELECT COUNT(*) AS n FROM holdfast_state").get() as { n: number }).n;
  expect(count()).toBe(101);
  machine = 10;
  await add(state, "kept", Infinity);
  expect(count()).toBe(97);
  for (let i = 0; i < 24; i++) await add(state, "kept", Infinity);
  expect(count()).toBe(1);
  expect(await add(state, "kept", Infinity)).toBe(27);
  await state.close();
});

it("an entry that is damaged is StoreCorruptError, and leaves the others alone (C6.7)", async () => {
  const path = newPath();
  const state = new SqliteSharedState(path);
  await add(state, "key");
  connections[0]!.db.exec("UPDATE holdfast_state SET text = '{torn'");
  const [bad, good] = await Promise.allSettled([add(state, "key"), add(state, "other")]);
  expect(bad).toMatchObject({ status: "rejected", reason: expect.any(StoreCorruptError) });
  expect(good).toEqual({ status: "fulfilled", value: 1 });
  await state.close();
});

it("a file of a newer schema is refused and not touched (C5.10)", async () => {
  const path = newPath();
  const state = new SqliteSharedState(path);
  await add(state, "key");
  connections[0]!.db.exec("UPDATE holdfast_state_clock SET version = 99");
  await state.close();
  await expect(add(new SqliteSharedState(path), "key")).rejects.toThrow(/newer version of Holdfast \(schema 99/);
});

it("an option that it does not know, or a wrong value, is a ConfigError (C0.3)", () => {
  const path = newPath();
  expect(() => new SqliteSharedState(path, { busyTimeoutMs: -1 })).toThrow(/SqliteSharedState\.busyTimeoutMs must be/);
  expect(() => new SqliteSharedState(path, { fast: true } as never)).toThrow(/has no option "fast"/);
  expect(() => new SqliteSharedState("")).toThrow(/SqliteSharedState needs the path of a file/);
});
