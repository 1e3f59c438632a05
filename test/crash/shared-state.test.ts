import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { SqliteSharedState } from "../../src/stores/sqlite-shared-state.ts";
import { expectFreshBuild, startWorker, untilGone } from "./worker.ts";

const TIMES = 150;
const KILLS = 5;

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-shared-state-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function countsIn(log: string): number[] {
  const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
  return lines.filter((line) => line !== "").map(Number);
}

/** Two processes count in one file from the moment it is made; a third is killed over and over. */
async function countTogether(name: string, inTwoSteps: boolean): Promise<{ acknowledged: number[]; count: number }> {
  const path = join(folder, `${name}.db`);
  const logOf = (who: string): string => join(folder, `${name}-${who}.log`);
  const start = (who: string, times: number): ReturnType<typeof startWorker> =>
    startWorker("state-worker.mjs", { path, log: logOf(who), times, inTwoSteps });
  const steady = Promise.all(["one", "two"].map((who) => untilGone(start(who, TIMES))));
  for (let kill = 0; kill < KILLS; kill++) {
    const before = countsIn(logOf("killed")).length;
    const child = start("killed", 1e9);
    const gone = untilGone(child);
    while (child.exitCode === null && countsIn(logOf("killed")).length < before + 3 + kill)
      await new Promise((resolve) => setTimeout(resolve, 2));
    child.kill("SIGKILL");
    expect((await gone).signal).toBe("SIGKILL");
  }
  expect(await steady).toEqual(Array(2).fill({ code: 0, signal: null }));
  const state = new SqliteSharedState(path);
  const count = await state.update<number, number>("count", (last = 0) => ({ next: last, keepMs: 1000, result: last }));
  await state.close();
  return { acknowledged: ["one", "two", "killed"].flatMap((who) => countsIn(logOf(who))), count };
}

it("processes that count together, some of them killed, lose nothing that was acknowledged (C2.9)", async () => {
  const { acknowledged, count } = await countTogether("sound", false);
  expect(acknowledged.length).toBeGreaterThanOrEqual(2 * TIMES + 3 * KILLS);
  expect(new Set(acknowledged).size).toBe(acknowledged.length);
  // Who is killed between a commit and its answer has counted, and nobody was told.
  expect(count - acknowledged.length).toBeGreaterThanOrEqual(0);
  expect(count - acknowledged.length).toBeLessThanOrEqual(KILLS);
}, 60_000);

it("the same check finds updates that are not atomic (C2.9)", async () => {
  const { acknowledged, count } = await countTogether("in-two-steps", true);
  expect(new Set(acknowledged).size).toBeLessThan(acknowledged.length);
  expect(count).toBeLessThan(acknowledged.length - KILLS);
}, 60_000);
