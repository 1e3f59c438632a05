import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createEngine } from "../../src/default-engine.ts";
import { SqliteStore } from "../../src/stores/sqlite.ts";
import { Workflow } from "../../src/workflow.ts";
import { oldFile } from "../old-store.ts";
import { expectFreshBuild, startWorker, untilGone, untilSaid } from "./worker.ts";

let root: string;
let folder: string;
let folders = 0;
beforeAll(() => {
  expectFreshBuild();
  root = mkdtempSync(join(tmpdir(), "holdfast-disk-"));
  chmodSync(root, 0o755);
});
beforeEach(() => mkdirSync((folder = join(root, String(++folders)))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What a worker said, line by line, when it is gone. */
async function said(task: object, wrapper: readonly string[] = []): Promise<unknown[]> {
  const child = startWorker("disk-worker.mjs", task, wrapper);
  let text = "";
  child.stdout!.on("data", (data: Buffer) => (text += data.toString()));
  const { code } = await untilGone(child);
  expect(code).toBe(0);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);
}

// strace is on few machines and not allowed everywhere. Where it is not, there is nothing to count with; one machine
// on which it must be there sets REQUIRE.
const canTrace = spawnSync("strace", ["-f", "-o", "/dev/null", "true"]).status === 0 || process.env["REQUIRE"] === "1";
if (!canTrace) console.warn("SKIPPED, no strace: the counting of syncs (C6.5)");

describe.runIf(canTrace)("counted by the kernel", () => {
  /** What a worker asked the kernel to sync, as `strace` shows it. */
  async function syncsOf(task: object): Promise<string[]> {
    const trace = join(folder, "trace");
    await said(task, ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace]);
    return readFileSync(trace, "utf8")
      .split("\n")
      .filter((line) => /f(data)?sync\(/.test(line));
  }

  it("each acknowledged append is synced (C6.5)", async () => {
    const syncs = await syncsOf({ task: "append", path: join(folder, "runs.db"), count: 40 });
    expect(syncs.filter((line) => line.includes("runs.db-wal>")).length).toBeGreaterThanOrEqual(40);
  });

  it("appends of one turn share a sync (C6.5)", async () => {
    const syncs = await syncsOf({ task: "append", path: join(folder, "runs.db"), count: 64, atOnce: true });
    expect(syncs.length).toBeLessThan(20);
  });

  it("a relaxed store does not wait for the disk, and says so (C6.5)", async () => {
    const task = { task: "append", path: join(folder, "runs.db"), count: 40, durability: "relaxed" };
    expect((await syncsOf(task)).filter((line) => line.includes("runs.db-wal>")).length).toBeLessThan(10);
    const store = new SqliteStore(join(folder, "runs.db"), { durability: "relaxed" });
    expect([store.durability, (await store.read("r0")).length]).toEqual(["relaxed", 40]);
    await store.close();
  });

  it("the same count finds a store that syncs as seldom as synchronous=NORMAL (C6.5)", async () => {
    const task = { task: "append", path: join(folder, "runs.db"), count: 40, synchronous: "NORMAL" };
    expect((await syncsOf(task)).filter((line) => line.includes("runs.db-wal>")).length).toBeLessThan(10);
  });

  it("folders in which a name is new are synced, so that the file is found again (C6.5)", async () => {
    const syncs = await syncsOf({ task: "append", path: join(folder, "deep", "deeper", "runs.db"), count: 1 });
    for (const made of [folder, join(folder, "deep"), join(folder, "deep", "deeper")])
      expect(syncs.some((line) => line.includes(`<${made}>`))).toBe(true);
  });
});

it("when the disk is full the run stops with a typed error, and goes on where there is room (C6.10)", async () => {
  const path = join(folder, "runs.db");
  // A limit on the size of files: writing beyond it fails as on a full disk, and needs no disk to be filled.
  const limited = ["bash", "-c", 'ulimit -f 600; exec "$@"', "bash"];
  const lines = (await said({ task: "fill", path }, limited)) as Record<string, unknown[]>[];
  const { stopped } = lines.at(-1)!;
  const [stoppedRun, error] = stopped as [string, { name: string; code: string; message: string }];
  expect(error).toMatchObject({ name: "StoreUnavailableError", code: "STORE_UNAVAILABLE" });
  expect(error.message).toContain(`cannot write to the store ${path}`);
  const acknowledged = lines.flatMap((line) =>
    line["acknowledged"] === undefined ? [] : [line["acknowledged"].join()],
  );
  const ended = lines.flatMap((line) => (line["ended"] === undefined ? [] : [line["ended"]]));
  expect(ended.length).toBeGreaterThan(0);

  // The same work again, with room.
  const again = (await said({ task: "fill", path, runs: ended.length + 1 })) as Record<string, unknown[]>[];
  for (const { called } of again) if (called !== undefined) expect(acknowledged).not.toContain(called.join());
  expect(again.filter((line) => line["ended"] !== undefined).map((line) => line["ended"])).toEqual([
    ...ended,
    [stoppedRun, "completed", 60_000],
  ]);
  const store = new SqliteStore(path);
  expect(await store.deadLetters()).toEqual([]);
  await store.close();
});

describe("somebody without the rights to write", () => {
  // Root may write everywhere, so the worker gives its rights up where it has them.
  it("is told that the folder is read-only, before anything runs (C6.10)", async () => {
    const path = join(folder, "runs.db");
    chmodSync(folder, 0o555);
    const [error] = await said({ task: "poor", path, ...warmed() });
    expect(error).toMatchObject({ name: "StoreUnavailableError", code: "STORE_UNAVAILABLE" });
    expect((error as Error).message).toContain(`cannot open the store ${path}`);
    expect(existsSync(path)).toBe(false);
    chmodSync(folder, 0o755);
  });

  it("is told that the file is read-only (C6.10)", async () => {
    const path = join(folder, "runs.db");
    await new SqliteStore(path).close();
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
    chmodSync(path, 0o444);
    chmodSync(folder, 0o777);
    const [error] = await said({ task: "poor", path, ...warmed() });
    expect(error).toMatchObject({ name: "StoreUnavailableError", code: "STORE_UNAVAILABLE" });
    expect((error as Error).message).toMatch(/it is read-only\. Check the permissions/);
  });

  it("is told that the folder of a file is read-only (C6.10)", async () => {
    const path = join(folder, "runs.db");
    await new SqliteStore(path).close();
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
    chmodSync(path, 0o666);
    chmodSync(folder, 0o555);
    const [error] = await said({ task: "poor", path, ...warmed() });
    expect(error).toMatchObject({ name: "StoreUnavailableError", code: "STORE_UNAVAILABLE" });
    expect((error as Error).message).toMatch(/it is read-only\. Check the permissions of the file and of its folder/);
    chmodSync(folder, 0o755);
  });

  // Loads what it needs beside the folder, while it may.
  const warmed = (): object => ({ warm: join(root, "warm.db") });
});

it("a store that another process has locked says so, and works when it is free (C6.10)", async () => {
  const path = join(folder, "runs.db");
  const store = new SqliteStore(path, { busyTimeoutMs: 30 });
  const workflow = new Workflow({ id: "w" }).addNode("n", (n: number) => n + 1);
  const engine = createEngine({ store });
  const holder = startWorker("disk-worker.mjs", { task: "lock", path });
  await untilSaid(holder, "locked");
  const refused = engine.run(workflow, 1, { runId: "r" });
  await expect(refused).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  await expect(refused).rejects.toThrow(/another process has locked it/);
  const gone = untilGone(holder);
  holder.kill("SIGKILL");
  await gone;
  expect(await engine.run(workflow, 1, { runId: "r" })).toMatchObject({ output: 2 });
  await engine.close();
});

it("programs that open a file of an older version together bring it up to date once, and lose nothing (C5.10)", async () => {
  const path = join(folder, "runs.db");
  for (let round = 0; round < 3; round++) {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
    oldFile(path);
    // They wait for each other until all are loaded, so that they meet.
    const start = join(folder, `start-${round}`);
    const workers = Array.from({ length: 4 }, (_, i) => said({ task: "meet", path, start, runId: `new-${i}` }));
    await new Promise((resolve) => setTimeout(resolve, 400));
    writeFileSync(start, "");
    expect(await Promise.all(workers)).toEqual(Array(4).fill([{ wrote: true }]));
    const store = new SqliteStore(path);
    const ids = (await store.list()).map(({ runId }) => runId).toSorted();
    expect(ids).toEqual(["ended", "new-0", "new-1", "new-2", "new-3", "open"]);
    expect((await store.read("open")).length).toBe(2);
    expect(await store.deadLetterCounts()).toMatchObject({ pending: 1, succeeded: 1 });
    await store.close();
  }
});
