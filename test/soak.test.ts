import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { expectFreshBuild } from "./crash/worker.ts";

interface Report {
  calls: number;
  heaps: number[];
  outcomes: { value: number; error: number; refused: number };
  seen: Record<string, number>;
  unhandled: string[];
  listeners: number;
  timers: number;
}

const MOST_BYTES_PER_MILLION = 1024 * 1024;

async function soak(calls: number, ...flags: string[]): Promise<Report> {
  const script = fileURLToPath(new URL("soak.mjs", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", script, String(calls), ...flags]);
  return JSON.parse(stdout) as Report;
}

/** How much the heap grows over a million calls, by the line of least squares through its sizes. */
function bytesPerMillion({ calls, heaps }: Report): number {
  const millions = heaps.map((_, i) => ((calls / 1e6) * i) / (heaps.length - 1));
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [middle, size] = [mean(millions), mean(heaps)];
  const covariance = mean(millions.map((at, i) => (at - middle) * (heaps[i]! - size)));
  return covariance / mean(millions.map((at) => (at - middle) ** 2));
}

beforeAll(expectFreshBuild);

describe("a million calls of all policies, however they end (C1.6, C3.1, C3.2)", () => {
  let report: Report;
  beforeAll(async () => {
    report = await soak(1_000_000);
  }, 600_000);

  test("leave the heap as it was, within a byte a call", () => {
    expect(report.calls).toBe(1_000_000);
    expect(bytesPerMillion(report)).toBeLessThan(MOST_BYTES_PER_MILLION);
  });

  test("leave no listener, no timer and no rejection that nobody observed", () => {
    expect(report).toMatchObject({ listeners: 0, timers: 0, unhandled: [] });
  });

  test("did end in every way", () => {
    for (const count of Object.values(report.outcomes)) expect(count).toBeGreaterThan(100_000);
    for (const [type, count] of Object.entries(report.seen)) expect([type, count > 50]).toEqual([type, true]);
    expect(Object.keys(report.seen).sort()).toEqual([
      "attempt.late",
      "breaker.changed",
      "breaker.rejected",
      "budget.exceeded",
      "budget.released",
      "budget.reserved",
      "budget.settled",
      "bulkhead.queued",
      "bulkhead.rejected",
      "chaos",
      "fallback",
      "hedge",
      "limiter.rejected",
      "limiter.waited",
      "lock.contended",
      "lock.timed_out",
      "retry.budget_rejected",
      "retry.exhausted",
      "retry.scheduled",
      "timeout",
    ]);
  });
});

test("a policy that keeps an object of each call is found out", async () => {
  expect(bytesPerMillion(await soak(100_000, "--plant"))).toBeGreaterThan(10 * MOST_BYTES_PER_MILLION);
}, 300_000);
