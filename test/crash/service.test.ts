import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { RunRow } from "../../src/core/store.ts";
import { SqliteStore } from "../../src/stores/sqlite.ts";
import { expectFreshBuild, startWorker, untilGone, untilSaid } from "./worker.ts";

let folder: string;
let path: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-service-"));
  path = join(folder, "runs.db");
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

/** A service that has started runs which take so long. */
async function service(runs: Record<string, number>, drainMs: number, said = "up\n"): Promise<ChildProcess> {
  const child = startWorker("service-worker.mjs", { path, runs, drainMs });
  children.push(child);
  await untilSaid(child, said);
  return child;
}

async function rows(): Promise<Record<string, RunRow>> {
  const store = new SqliteStore(path);
  const list = await store.list();
  await store.close();
  return Object.fromEntries(list.map((row) => [row.runId, row]));
}

const HOUR = 3_600_000;

it("a service that is sent SIGTERM finishes what it may drain, gives back the rest, and says so by its code (C6.4)", async () => {
  const child = await service({ short: 300, long: HOUR }, 1500);
  const gone = untilGone(child);
  child.kill("SIGTERM");
  expect(await gone).toEqual({ code: 75, signal: null });
  const { short, long } = await rows();
  expect([short?.status, long?.status, long?.owner]).toEqual(["completed", "running", null]);
});

it("a service that is sent SIGTERM and has nothing left ends with code 0, before its time to drain is over (C6.4)", async () => {
  const child = await service({ short: 300 }, HOUR);
  const gone = untilGone(child);
  child.kill("SIGTERM");
  expect(await gone).toEqual({ code: 0, signal: null });
  expect((await rows())["short"]?.status).toBe("completed");
});

it("a second signal ends the draining at once (C6.4)", async () => {
  const child = await service({ long: HOUR }, HOUR);
  const gone = untilGone(child);
  child.kill("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(child.exitCode).toBeNull();
  child.kill("SIGINT");
  expect((await gone).code).toBe(75);
  expect((await rows())["long"]?.owner).toBeNull();
});

it("the runs of a service that was killed are recovered by the next one without waiting for their leases (C6.2)", async () => {
  const killed = await service({ a: 400, b: 400, c: 400 }, 0);
  const gone = untilGone(killed);
  killed.kill("SIGKILL");
  await gone;
  const next = await service({}, HOUR, "recovered 3/0/0/0\nup\n");
  const ended = untilGone(next);
  next.kill("SIGTERM");
  expect((await ended).code).toBe(0);
  expect(Object.values(await rows()).map(({ status }) => status)).toEqual(["completed", "completed", "completed"]);
});
