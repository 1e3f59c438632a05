import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { oldFile, STRANGE_CODE } from "../../test/old-store.ts";
import { appendOf, claimOf, letterOf } from "../testing/store-bench.ts";
import { openDriver } from "./sqlite-driver.ts";
import { SqliteStore } from "./sqlite.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-schema-"));
  path = join(folder, "runs.db");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** All that says how a file is built. */
function structureOf(file: string): unknown[] {
  const db = openDriver(file);
  const parts = db.prepare("SELECT name, sql FROM sqlite_master ORDER BY name").all() as Record<
    string,
    string | null
  >[];
  const { version } = db.prepare("SELECT version FROM holdfast_schema").get() as { version: number };
  db.close();
  return [version, ...parts.map(({ name, sql }) => [name, sql?.replace(/\s+/g, " ")])];
}

it("a file of the first version keeps what is in it, and gets what was added since (C5.10)", async () => {
  oldFile(path);
  const store = new SqliteStore(path);
  expect((await store.list()).map(({ runId, status }) => [runId, status])).toEqual([
    ["ended", "failed"],
    ["open", "running"],
  ]);
  expect(await store.get("open")).toEqual({
    ...{ runId: "open", workflowId: "w", status: "running", token: 3, owner: "old", leaseUntil: 50, wakeAt: null },
    ...{ createdAt: 10, updatedAt: 11, version: 2, snapshot: null, head: { version: 1, checksum: 7 } },
  });
  expect((await store.read("open")).map(({ seq, body, checksum }) => [seq, [...body], checksum])).toEqual([
    [0, [1, 2], 7],
    [1, [], 4_000_000_000],
  ]);
  expect((await store.deadLetters({ errorCode: STRANGE_CODE })).map(({ id }) => id)).toEqual(["dl-code"]);
  expect((await store.deadLetters({ runId: "ended" })).map(({ id }) => id)).toEqual(["dl-done", "dl-code"]);
  // What is settled is known without looking into the entries.
  expect(await store.pruneDeadLetters(1000)).toBe(1);
  expect(await store.prune({ keep: 0 })).toEqual([]);

  const { token, version } = await store.claim(claimOf("open", { owner: "new", isDead: () => true }));
  expect([token, version]).toEqual([4, 2]);
  await store.append(appendOf("open", 4, 2, { snapshotAfter: 4_000_000_000, deadLetters: [letterOf("dl-new")] }));
  expect(await store.get("open")).toMatchObject({ snapshot: { seq: 2, previous: 4_000_000_000 } });
  await store.close();
});

it("a file that was brought up to date is built as a new one (C5.10)", async () => {
  oldFile(path);
  await new SqliteStore(path).close();
  const fresh = join(folder, "fresh.db");
  await new SqliteStore(fresh).close();
  expect(structureOf(path)).toEqual(structureOf(fresh));
  await new SqliteStore(path).close();
  expect(structureOf(path)).toEqual(structureOf(fresh));
});

it("a step that fails leaves the file as it was (C5.10)", async () => {
  oldFile(path);
  const db = openDriver(path);
  db.exec("UPDATE holdfast_dead_letters SET body = 'no JSON' WHERE id = 'dl-done'");
  db.close();
  const before = structureOf(path);
  expect(() => new SqliteStore(path)).toThrow(/cannot open the store/);
  expect(structureOf(path)).toEqual(before);
});
