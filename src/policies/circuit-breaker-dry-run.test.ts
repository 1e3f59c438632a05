import { expect, test } from "vitest";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Timeout } from "./timeout.ts";

const down = new Error("down");
const failing = (): Promise<never> => Promise.reject(down);

function make(options: CircuitBreakerOptions<never> = {}): { breaker: CircuitBreaker; runtime: FakeRuntime } {
  const runtime = fakeRuntime();
  const given = { name: "crm", dryRun: true, failureThreshold: 2, recoveryTimeoutMs: 1_000, ...options };
  return { breaker: new CircuitBreaker<never>(given, runtime), runtime };
}

test("a dry run opens, reports and counts what it would refuse, and lets everything through (C2.10)", async () => {
  const { breaker, runtime } = make();
  const events = record(runtime.events);
  for (let n = 0; n < 2; n++) await breaker.executeOutcome(failing);
  expect(breaker.state).toBe("OPEN");
  expect(await breaker.execute(() => "through")).toBe("through");
  expect(await breaker.executeOutcome(() => "as a value")).toEqual({ ok: true, value: "as a value" });
  expect(breaker.executeSync(() => "at once")).toBe("at once");
  const inner = pipeline(breaker, new Timeout({ attemptTimeoutMs: 500 }, runtime));
  expect(await inner.execute(() => "in a pipeline")).toBe("in a pipeline");
  await expect(breaker.execute(failing)).rejects.toBe(down);
  const refusals = events.filter(({ type }) => type === "breaker.rejected");
  expect(refusals).toHaveLength(5);
  expect(refusals[0]).toMatchObject({ policy: "crm", retryAfterMs: 1_000, dryRun: true });
  expect(breaker.getStats()).toMatchObject({ rejected: 5, totalCalls: 7, totalFailures: 3 });
});

test("without it the event says that the call was refused (C2.10)", async () => {
  const { breaker, runtime } = make({ dryRun: false });
  const events = record(runtime.events);
  breaker.isolate();
  await breaker.executeOutcome(() => 1);
  expect(events.at(-1)).toMatchObject({ type: "breaker.rejected", dryRun: false });
});

test("what comes of calls that it would have refused changes nothing; only those it would have admitted are probes (C2.10)", async () => {
  const { breaker, runtime } = make({ successThreshold: 2 });
  for (let n = 0; n < 2; n++) await breaker.executeOutcome(failing);
  for (let n = 0; n < 5; n++) await breaker.execute(() => "fine");
  await breaker.executeOutcome(failing);
  expect(breaker.state).toBe("OPEN");
  expect(breaker.getState().failureCount).toBe(2);
  await runtime.clock.advance(1_000);

  let settle: (value: string) => void = () => {};
  const probe = breaker.execute(() => new Promise<string>((resolve) => (settle = resolve)));
  // One probe runs: these are others, whatever becomes of them.
  for (let n = 0; n < 5; n++) await breaker.execute(() => "fine");
  await breaker.executeOutcome(failing);
  await breaker.executeOutcome(() => Promise.reject(new DOMException("", "AbortError")));
  expect(breaker.state).toBe("HALF_OPEN");
  expect(breaker.getState().successCount).toBe(0);
  settle("fine");
  await probe;
  expect(breaker.getState().successCount).toBe(1);
  await breaker.execute(() => "a second probe");
  expect(breaker.state).toBe("CLOSED");
});

test("a call that it would have refused counts for nothing later, in whatever state it ends (C2.3, C2.10)", async () => {
  const { breaker } = make({ failureThreshold: 1, recoveryTimeoutMs: 0, successThreshold: 1 });
  breaker.isolate();
  let fail: (error: Error) => void = () => {};
  const old = breaker.executeOutcome(() => new Promise((_, reject) => (fail = reject)));
  breaker.reset();
  fail(down);
  await old;
  expect(breaker.state).toBe("CLOSED");
  expect(breaker.getState().failureCount).toBe(0);
});

test("isolated by hand it refuses nothing either, and a fallback for refusals does not serve (C2.6, C2.10)", async () => {
  const { runtime } = make();
  const breaker = new CircuitBreaker({ dryRun: true, fallback: "stale" }, runtime);
  breaker.isolate();
  expect(await breaker.execute(() => "fresh")).toBe("fresh");
  expect(breaker.executeSync(() => "fresh")).toBe("fresh");
  expect(breaker.getStats().rejected).toBe(2);
});
