import { describe, expect, test } from "vitest";
import { Pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { RateLimit, RateLimiterOptions, RateLimits } from "./rate-limits.ts";

const ONE: RateLimits = { requests: { limit: 1, intervalMs: 1_000 } };
const START = 10_000;

const DUAL: RateLimits = {
  requests: { limit: 10, intervalMs: 1_000 },
  tokens: { limit: 100, intervalMs: 1_000 },
};

const never = (): never => expect.unreachable("it was let through");

/** A limiter whose clock has gone for a while, so that an instant is never a span. */
async function limiterOf(options: Partial<RateLimiterOptions> = {}): Promise<{
  runtime: FakeRuntime;
  limiter: RateLimiter;
}> {
  const runtime = fakeRuntime();
  await runtime.clock.advance(START);
  return { runtime, limiter: new RateLimiter({ name: "api", limits: ONE, ...options }, runtime) };
}

describe("the end of a wait", () => {
  test("what is told of a wait is its length, at any time of the clock (C3.4)", async () => {
    const { runtime, limiter } = await limiterOf();
    const log = record(runtime.events);
    const calls = [1, 2, 3].map((n) => limiter.execute(() => n));
    await runtime.clock.advance(2_000);
    expect(await Promise.all(calls)).toEqual([1, 2, 3]);
    expect(log).toMatchObject([1_000, 2_000].map((waitMs) => ({ type: "limiter.waited", waitMs })));
  });

  test("no wait starts that cannot end before the deadline, at any time of the clock (C3.1, C3.4)", async () => {
    const { runtime, limiter } = await limiterOf();
    await limiter.execute(() => 1);
    const late = limiter.executeOutcome(never, { deadlineMs: 1_000 });
    expect(limiter.getStats()).toMatchObject({ waiting: 0, rejected: 1 });
    expect(await late).toMatchObject({ refused: true, error: { why: "deadline" } });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a call that waits when its deadline comes is refused then, whatever else it may wait for (C3.1, C3.4)", async () => {
    const { runtime, limiter } = await limiterOf({ maxWaitMs: 1_500 });
    await limiter.execute(() => 1);
    const late = limiter.executeOutcome(never, { deadlineMs: 1_200 });
    limiter.learn({ "retry-after": 30 });
    await runtime.clock.advance(1_199);
    expect(limiter.getStats().waiting).toBe(1);
    await runtime.clock.advance(1);
    expect(limiter.getStats().waiting).toBe(0);
    expect(await late).toMatchObject({ error: { why: "deadline" }, retryAfterMs: 28_800 });
  });

  test("room that comes with the deadline comes too late, and is left to others (C3.1, C3.4)", async () => {
    const { runtime, limiter } = await limiterOf();
    await limiter.execute(() => 1);
    const late = limiter.executeOutcome(never, { deadlineMs: 1_500 });
    limiter.learn({ "retry-after-ms": 1_500 });
    await runtime.clock.advance(1_500);
    expect(await late).toMatchObject({ error: { why: "deadline" } });
    expect(limiter.getStats()).toMatchObject({ granted: 1, rejected: 1, waiting: 0, available: { requests: 1 } });
  });

  test("room that comes with the end of maxWaitMs is taken, once (C3.4)", async () => {
    const { runtime, limiter } = await limiterOf({ maxWaitMs: 1_000 });
    const calls = [1, 2].map((n) => limiter.execute(() => n));
    await runtime.clock.advance(1_000);
    expect(await Promise.all(calls)).toEqual([1, 2]);
    expect(limiter.getStats()).toMatchObject({ granted: 2, waiting: 0, available: { requests: 0 } });
  });

  test("who has waited as long as maxWaitMs allows is told so, also where a deadline is near (C3.4)", async () => {
    const { runtime, limiter } = await limiterOf({ maxWaitMs: 1_000 });
    await limiter.execute(() => 1);
    const late = limiter.executeOutcome(never, { deadlineMs: 1_300 });
    limiter.learn({ "retry-after-ms": 2_000 });
    await runtime.clock.advance(1_000);
    expect(await late).toMatchObject({ error: { why: "wait" }, retryAfterMs: 1_000 });
  });

  test("who is refused is told a wait that counts those who are still in line (C3.4)", async () => {
    const { runtime, limiter } = await limiterOf({ maxWaitMs: Infinity });
    await limiter.execute(() => 1);
    const late = limiter.executeOutcome(never, { deadlineMs: 1_500 });
    const other = limiter.execute(() => "other");
    limiter.update({ limits: { requests: { limit: 1, intervalMs: 10_000 } } });
    await runtime.clock.advance(1_500);
    expect(await late).toMatchObject({ error: { why: "deadline" }, retryAfterMs: 18_500 });
    await runtime.clock.advance(8_500);
    expect(await other).toBe("other");
  });

  test("a wait without a limit has no timer of its own (C3.4)", async () => {
    const { runtime, limiter } = await limiterOf({ maxWaitMs: Infinity });
    const calls = [1, 2, 3].map((n) => limiter.execute(() => n));
    expect([limiter.getStats().waiting, runtime.clock.pendingTimers]).toEqual([2, 1]);
    await runtime.clock.advance(2_000);
    await Promise.all(calls);
  });
});

describe("an abort that comes with the grant", () => {
  test("by a listener that hears of the wait gives the room back (C1.6, C3.4)", async () => {
    const { runtime, limiter } = await limiterOf();
    const caller = new AbortController();
    runtime.events.on(({ type }) => {
      if (type === "limiter.waited") caller.abort(new Error("too late"));
    });
    await limiter.execute(() => 1);
    const aborted = limiter.executeOutcome(never, { signal: caller.signal });
    await runtime.clock.advance(1_000);
    expect(await aborted).toMatchObject({ ok: false, error: { message: "too late" } });
    expect(limiter.getStats()).toMatchObject({ granted: 1, available: { requests: 1 } });
  });

  test("of a dry run that would have refused it gives back nothing, since nothing was taken (C2.10)", async () => {
    const { runtime, limiter } = await limiterOf({ dryRun: true, maxWaitMs: 0 });
    const caller = new AbortController();
    runtime.events.on(({ type }) => {
      if (type === "limiter.rejected") caller.abort(new Error("too late"));
    });
    await limiter.execute(() => 1);
    const aborted = await limiter.executeOutcome(never, { signal: caller.signal });
    expect(aborted).toMatchObject({ ok: false, error: { message: "too late" } });
    expect(limiter.getStats()).toMatchObject({ granted: 1, rejected: 1, available: { requests: 0 } });
  });

  test("an aborted call does not stand in line either (C1.6)", async () => {
    const { limiter } = await limiterOf();
    await limiter.execute(() => 1);
    const outcome = limiter.executeOutcome(never, { signal: AbortSignal.abort(new Error("gone")) });
    expect(limiter.getStats().waiting).toBe(0);
    expect(await outcome).toMatchObject({ ok: false, refused: false, error: { message: "gone" } });
  });
});

describe("what a call has really cost", () => {
  const settling = (algorithm: RateLimit["algorithm"]): RateLimits => ({
    tokens: { limit: 100, intervalMs: 1_000, cost: 50, settle: (cost: number) => cost, algorithm },
  });

  test.each(["token-bucket", "sliding-window"] as const)(
    "by a %s, what is charged afterwards counts from then on, and what is given back counts no more (C3.4)",
    async (algorithm) => {
      for (const [cost, left] of [
        [110, 40],
        [20, 100],
      ] as const) {
        const { runtime, limiter } = await limiterOf({ limits: settling(algorithm) });
        const slow = limiter.execute(() => runtime.clock.sleep(1_000).then(() => cost));
        await runtime.clock.advance(1_000);
        await slow;
        expect(limiter.getStats().available).toEqual({ tokens: left });
      }
    },
  );

  test("what a sliding window gets back it had given: there is never more than its limit (C3.4)", async () => {
    const { runtime, limiter } = await limiterOf({ limits: settling("sliding-window") });
    const slow = limiter.execute(() => runtime.clock.sleep(500).then(() => 20));
    await runtime.clock.advance(500);
    await slow;
    expect(limiter.getStats().available).toEqual({ tokens: 80 });
    await runtime.clock.advance(500);
    expect(limiter.getStats().available).toEqual({ tokens: 100 });
  });

  test("is known at once where the call is synchronous, and concerns its own limit only (C3.4, C3.10)", async () => {
    const { limiter } = await limiterOf({ limits: { ...DUAL, ...settling("token-bucket") } });
    limiter.executeSync(() => 30);
    expect(limiter.getStats().available).toEqual({ requests: 9, tokens: 70 });
  });

  test.each([0, 90])("a cost of %d for a limit that is no longer there changes nothing (C3.4)", async (cost) => {
    const later = (value: Promise<number>): Promise<number> => value;
    const { runtime, limiter } = await limiterOf({
      limits: { tokens: { limit: 100, cost: 50, settle: (value: { later: Promise<number> }) => later(value.later) } },
    });
    const log = record(runtime.events);
    await limiter.execute(() => ({ later: runtime.clock.sleep(10).then(() => cost) }));
    limiter.update({ limits: ONE });
    await runtime.clock.advance(10);
    expect(log).toEqual([]);
    expect(limiter.getStats().available).toEqual({ requests: 1 });
  });

  test("a refusal that the operation itself throws inside a pipeline has cost (C3.4)", async () => {
    const { runtime, limiter } = await limiterOf();
    const refusal = Object.assign(new Error("of another limiter"), { code: "RATE_LIMITED" });
    const both = new Pipeline([limiter, new CircuitBreaker({}, runtime)], runtime);
    await expect(both.execute(() => Promise.reject(refusal))).rejects.toBe(refusal);
    expect(limiter.getStats()).toMatchObject({ granted: 1, available: { requests: 0 } });
  });
});

describe("other limits", () => {
  test("take over what was taken of the same kind, and a kind that is new is all there (C3.4)", async () => {
    const { limiter } = await limiterOf({ limits: DUAL });
    await limiter.execute(() => 1, { cost: { tokens: 95 } });
    limiter.update({ limits: DUAL });
    expect(limiter.getStats().available).toEqual({ requests: 9, tokens: 5 });
    limiter.update({ limits: { requests: DUAL.requests } });
    limiter.update({ limits: DUAL });
    expect(limiter.getStats().available).toEqual({ requests: 9, tokens: 100 });
  });

  test("under which a waiting call can never be let through take nothing for it (C3.4)", async () => {
    const { limiter } = await limiterOf({ limits: { tokens: { limit: 100, intervalMs: 1_000 } } });
    await limiter.execute(() => 1, { cost: { tokens: 100 } });
    const dear = limiter.executeOutcome(never, { cost: { tokens: 80 } });
    limiter.update({ limits: { tokens: { limit: 50, intervalMs: 1_000 } } });
    expect(await dear).toMatchObject({ error: { why: "capacity" } });
    expect(limiter.getStats()).toMatchObject({ granted: 1, rejected: 1, available: { tokens: -50 } });
  });
});

describe("the message of a refusal", () => {
  test("names all limits, and says what can never be only of what can never be (C0.5)", async () => {
    const { limiter } = await limiterOf({ limits: DUAL, maxWaitMs: 0 });
    await limiter.execute(() => 1);
    await expect(limiter.execute(never, { cost: { requests: 10, tokens: 100 } })).rejects.toThrow(
      '"api" (10 requests per 1000 ms, 100 tokens per 1000 ms) has no room for this call before 100 ms have passed',
    );
  });
});
