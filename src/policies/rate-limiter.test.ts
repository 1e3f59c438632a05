import { AsyncLocalStorage } from "node:async_hooks";
import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { CircuitBreakerOpenError, ConfigError, isRefusal } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import { RateLimitedError } from "../core/policy-errors.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { RateLimiterOptions, RateLimits } from "./rate-limits.ts";
import { RetryPolicy } from "./retry.ts";

/** Two requests a second, one more each half second. */
const TWO: RateLimits = { requests: { limit: 2, intervalMs: 1_000 } };

function limiterOf(options: Partial<RateLimiterOptions> = {}): { runtime: FakeRuntime; limiter: RateLimiter } {
  const runtime = fakeRuntime();
  return { runtime, limiter: new RateLimiter({ name: "api", limits: TWO, ...options }, runtime) };
}

/** An operation that notes when it is called. */
function noting(runtime: FakeRuntime): { calls: number[]; note: () => number } {
  const calls: number[] = [];
  return { calls, note: () => calls.push(runtime.clock.now()) };
}

const refusalOf = (call: Promise<unknown>): Promise<RateLimitedError> =>
  call.then(
    () => expect.unreachable("it was let through"),
    (error: unknown) => (expect(error).toBeInstanceOf(RateLimitedError), error as RateLimitedError),
  );

describe("waiting", () => {
  test("calls beyond the limit wait their turn, first come, first served (C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    const log = record(runtime.events);
    const order: [number, number][] = [];
    const calls = [0, 1, 2, 3, 4].map((n) => limiter.execute(() => order.push([n, runtime.clock.now()])));
    expect(limiter.getStats()).toMatchObject({ granted: 2, waiting: 3, available: { requests: 0 } });
    await runtime.clock.advance(2_000);
    await Promise.all(calls);
    expect(order).toEqual([
      [0, 0],
      [1, 0],
      [2, 500],
      [3, 1_000],
      [4, 1_500],
    ]);
    expect(log).toMatchObject([500, 1_000, 1_500].map((waitMs) => ({ type: "limiter.waited", waitMs, dryRun: false })));
    expect(limiter.getStats()).toMatchObject({ granted: 5, waited: 3, rejected: 0, waiting: 0 });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a cheap call does not overtake a dear one (C3.4)", async () => {
    const { runtime, limiter } = limiterOf({ limits: { tokens: { limit: 10, intervalMs: 1_000 } } });
    const order: string[] = [];
    const spend = (name: string, tokens: number): Promise<unknown> =>
      limiter.execute(() => order.push(`${name} at ${runtime.clock.now()}`), { cost: { tokens } });
    const calls = [spend("first", 8), spend("dear", 10), spend("cheap", 1)];
    await runtime.clock.advance(1_000);
    await Promise.all(calls);
    expect(order).toEqual(["first at 0", "dear at 800", "cheap at 900"]);
  });

  test("whoever comes while the timer of the first in line is late lets that one through first (C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    // Made before the limiter's own timer, so it fires before that at the same instant.
    runtime.clock.timer(500, () => {
      expect(limiter.getStats()).toMatchObject({ granted: 2, waiting: 1 });
      expect(() => limiter.executeSync(() => "second")).toThrow(RateLimitedError);
      expect(limiter.getStats()).toMatchObject({ granted: 3, waiting: 0 });
    });
    for (let i = 0; i < 2; i++) await limiter.execute(() => i);
    const first = limiter.execute(() => "first");
    await runtime.clock.advance(500);
    expect(await first).toBe("first");
  });

  test("a jump of the wall clock brings no call forward and holds none back (C0.4, C3.4)", async () => {
    for (const algorithm of ["token-bucket", "sliding-window"] as const) {
      for (const jump of [-3_600_000, 31_536_000_000]) {
        const { runtime, limiter } = limiterOf({ limits: { requests: { limit: 1, intervalMs: 1_000, algorithm } } });
        const { calls, note } = noting(runtime);
        const both = [limiter.execute(note), limiter.execute(note)];
        runtime.clock.jumpWall(jump);
        await runtime.clock.advance(1_000);
        await Promise.all(both);
        expect(calls).toEqual([0, 1_000]);
      }
    }
  });

  test("the operation runs in the async context of its caller (C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    const tenant = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const calls = ["a", "b", "c", "d"].map((name) =>
      tenant.run(name, () => limiter.execute(() => seen.push(tenant.getStore()))),
    );
    await runtime.clock.advance(1_000);
    await Promise.all(calls);
    expect(seen).toEqual(["a", "b", "c", "d"]);
  });

  test("an abort leaves the line at once, and the next moves up (C1.6, C3.4)", async () => {
    const { runtime, limiter } = limiterOf({ limits: { tokens: { limit: 10, intervalMs: 1_000 } } });
    const { calls, note } = noting(runtime);
    const caller = new AbortController();
    const spend = (tokens: number, signal?: AbortSignal): Promise<unknown> =>
      limiter.execute(note, { cost: { tokens }, signal });
    await spend(10);
    const dear = spend(9, caller.signal);
    const cheap = spend(1);
    await runtime.clock.advance(50);
    caller.abort(new Error("no longer needed"));
    await expect(dear).rejects.toThrow("no longer needed");
    expect(runtime.clock.now()).toBe(50);
    await runtime.clock.advance(50);
    await cheap;
    expect(calls).toEqual([0, 100]);
    expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("100 000 calls in line leave it in any order in O(1) each (C3.4)", async () => {
    const { limiter, runtime } = limiterOf({ maxWaitMs: Infinity });
    const callers = Array.from({ length: 100_000 }, () => new AbortController());
    const calls = callers.map(({ signal }) => limiter.executeOutcome(() => 1, { signal }));
    const started = performance.now();
    for (let i = callers.length - 1; i >= 0; i--) callers[i]!.abort();
    await Promise.all(calls);
    // A line that is searched needs minutes for it.
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(limiter.getStats().waiting).toBe(0);
    expect(runtime.clock.pendingTimers).toBe(0);
  }, 60_000);

  test("an abort between the grant and the call gives the room back (C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    const caller = new AbortController();
    for (let i = 0; i < 2; i++) await limiter.execute(() => i);
    const aborted = limiter.execute(() => expect.unreachable(), { signal: caller.signal });
    const next = limiter.execute(() => runtime.clock.now());
    await runtime.clock.advance(0);
    limiter.update({ limits: { requests: { limit: 3, intervalMs: 1_000 } } });
    expect(limiter.getStats()).toMatchObject({ granted: 3, waiting: 1 });
    caller.abort(new Error("gone"));
    await expect(aborted).rejects.toThrow("gone");
    expect(await next).toBe(0);
    expect(limiter.getStats()).toMatchObject({ granted: 3, waited: 1, waiting: 0 });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("an aborted call neither takes anything nor waits (C1.6)", async () => {
    const { limiter } = limiterOf();
    const signal = AbortSignal.abort(new Error("gone"));
    await expect(limiter.execute(() => 1, { signal })).rejects.toThrow("gone");
    expect(await limiter.executeOutcome(() => 1, { signal })).toMatchObject({ ok: false, refused: false });
    expect(limiter.getStats()).toMatchObject({ granted: 0, available: { requests: 2 } });
  });
});

describe("refusing", () => {
  test("with maxWaitMs: 0 no call waits, and the error says when there is room (C0.5, C3.4)", async () => {
    const { runtime, limiter } = limiterOf({ maxWaitMs: 0 });
    const log = record(runtime.events);
    for (let i = 0; i < 2; i++) await limiter.execute(() => i);
    const error = await refusalOf(limiter.execute(() => expect.unreachable()));
    expect(error).toMatchObject({ code: "RATE_LIMITED", limiterName: "api", why: "wait", retryAfterMs: 500 });
    expect(error.message).toBe(
      'Rate limiter "api" (2 requests per 1000 ms) has no room for this call before 500 ms have passed, which is longer than it may wait. Try again then.',
    );
    expect(isRefusal(error)).toBe(true);
    expect(log).toMatchObject([{ type: "limiter.rejected", policy: "api", why: "wait", retryAfterMs: 500 }]);
    await runtime.clock.advance(500);
    expect(await limiter.execute(() => "room")).toBe("room");
    expect(limiter.getStats()).toMatchObject({ granted: 3, rejected: 1 });
  });

  test("an outcome gives the refusal as a value (C3.10, C10.1)", async () => {
    const { limiter } = limiterOf({ maxWaitMs: 0 });
    for (let i = 0; i < 2; i++) expect(await limiter.executeOutcome(() => i)).toEqual({ ok: true, value: i });
    const outcome = await limiter.executeOutcome(() => expect.unreachable());
    expect(outcome).toMatchObject({ ok: false, refused: true, retryAfterMs: 500 });
    expect((outcome as { error: unknown }).error).toBeInstanceOf(RateLimitedError);
  });

  test("a call that would have to wait longer than maxWaitMs is refused at once, the line before it counted (C3.4)", async () => {
    const { runtime, limiter } = limiterOf({ maxWaitMs: 1_000 });
    const calls = [1, 2, 3, 4].map((n) => limiter.execute(() => n));
    const error = await refusalOf(limiter.execute(() => expect.unreachable()));
    expect([error.retryAfterMs, runtime.clock.now()]).toEqual([1_500, 0]);
    // The last of the others waits to the very end of its time.
    await runtime.clock.advance(1_000);
    expect(await Promise.all(calls)).toEqual([1, 2, 3, 4]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("no wait starts that cannot end before the deadline (C3.1, C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    for (let i = 0; i < 2; i++) await limiter.execute(() => i);
    const error = await refusalOf(limiter.execute(() => expect.unreachable(), { deadlineMs: 500 }));
    expect(error).toMatchObject({ why: "deadline", retryAfterMs: 500 });
    expect([runtime.clock.now(), runtime.clock.pendingTimers]).toEqual([0, 0]);
    const inTime = limiter.execute(() => "in time", { deadlineMs: 501 });
    await runtime.clock.advance(500);
    expect(await inTime).toBe("in time");
  });

  test("a wait that grows beyond its time ends with it (C3.1, C3.4)", async () => {
    const { runtime, limiter } = limiterOf({ maxWaitMs: 800 });
    for (let i = 0; i < 2; i++) await limiter.execute(() => i);
    const late = refusalOf(limiter.execute(() => expect.unreachable()));
    const tooLate = refusalOf(limiter.execute(() => expect.unreachable(), { deadlineMs: 1_001 })).catch(() => null);
    limiter.learn({ "retry-after": "3" });
    await runtime.clock.advance(800);
    expect(await late).toMatchObject({ why: "wait", retryAfterMs: 2_200 });
    await tooLate;
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a cost above what there can ever be is refused at once, and no retry repeats it (C0.8, C3.4)", async () => {
    for (const maxWaitMs of [0, Infinity]) {
      const { runtime, limiter } = limiterOf({ limits: { tokens: { limit: 100, burst: 50 } }, maxWaitMs });
      const error = await refusalOf(limiter.execute(() => 1, { cost: { tokens: 51 } }));
      expect([error.why, error.retryAfterMs]).toEqual(["capacity", undefined]);
      expect(error.message).toBe(
        'Rate limiter "api" can never let this call through: it takes 51 tokens, where there are never more than 50. Ask for less, or raise the limit.',
      );
      const retrying = new Pipeline([new RetryPolicy({}, runtime), limiter], runtime);
      await refusalOf(retrying.execute(() => 1, { cost: { tokens: 51 } }));
      expect(limiter.getStats()).toMatchObject({ rejected: 2, waiting: 0, available: { tokens: 50 } });
    }
  });

  test("a retry outside waits as long as the refusal says (C0.8, C3.4)", async () => {
    const { runtime, limiter } = limiterOf({ maxWaitMs: 0 });
    const { calls, note } = noting(runtime);
    const both = new Pipeline([new RetryPolicy({ initialDelayMs: 1, maxDelayMs: 1 }, runtime), limiter], runtime);
    const all = [1, 2, 3].map(() => both.execute(note));
    await runtime.clock.advance(600);
    await Promise.all(all);
    expect(calls).toEqual([0, 0, 500]);
  });

  test("executeSync lets through or refuses, and never overtakes the line (C3.10)", async () => {
    const { runtime, limiter } = limiterOf();
    expect([limiter.executeSync(() => 1), limiter.executeSync(() => 2)]).toEqual([1, 2]);
    expect(() => limiter.executeSync(() => expect.unreachable())).toThrow(RateLimitedError);
    const waiting = limiter.execute(() => 3);
    expect(() => limiter.executeSync(() => expect.unreachable())).toThrow("1000 ms");
    await runtime.clock.advance(500);
    expect(await waiting).toBe(3);
    await runtime.clock.advance(500);
    expect(() =>
      limiter.executeSync(() => {
        throw new TypeError("own");
      }),
    ).toThrow(TypeError);
  });

  test("a dry run counts and reports, holds nobody up and refuses nobody (C2.10)", async () => {
    const { runtime, limiter } = limiterOf({ maxWaitMs: 1_000, dryRun: true });
    const log = record(runtime.events);
    for (let i = 0; i < 6; i++) expect(await limiter.execute(() => i)).toBe(i);
    expect(await limiter.execute(() => "dear", { cost: { requests: 3 } })).toBe("dear");
    expect(log).toMatchObject([
      { type: "limiter.waited", waitMs: 500, dryRun: true },
      { type: "limiter.waited", waitMs: 1_000, dryRun: true },
      { type: "limiter.rejected", why: "wait", retryAfterMs: 1_500, dryRun: true },
      { type: "limiter.rejected", why: "wait", dryRun: true },
      { type: "limiter.rejected", why: "capacity", dryRun: true },
    ]);
    expect(limiter.getStats()).toMatchObject({ granted: 4, waited: 2, rejected: 3, waiting: 0 });
    expect([runtime.clock.now(), runtime.clock.pendingTimers]).toEqual([0, 0]);
  });
});

describe("inside a pipeline", () => {
  test("what another policy refuses costs nothing, and what the operation throws costs (C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    const breaker = new CircuitBreaker({ failureThreshold: 1 }, runtime);
    const both = new Pipeline([limiter, breaker], runtime);
    await expect(both.execute(() => Promise.reject(new Error("down")))).rejects.toThrow("down");
    await expect(both.execute(() => 1)).rejects.toThrow(CircuitBreakerOpenError);
    expect(limiter.getStats()).toMatchObject({ granted: 1, available: { requests: 1 } });
    const own = new CircuitBreakerOpenError("of another call", 1, 60_000);
    await expect(limiter.execute(() => Promise.reject(own))).rejects.toBe(own);
    expect(limiter.getStats()).toMatchObject({ granted: 2, available: { requests: 0 } });
    // A refusal of something else is no word of the server.
    await runtime.clock.advance(1_000);
    expect(await limiter.execute(() => "open")).toBe("open");
  });

  test("each attempt of a retry takes its own, and a call that says its cost says it once (C3.4)", async () => {
    const { runtime, limiter } = limiterOf({ limits: { tokens: { limit: 100, cost: 1 } } });
    const both = new Pipeline([new RetryPolicy({ strategy: "immediate" }, runtime), limiter], runtime);
    const call = both.execute(({ attempt }) => (attempt < 3 ? Promise.reject(new Error("busy")) : attempt), {
      cost: { tokens: 20 },
    });
    await runtime.clock.advance(0);
    expect(await call).toBe(3);
    expect(limiter.getStats().available).toEqual({ tokens: 40 });
  });

  test("describe shows the limits in effect (C3.12)", () => {
    const cost = (text: string): number => text.length;
    const limits: RateLimits = { tokens: { limit: 9, cost } };
    expect(limiterOf({ limits }).limiter.describe()).toEqual({
      kind: "rateLimiter",
      name: "api",
      options: {
        limits: { tokens: { limit: 9, intervalMs: 60_000, cost: "the function cost" } },
        maxWaitMs: 60_000,
        learn: true,
        hasSharedState: false,
        dryRun: false,
      },
    });
    expect(new RateLimiter({ limits }).name).toBe("rateLimiter");
  });
});

describe("checking its options", () => {
  test.each([
    [{}, "rateLimiter.limits is missing"],
    [{ limits: {} }, "rateLimiter.limits needs requests, tokens or both"],
    [{ limits: { calls: { limit: 1 } } }, 'rateLimiter.limits has no option "calls"'],
    [{ limits: { requests: {} } }, "rateLimiter.limits.requests.limit is missing"],
    [{ limits: { requests: { limit: 0 } } }, "rateLimiter.limits.requests.limit must be a number above 0, got 0"],
    [{ limits: { requests: { limit: NaN } } }, "got NaN"],
    [{ limits: { tokens: { limit: 1, cost: -1 } } }, "rateLimiter.limits.tokens.cost must be"],
    [{ limits: { tokens: { limit: 1, intervalMs: 0 } } }, "intervalMs must be a number of milliseconds above 0"],
    [{ limits: { tokens: { limit: 1, algorithm: "sliding-window", burst: 2 } } }, "burst is for a token bucket"],
    [{ limits: TWO, maxWaitMs: -1 }, "maxWaitMs must be a number of milliseconds, 0 or more, or Infinity, got -1"],
    [{ limits: TWO, maxWaitMs: "5" }, "rateLimiter.maxWaitMs must be"],
    [{ limits: TWO, maxWait: 1 }, 'rateLimiter has no option "maxWait"'],
  ])("%j: %s (C0.3)", (options, said) => {
    const build = (): RateLimiter => new RateLimiter(options as RateLimiterOptions);
    expect(build).toThrow(ConfigError);
    expect(build).toThrow(said);
  });
});
