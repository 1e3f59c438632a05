import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { expectFreshBuild, startWorker, untilGone } from "./worker.ts";

const PROCESSES = ["one", "two", "three"];
const TIMES = 20;
const LIMIT = 10;
const INTERVAL_MS = 400;

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-shared-limiter-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** When processes were granted their calls, by the time of the place, and the most that any interval saw. */
async function callTogether(
  file: string,
  nameOf: (who: string) => string,
): Promise<{ grants: number[]; most: number }> {
  const limits = { requests: { limit: LIMIT, intervalMs: INTERVAL_MS, algorithm: "sliding-window" } };
  const path = join(folder, `${file}.db`);
  const logOf = (who: string): string => join(folder, `${file}-${who}.log`);
  const gone = PROCESSES.map((who) =>
    untilGone(startWorker("limiter-worker.mjs", { path, log: logOf(who), name: nameOf(who), limits, times: TIMES })),
  );
  expect(await Promise.all(gone)).toEqual(PROCESSES.map(() => ({ code: 0, signal: null })));
  const grants = PROCESSES.flatMap((who) => readFileSync(logOf(who), "utf8").trim().split("\n").map(Number));
  grants.sort((a, b) => a - b);
  const within = (from: number): number => grants.filter((at) => at >= from && at < from + INTERVAL_MS - 0.01).length;
  return { grants, most: Math.max(...grants.map(within)) };
}

it("processes that share a limiter stay within its limit together, in any window (C3.4)", async () => {
  const { grants, most } = await callTogether("shared", () => "api");
  expect(grants).toHaveLength(PROCESSES.length * TIMES);
  expect(most).toBe(LIMIT);
  // The last of six windows can begin after five intervals: little is lost on the way.
  expect(grants.at(-1)! - grants[0]!).toBeLessThan(7 * INTERVAL_MS);
}, 60_000);

it("the same check finds limiters that share nothing (C3.4)", async () => {
  const { most } = await callTogether("apart", (who) => who);
  expect(most).toBeGreaterThan(LIMIT);
}, 60_000);
