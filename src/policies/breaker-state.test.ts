import { expect, test } from "vitest";
import { breakerSettings } from "./breaker-options.ts";
import { type BreakerState, worthKeeping } from "./breaker-state.ts";

const settings = breakerSettings({ recoveryTimeoutMs: 1_000, probeTimeoutMs: 100 });

test("a breaker that nobody holds is kept while it refuses, half-open for as long as a probe may still come, and by hand for ever (C2.7)", () => {
  const until = (state: BreakerState): number[] =>
    [5_999, 6_000, 7_099, 7_100, 1e12].filter((now) => worthKeeping(settings, state, now));
  expect(until({ kind: "open", openedAt: 5_000, until: 6_000, failures: 1, refusal: null })).toEqual([5_999]);
  const halfOpen = { kind: "half_open", openedAt: 5_000, failures: 1, successes: 0, probes: new Map() } as const;
  expect(until(halfOpen)).toEqual([5_999, 6_000, 7_099]);
  expect(until({ kind: "closed", calls: 9, failures: 1 })).toEqual([]);
  expect(until({ kind: "isolated", refusal: null })).toHaveLength(5);
  expect(until({ kind: "disabled" })).toHaveLength(5);
});
