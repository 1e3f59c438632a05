import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Budget } from "../../src/policies/budget.ts";
import { SqliteSharedState } from "../../src/stores/sqlite-shared-state.ts";
import { expectFreshBuild, startWorker, untilGone } from "./worker.ts";

const LIMIT = 12_000;
const EACH = 7;
const KILLS = 4;
const LEASE_MS = 600;

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-shared-budget-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

it("processes that spend together, some of them killed, stay within the limit and charge what was written once (C3.7)", async () => {
  const path = join(folder, "budget.db");
  const logOf = (who: string): string => join(folder, `${who}.log`);
  const linesOf = (who: string, line: string): number =>
    existsSync(logOf(who))
      ? readFileSync(logOf(who), "utf8")
          .split("\n")
          .filter((each) => each === line).length
      : 0;
  const start = (who: string, pauseMs: number): ReturnType<typeof startWorker> =>
    startWorker("budget-worker.mjs", { path, log: logOf(who), limit: LIMIT, leaseMs: LEASE_MS, pauseMs });
  const steady = Promise.all(["one", "two"].map((who) => untilGone(start(who, 8))));
  for (let kill = 0; kill < KILLS; kill++) {
    const before = linesOf("killed", "charged");
    const child = start("killed", 0);
    const gone = untilGone(child);
    while (child.exitCode === null && linesOf("killed", "charged") < before + 3 + kill)
      await new Promise((resolve) => setTimeout(resolve, 2));
    child.kill("SIGKILL");
    expect((await gone).signal).toBe("SIGKILL");
  }
  // They end when no more than a part of a reservation is left: what the killed ones held is free by then.
  expect(await steady).toEqual(Array(2).fill({ code: 0, signal: null }));

  const state = new SqliteSharedState(path);
  const budget = new Budget({ name: "answers", limitTokens: LIMIT, sharedState: state });
  const { spent, reserved, remaining } = await budget.refresh();
  await state.close();
  const all = ["one", "two", "killed"];
  const sum = (line: string): number => all.reduce((total, who) => total + linesOf(who, line), 0);
  expect(reserved).toBe(0);
  expect(spent).toBeLessThanOrEqual(LIMIT);
  expect(remaining).toBeLessThan(10);
  expect(spent % EACH).toBe(0);
  expect(spent / EACH).toBeGreaterThanOrEqual(sum("charged"));
  // Who is killed between a reservation and its charge may have been charged, and did not say so.
  expect(spent / EACH).toBeLessThanOrEqual(sum("charged") + KILLS);
  expect(linesOf("killed", "charged")).toBeGreaterThanOrEqual(3 * KILLS);
}, 60_000);
