import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StartedRuns, workflowCalled } from "../../test/schedule-world.ts";
import { SqliteSharedState } from "../stores/sqlite-shared-state.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { Schedules } from "./schedules.ts";

const HOUR = 3_600_000;
const hourly = { cron: "0 * * * *", workflow: workflowCalled("report"), input: null, missed: "run-all" } as const;

let folder: string;
let runtime: FakeRuntime;
let runs: StartedRuns;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-schedules-"));
  runtime = fakeRuntime();
  runs = new StartedRuns();
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A process with a connection of its own to the file, whose machine has been up for so long. */
function opened(upMs: () => number): { schedules: Schedules; close(): Promise<void> } {
  const state = new SqliteSharedState(join(folder, "state.db"), { machineNow: upMs });
  const schedules = new Schedules({ runtime, state, runs: runs.port() });
  return {
    schedules,
    async close() {
      await schedules.close();
      await state.close();
    },
  };
}

test("a schedule in a file survives months and a restart of the machine, with its place in time (C5.11)", async () => {
  const before = opened(() => 5 * HOUR + runtime.clock.now());
  await before.schedules.schedule("hourly", hourly);
  await runtime.clock.advance(HOUR);
  await settled(() => runs.started.length === 1);
  await before.close();
  await runtime.clock.advance(100 * 24 * HOUR - 2 * HOUR);
  // The machine was up for less than the one before, so that its monotonic time is behind.
  const after = opened(() => 1_000);
  expect(await after.schedules.list()).toMatchObject([{ id: "hourly", cron: "0 * * * *", missed: "run-all" }]);
  await after.schedules.schedule("hourly", hourly);
  await settled(() => runs.started.length === 1_001);
  expect(runs.started.at(-1)!.runId).toBe("hourly@2026-04-10T23:00:00.000Z");
  await after.close();
});

test("two connections to one file start each due time once (C5.11)", async () => {
  const both = [opened(() => runtime.clock.now()), opened(() => runtime.clock.now())];
  for (const { schedules } of both) await schedules.schedule("hourly", hourly);
  for (let due = 1; due <= 5; due++) {
    await runtime.clock.advance(HOUR);
    await settled(() => runs.started.length === due);
  }
  expect(runs.times).toEqual(["01:00:00", "02:00:00", "03:00:00", "04:00:00", "05:00:00"]);
  expect(runs.asked).toHaveLength(5);
  for (const { close } of both) await close();
});

/** The file is written in turns of the event loop that the fake clock does not wait for. */
async function settled(done: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100_000 && !done(); turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(done()).toBe(true);
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
