import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { seededRandom } from "../../src/core/random.ts";
import { SqliteStore } from "../../src/stores/sqlite.ts";
import { expectFreshBuild, startWorker, untilGone, untilSaid } from "./worker.ts";

const SEED = Number(process.env["CRASH_SEED"] ?? Date.now() % 1_000_000);
const EVERY_MS = 50;
const LIVES = 6;
/** Every other life has two processes, and there is one more at the end. */
const KILLS = LIVES * 1.5 + 1;

let folder: string;
const children = new Set<ChildProcess>();
beforeEach(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-schedule-"));
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

async function watcher(): Promise<ChildProcess> {
  const [path, log] = [join(folder, "runs.db"), join(folder, "log")];
  const child = startWorker("schedule-worker.mjs", { path, log, everyMs: EVERY_MS });
  children.add(child);
  await untilSaid(child, "up");
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = untilGone(child);
  child.kill("SIGKILL");
  await gone;
  children.delete(child);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The due times whose nodes were called, in order. */
function called(): number[] {
  const log = join(folder, "log");
  return existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").map(Number) : [];
}

it(`each due time has one run and none is missing, though the processes that watch are killed again and again; seed ${SEED} (C5.11)`, async () => {
  const random = seededRandom(SEED);
  for (let life = 0; life < LIVES; life++) {
    // Every other time there are two of them, and the one that is left goes on.
    const watchers = life % 2 === 0 ? [await watcher()] : [await watcher(), await watcher()];
    for (const child of watchers) {
      await pause(random() * 400);
      await kill(child);
    }
    await pause(random() * 200);
  }
  const last = await watcher();
  const until = Date.now();
  // What a killed process had taken up is started by another one within ten seconds.
  while (Math.max(0, ...called()) < until) await pause(20);
  await pause(500);
  await kill(last);

  const store = new SqliteStore(join(folder, "runs.db"));
  const runs = await store.list({ limit: Infinity });
  await store.close();
  const due = runs.map(({ runId }) => Date.parse(runId.split("@")[1]!)).sort((a, b) => a - b);
  const first = due[0]!;
  expect(due.length).toBeGreaterThan(KILLS);
  expect(due).toEqual(due.map((_, index) => first + index * EVERY_MS));
  const calls = called();
  expect(due.filter((at) => at <= until && !calls.includes(at))).toEqual([]);
  // A call that was in flight at a kill is made again: one for each process that was killed, at most.
  expect(calls.length).toBeLessThanOrEqual(due.length + KILLS);
}, 60_000);
