import { describe, expect, test } from "vitest";
import { UnsteadyState } from "../../test/unsteady-state.ts";
import { Pipeline } from "../core/pipeline.ts";
import { callOperation, type Invoke, type Operation, PolicyBase, type PolicyDescription } from "../core/policy.ts";
import type { SharedState } from "../core/shared-state.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { RateLimiterOptions, RateLimits } from "./rate-limits.ts";
import { sharing } from "./sharing.ts";

const START = 5_000;
/** So slow that nothing comes back in a test. */
const FOR_GOOD = { intervalMs: 1e9, algorithm: "sliding-window" } as const;

const never = (): never => expect.unreachable("it was let through");

/** Two limiters of one name in two processes, whose clock has gone for a while. */
async function twoOf(options: Partial<RateLimiterOptions> = {}) {
  const runtime = fakeRuntime();
  await runtime.clock.advance(START);
  const place = new UnsteadyState(runtime);
  const limits: RateLimits = { requests: { limit: 1, intervalMs: 1_000, algorithm: "sliding-window" } };
  const make = (): RateLimiter => new RateLimiter({ name: "api", limits, sharedState: place, ...options }, runtime);
  return { runtime, place, limiter: make(), other: make() };
}

/** A policy that refuses every call after a while, and never calls what is inside. */
class Refusing extends PolicyBase {
  readonly kind = "refusing";
  readonly name = "refusing";
  readonly #runtime: FakeRuntime;
  readonly #afterMs: number;

  constructor(runtime: FakeRuntime, afterMs: number) {
    super();
    this.#runtime = runtime;
    this.#afterMs = afterMs;
  }

  execute<T>(operation: Operation<T>): Promise<T> {
    return this.around(callOperation)(operation, undefined as never) as Promise<T>;
  }

  around(_next: Invoke): Invoke {
    return async () => {
      await this.#runtime.clock.sleep(this.#afterMs);
      throw Object.assign(new Error("no"), { code: "BULKHEAD_FULL" });
    };
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: {} };
  }
}

/** A call under the limiter that something inside of it refuses after so long. */
function refusedInside(limiter: RateLimiter, runtime: FakeRuntime, afterMs: number): Promise<unknown> {
  const call = new Pipeline([limiter, new Refusing(runtime, afterMs)], runtime).execute(never);
  return call.catch((error: unknown) => error);
}

const okay = async (limiter: RateLimiter, times: number): Promise<boolean[]> => {
  const outcomes: boolean[] = [];
  for (let i = 0; i < times; i++) outcomes.push((await limiter.executeOutcome(() => 1, { deadlineMs: 1 })).ok);
  return outcomes;
};

describe("asking the place", () => {
  test("while the first in line waits for room, who comes and who goes asks for nothing (C3.4)", async () => {
    const { runtime, place, limiter } = await twoOf();
    const caller = new AbortController();
    const calls = [1, 2].map((n) => limiter.execute(() => n));
    const third = limiter.executeOutcome(never, { signal: caller.signal });
    await runtime.clock.advance(0);
    const { updates } = place;
    const fourth = limiter.execute(() => 4);
    await runtime.clock.advance(100);
    caller.abort();
    await runtime.clock.advance(100);
    expect([place.updates, limiter.getStats().waiting]).toEqual([updates, 2]);
    await runtime.clock.advance(1_800);
    expect(await Promise.all([...calls, fourth])).toEqual([1, 2, 4]);
    expect(await third).toMatchObject({ ok: false });
  });

  test("no more than 100 calls are asked for at once (C3.4)", async () => {
    const { place, limiter } = await twoOf({ limits: { requests: { limit: 1_000 } } });
    await Promise.all(Array.from({ length: 203 }, (_, i) => limiter.execute(() => i)));
    expect(place.updates).toBe(4);
  });

  test("what makes no room wakes nobody, and a cost as it was thought is not told (C3.4)", async () => {
    const limits: RateLimits = { tokens: { limit: 10, cost: 10, settle: (cost: number) => cost, ...FOR_GOOD } };
    const { runtime, place, limiter } = await twoOf({ limits, maxWaitMs: Infinity });
    const slow = [10, 11].map((cost) => limiter.execute(() => runtime.clock.sleep(50).then(() => cost)));
    await runtime.clock.advance(0);
    limiter.update({ limits: { tokens: { ...limits.tokens!, limit: 20 } } });
    await runtime.clock.advance(0);
    const caller = new AbortController();
    const waiting = limiter.executeOutcome(never, { signal: caller.signal });
    await runtime.clock.advance(0);
    const { updates } = place;
    limiter.learn({ "x-ratelimit-remaining-tokens": 100 });
    await runtime.clock.advance(10);
    expect(place.updates).toBe(updates + 1);
    await runtime.clock.advance(50);
    await Promise.all(slow);
    expect(place.updates).toBe(updates + 2);
    caller.abort();
    await waiting;
  });

  test("nobody is kept alive by what nobody waits for (C0.4)", async () => {
    const runtime = fakeRuntime();
    const answers: (() => void)[] = [];
    const sharedState: SharedState = {
      sharing,
      update: (_, change) => new Promise((resolve) => answers.push(() => resolve(change(undefined, 0).result))),
      close: async () => {},
    };
    const limits: RateLimits = { requests: { limit: 2 } };
    const options = { limits, sharedState, maxWaitMs: Infinity };
    const limiter = new RateLimiter(options, runtime);
    limiter.learn({ "retry-after-ms": 0 });
    expect(await new RateLimiter({ ...options, dryRun: true }, runtime).execute(() => 1)).toBe(1);
    expect(runtime.clock.pendingTimers).toBe(0);
    const call = limiter.execute(() => "here");
    expect(runtime.clock.pendingTimers).toBe(1);
    await runtime.clock.advance(1_000);
    expect(await call).toBe("here");
    // What a late answer grants is given back.
    answers.at(-1)!();
    await runtime.clock.advance(0);
    expect([answers.length, runtime.clock.pendingTimers]).toEqual([4, 0]);
    await runtime.clock.advance(4_000);
    // Looks whether the place is back.
    await limiter.execute(() => 1);
    expect([answers.length, runtime.clock.pendingTimers]).toEqual([5, 0]);
  });

  test("what has no end to its wait is refused too, once other limits can never have room for it (C3.4)", async () => {
    const limits = (tokens: number): RateLimits => ({ requests: { limit: 5 }, tokens: { limit: tokens } });
    const { runtime, place, limiter } = await twoOf({ limits: limits(2), maxWaitMs: Infinity });
    await limiter.execute(() => 1);
    const dear = limiter.executeOutcome(never, { cost: { tokens: 2 } });
    await runtime.clock.advance(0);
    const { updates } = place;
    limiter.update({ limits: limits(1) });
    await runtime.clock.advance(0);
    expect([limiter.getStats().waiting, place.updates]).toEqual([0, updates]);
    expect(await dear).toMatchObject({ error: { why: "capacity" } });
  });

  test("of answers to questions that were asked together each is taken over that is no older than the last (C3.4)", async () => {
    const { runtime, place, limiter, other } = await twoOf({ limits: { requests: { limit: 2, ...FOR_GOOD } } });
    place.answerMs = 100;
    const none = { "x-ratelimit-remaining-requests": 2 };
    limiter.learn(none);
    const call = other.execute(() => 1);
    limiter.learn(none);
    await runtime.clock.advance(100);
    await call;
    expect(limiter.getStats().available).toEqual({ requests: 1 });
  });

  test("of a limit that is all there the place says nothing, and the limiter knows what that means (C3.4)", async () => {
    const { runtime, limiter } = await twoOf();
    limiter.learn({ "x-ratelimit-remaining-requests": 5 });
    await runtime.clock.advance(0);
    expect(limiter.getStats().available).toEqual({ requests: 1 });
  });
});

describe("who may not wait so long", () => {
  test("a deadline that comes before the turn of a call refuses it at once, at any time of the clock (C3.1, C3.4)", async () => {
    const { runtime, limiter } = await twoOf();
    const calls = [1, 2].map((n) => limiter.execute(() => n));
    await runtime.clock.advance(0);
    const late = limiter.executeOutcome(never, { deadlineMs: 1_500 });
    expect(limiter.getStats()).toMatchObject({ waiting: 1, rejected: 1 });
    expect(await late).toMatchObject({ error: { why: "deadline" }, retryAfterMs: 2_000 });
    await runtime.clock.advance(1_000);
    await Promise.all(calls);
  });

  test("is refused as soon as the first in line has to wait, and who may just wait so long stays (C3.4)", async () => {
    const { runtime, limiter } = await twoOf({ maxWaitMs: 1_000 });
    const calls = [1, 2].map((n) => limiter.execute(() => n));
    const late = limiter.executeOutcome(never);
    await runtime.clock.advance(0);
    expect(limiter.getStats()).toMatchObject({ granted: 1, waiting: 1, rejected: 1 });
    expect(await late).toMatchObject({ error: { why: "wait" }, retryAfterMs: 2_000 });
    await runtime.clock.advance(1_000);
    expect(await Promise.all(calls)).toEqual([1, 2]);
  });

  test("a pause that a server asks for is a wait of its length, at any time of the clock (C3.4)", async () => {
    const { runtime, limiter } = await twoOf({ maxWaitMs: 1_500 });
    limiter.learn({ "retry-after": 1 });
    const call = limiter.execute(() => runtime.clock.now());
    await runtime.clock.advance(1_000);
    expect(await call).toBe(START + 1_000);
  });

  test("with maxWaitMs 0, who comes behind a dear call is let through where there is room for it (C3.4)", async () => {
    const { runtime, place, limiter } = await twoOf({ limits: { tokens: { limit: 10, ...FOR_GOOD } }, maxWaitMs: 0 });
    place.answerMs = 50;
    const outcomes = [8, 5, 2].map((tokens) => limiter.executeOutcome(() => tokens, { cost: { tokens } }));
    await runtime.clock.advance(150);
    expect(limiter.getStats()).toMatchObject({ granted: 2, rejected: 1 });
    expect((await Promise.all(outcomes)).map(({ ok }) => ok)).toEqual([true, false, true]);
  });

  test("a dry run says of a call why it would have been refused, at any time of the clock (C2.10, C3.1)", async () => {
    const { runtime, limiter } = await twoOf({ dryRun: true });
    const log = record(runtime.events);
    await limiter.execute(() => 1);
    await limiter.execute(() => 1, { deadlineMs: 900 });
    await runtime.clock.advance(0);
    expect(log).toMatchObject([{ type: "limiter.rejected", why: "deadline", retryAfterMs: 1_000, dryRun: true }]);
    expect(limiter.getStats()).toMatchObject({ granted: 1, rejected: 1, waited: 0 });
  });
});

describe("giving back", () => {
  test("what something inside refuses is room for all, and wakes who waits here (C3.4)", async () => {
    const { runtime, limiter, other } = await twoOf({
      limits: { requests: { limit: 1, ...FOR_GOOD } },
      maxWaitMs: 1e10,
    });
    const refused = refusedInside(limiter, runtime, 100);
    const waiting = limiter.executeOutcome(() => runtime.clock.now());
    await runtime.clock.advance(99);
    expect(limiter.getStats()).toMatchObject({ granted: 1, waiting: 1 });
    await runtime.clock.advance(1);
    expect(await refused).toMatchObject({ code: "BULKHEAD_FULL" });
    expect(limiter.getStats()).toMatchObject({ granted: 1, waiting: 0 });
    expect(await waiting).toEqual({ ok: true, value: START + 100 });
    expect(await okay(other, 1)).toEqual([false]);
    // Nobody waits, and another process takes it.
    const third = await twoOf({ limits: { requests: { limit: 1, ...FOR_GOOD } } });
    const again = refusedInside(third.limiter, third.runtime, 10);
    await third.runtime.clock.advance(10);
    await again;
    expect(await okay(third.other, 2)).toEqual([true, false]);
  });

  test("what is granted to one who has gone is room for who waits behind (C1.6, C3.4)", async () => {
    const { runtime, place, limiter } = await twoOf({ limits: { tokens: { limit: 2, ...FOR_GOOD } }, maxWaitMs: 1e10 });
    place.answerMs = 100;
    const caller = new AbortController();
    const first = limiter.execute(() => 1);
    const gone = limiter.executeOutcome(never, { signal: caller.signal });
    const behind = limiter.executeOutcome(() => runtime.clock.now());
    await runtime.clock.advance(150);
    caller.abort();
    await runtime.clock.advance(250);
    expect(limiter.getStats()).toMatchObject({ granted: 2, waiting: 0 });
    expect(await behind).toEqual({ ok: true, value: START + 400 });
    await Promise.all([first, gone]);
  });

  test("of an answer that comes too late as much is given back as it had granted (C3.4)", async () => {
    const limits: RateLimits = { requests: { limit: 3, ...FOR_GOOD } };
    const { runtime, place, limiter, other } = await twoOf({ limits, maxWaitMs: 0 });
    // It finds the place again only to lose it at once, so that what it took meanwhile is not told.
    runtime.events.on(({ type }) => {
      if (type === "limiter.attached") place.away = true;
    });
    const calls = [1, 2, 3, 4].map(() => limiter.executeOutcome(() => 1));
    // The first is asked for alone, and the others together once it is answered.
    await Promise.resolve();
    place.answerMs = 1_200;
    await runtime.clock.advance(1_000);
    expect(limiter.getStats()).toMatchObject({ granted: 3, rejected: 1, waiting: 0 });
    expect((await Promise.all(calls)).map(({ ok }) => ok)).toEqual([true, true, true, false]);
    place.answerMs = 0;
    await runtime.clock.advance(200);
    place.away = false;
    expect(await okay(other, 3)).toEqual([true, true, false]);
  });

  test("an answer that comes too late and has granted nothing is not answered (C3.4)", async () => {
    const { runtime, place, limiter, other } = await twoOf({
      limits: { requests: { limit: 1, ...FOR_GOOD } },
      maxWaitMs: 0,
    });
    await other.execute(() => 1);
    place.answerMs = 1_200;
    const call = limiter.execute(() => 1);
    await runtime.clock.advance(1_000);
    await call;
    const { updates } = place;
    await runtime.clock.advance(500);
    expect(place.updates).toBe(updates);
  });
});

describe("while the place is away", () => {
  test("room that is made here lets through who waits here (C3.4)", async () => {
    const limits: RateLimits = { tokens: { limit: 10, cost: 10, settle: () => 0, ...FOR_GOOD } };
    const { runtime, place, limiter } = await twoOf({ limits, maxWaitMs: 1e10 });
    place.away = true;
    const slow = limiter.execute(() => runtime.clock.sleep(100));
    await runtime.clock.advance(0);
    const next = limiter.executeOutcome(() => runtime.clock.now());
    await runtime.clock.advance(100);
    expect(limiter.getStats()).toMatchObject({ granted: 2, waiting: 0 });
    expect(await next).toEqual({ ok: true, value: START + 100 });
    await slow;
  });

  test("who then has no room here is refused at once where it may not wait so long, and else has waited (C3.4)", async () => {
    const limits: RateLimits = { tokens: { limit: 10, intervalMs: 1_000, algorithm: "sliding-window" } };
    const { runtime, place, limiter } = await twoOf({ limits, maxWaitMs: 1_600 });
    await limiter.execute(() => 1, { cost: { tokens: 4 } });
    place.away = true;
    place.answerMs = 1_000;
    const spend = (tokens: number) =>
      limiter.executeOutcome(() => runtime.clock.now(), { cost: { tokens }, deadlineMs: 700 });
    const outcomes = [6, 9, 4].map(spend);
    await runtime.clock.advance(0);
    expect(limiter.getStats()).toMatchObject({ granted: 2, waiting: 0, rejected: 2 });
    expect((await Promise.all(outcomes)).map(({ ok }) => ok)).toEqual([true, false, false]);
    const patient = limiter.execute(() => runtime.clock.now(), { cost: { tokens: 10 } });
    await runtime.clock.advance(1_000);
    expect(await patient).toBe(START + 1_000);
    expect(limiter.getStats()).toMatchObject({ granted: 3, waited: 1 });
  });

  test("what was taken here and is given back after its return is not given back there (C3.4)", async () => {
    const { runtime, place, limiter, other } = await twoOf({ limits: { requests: { limit: 2, intervalMs: 1e9 } } });
    place.away = true;
    const refused = refusedInside(limiter, runtime, 5_000);
    await runtime.clock.advance(3_000);
    place.away = false;
    await limiter.execute(() => 1, { cost: { requests: 0 } });
    await runtime.clock.advance(5_000);
    expect(await refused).toMatchObject({ code: "BULKHEAD_FULL" });
    expect(await okay(other, 2)).toEqual([true, false]);
  });

  test("what was taken here and costs more after its return is charged there, and no more is said of it (C3.4)", async () => {
    for (const [cost, left] of [
      [80, 20],
      [50, 50],
    ] as const) {
      const limits: RateLimits = { tokens: { limit: 100, cost: 50, settle: () => cost, ...FOR_GOOD } };
      const { runtime, place, limiter, other } = await twoOf({ limits });
      place.away = true;
      const slow = limiter.execute(() => runtime.clock.sleep(5_000));
      await runtime.clock.advance(3_000);
      place.away = false;
      const free: RateLimits = { tokens: { ...limits.tokens!, cost: 0 } };
      limiter.update({ limits: free });
      await runtime.clock.advance(0);
      limiter.learn({ "x-ratelimit-remaining-tokens": 100 });
      expect(await limiter.executeOutcome(never, { cost: { tokens: 51 }, deadlineMs: 1 })).toMatchObject({ ok: false });
      await runtime.clock.advance(10);
      limiter.update({ limits });
      await runtime.clock.advance(0);
      const { updates } = place;
      await runtime.clock.advance(5_000);
      await slow;
      expect(place.updates).toBe(cost === 50 ? updates : updates + 1);
      const spend = (tokens: number) => other.executeOutcome(() => 0, { cost: { tokens }, deadlineMs: 1 });
      expect(await spend(left + 1)).toMatchObject({ ok: false });
      expect(await spend(left)).toMatchObject({ ok: true });
    }
  });

  test("it is tried again once, not for each call, and no more often than every three seconds (C3.4)", async () => {
    const { runtime, place, limiter } = await twoOf({ limits: { requests: { limit: 100 } } });
    place.away = true;
    await limiter.execute(() => 1);
    await runtime.clock.advance(3_000);
    const { updates } = place;
    await Promise.all([1, 2, 3].map((n) => limiter.execute(() => n)));
    expect(place.updates).toBe(updates + 1);
  });

  test("what a server said meanwhile holds for all once it is back, whether or not anybody listens (C3.4)", async () => {
    for (const listens of [true, false]) {
      const { runtime, place, limiter, other } = await twoOf();
      const log = listens ? record(runtime.events) : [];
      place.away = true;
      await limiter.execute(() => 1);
      limiter.learn({ "retry-after": 10 });
      await runtime.clock.advance(3_000);
      place.away = false;
      await limiter.executeOutcome(never, { deadlineMs: 1 });
      await runtime.clock.advance(0);
      const outcome = await other.executeOutcome(never, { deadlineMs: 1 });
      expect(outcome).toMatchObject({ refused: true, retryAfterMs: 7_000 });
      if (listens) expect(log).toContainEqual(expect.objectContaining({ type: "limiter.attached", policy: "api" }));
    }
  });
});
