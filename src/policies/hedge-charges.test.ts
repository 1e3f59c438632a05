import { expect, test } from "vitest";
import { pipeline } from "../core/pipeline.ts";
import type { Operation } from "../core/policy.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Hedge } from "./hedge.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { RetryPolicy } from "./retry.ts";
import { RetryBudget } from "./retry-budget.ts";
import { Timeout } from "./timeout.ts";

const MINUTE = 60_000;

function limiterOf(runtime: FakeRuntime, limit: number, maxWaitMs = 0): RateLimiter {
  return new RateLimiter({ limits: { requests: { limit, intervalMs: MINUTE } }, maxWaitMs }, runtime);
}

/** Takes so long, unless it is told to stop. */
function slow(runtime: FakeRuntime, ms = 100): { operation: Operation<string>; calls: () => number } {
  let calls = 0;
  return {
    operation: async ({ signal }) => {
      const call = ++calls;
      await runtime.clock.sleep(ms, signal);
      return `call ${call}`;
    },
    calls: () => calls,
  };
}

test("in the standard order, a hedge takes from the limiter and the retry budget, and the breaker counts its call once (C1.7, C3.4, C3.6)", async () => {
  const runtime = fakeRuntime();
  const breaker = new CircuitBreaker({}, runtime);
  const rateLimiter = limiterOf(runtime, 10);
  const retryBudget = new RetryBudget({ ratio: 0, minRetriesPerSecond: 0, capacity: 5 }, runtime);
  const policy = pipeline(
    new RetryPolicy({ retryBudget }, runtime),
    breaker,
    rateLimiter,
    new Hedge({ delayMs: 10, rateLimiter, retryBudget }, runtime),
    new Timeout({ attemptTimeoutMs: 1_000 }, runtime),
  );
  const { operation, calls } = slow(runtime);
  const value = policy.execute(operation, { cost: { requests: 2 } });
  await runtime.clock.advance(200);
  expect(await value).toBe("call 1");
  expect(calls()).toBe(2);
  expect(rateLimiter.getStats()).toMatchObject({ granted: 2, available: { requests: expect.closeTo(6, 1) as number } });
  expect(retryBudget.available).toBe(4);
  expect(breaker.getStats()).toMatchObject({ totalCalls: 1, totalFailures: 0 });
});

test("a hedge for which the limiter has no room is not made, and changes nothing of its call (C3.4, C3.6)", async () => {
  for (const outcome of ["value", "error"]) {
    const runtime = fakeRuntime();
    const rateLimiter = limiterOf(runtime, 1);
    const hedge = new Hedge({ delayMs: 10, rateLimiter }, runtime);
    let calls = 0;
    const settled = pipeline(rateLimiter, hedge).executeOutcome(async () => {
      calls++;
      await runtime.clock.sleep(100);
      if (outcome === "error") throw new Error("down");
      return "up";
    });
    await runtime.clock.advance(200);
    expect(await settled).toMatchObject(
      outcome === "error" ? { ok: false, refused: false, error: { message: "down" } } : { ok: true, value: "up" },
    );
    expect(calls).toBe(1);
  }
});

test("a hedge that waits for the limiter leaves the line when its call has ended (C1.6, C3.6)", async () => {
  const runtime = fakeRuntime();
  const rateLimiter = limiterOf(runtime, 1, 2 * MINUTE);
  const { operation, calls } = slow(runtime);
  const value = pipeline(rateLimiter, new Hedge({ delayMs: 10, rateLimiter }, runtime)).execute(operation);
  await runtime.clock.advance(50);
  expect(rateLimiter.getStats().waiting).toBe(1);
  await runtime.clock.advance(100);
  expect(await value).toBe("call 1");
  expect(rateLimiter.getStats()).toMatchObject({ waiting: 0, granted: 1 });
  expect(calls()).toBe(1);
  expect(runtime.clock.pendingTimers).toBe(0);
});

test("a limiter that only stands inside the hedge charges each call once (C3.4, C3.6)", async () => {
  const runtime = fakeRuntime();
  const rateLimiter = limiterOf(runtime, 10);
  const { operation } = slow(runtime);
  const value = pipeline(new Hedge({ delayMs: 10 }, runtime), rateLimiter).execute(operation);
  await runtime.clock.advance(200);
  await value;
  expect(rateLimiter.getStats().granted).toBe(2);
});

test("an empty retry budget withholds the hedge before the limiter is asked (C1.7, C3.6)", async () => {
  const runtime = fakeRuntime();
  const rateLimiter = limiterOf(runtime, 10);
  const retryBudget = new RetryBudget({ ratio: 0, minRetriesPerSecond: 0, capacity: 1 }, runtime);
  retryBudget.take();
  const hedge = new Hedge({ delayMs: 10, rateLimiter, retryBudget }, runtime);
  const { operation, calls } = slow(runtime);
  const value = pipeline(rateLimiter, hedge).execute(operation);
  await runtime.clock.advance(200);
  await value;
  expect(calls()).toBe(1);
  expect(rateLimiter.getStats().granted).toBe(1);
  expect(hedge.getStats()).toMatchObject({ hedges: 0, withheld: 1 });
});

test("what is no limiter is refused, and describe names the one that is (C0.3, C3.12)", () => {
  expect(() => new Hedge({ delayMs: 1, rateLimiter: {} as RateLimiter })).toThrow(
    "hedge.rateLimiter must be a RateLimiter, got an object.",
  );
  const rateLimiter = limiterOf(fakeRuntime(), 1);
  expect(new Hedge({ delayMs: 1, rateLimiter }).describe().options.rateLimiter).toMatchObject({ name: "rateLimiter" });
});
