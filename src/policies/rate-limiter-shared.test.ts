import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { UnsteadyState } from "../../test/unsteady-state.ts";
import { ConfigError } from "../core/errors.ts";
import type { SharedState } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { FakeClock, fakeRuntime, record } from "../testing/fake-clock.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { RateLimiterOptions, RateLimits } from "./rate-limits.ts";
import { sharing } from "./sharing.ts";

const TWO: RateLimits = { requests: { limit: 2, intervalMs: 1_000, algorithm: "sliding-window" } };

/** Limiters in as many processes, which are runtimes here, with one clock for all. */
function fleetOf(count: number, options: Partial<RateLimiterOptions> = {}) {
  const runtime = fakeRuntime();
  const place = new UnsteadyState(runtime);
  const limiters = Array.from(
    { length: count },
    () => new RateLimiter({ name: "api", limits: TWO, sharedState: place, ...options }, runtime),
  );
  return { runtime, place, limiters, limiter: limiters[0]!, log: record(runtime.events) };
}

const types = (log: readonly { type: string }[]): string[] => log.map(({ type }) => type);

describe("a shared limiter", () => {
  test("processes take from one limit, and who waits is let through when the place has room (C3.4)", async () => {
    const { runtime, place, limiters, log } = fleetOf(3);
    const order: [number, number][] = [];
    const calls = limiters.map((limiter, i) => limiter.execute(() => order.push([i, runtime.clock.now()])));
    await runtime.clock.advance(0);
    expect(order).toEqual([
      [0, 0],
      [1, 0],
    ]);
    expect(limiters.map((limiter) => limiter.getStats().waiting)).toEqual([0, 0, 1]);
    const asked = place.updates;
    await runtime.clock.advance(999);
    expect(place.updates).toBe(asked);
    await runtime.clock.advance(1);
    await Promise.all(calls);
    expect(order[2]).toEqual([2, 1_000]);
    expect(place.updates).toBe(asked + 1);
    expect(log).toEqual([expect.objectContaining({ type: "limiter.waited", waitMs: 1_000 })]);
    expect(limiters[2]!.getStats()).toMatchObject({ granted: 1, waited: 1, available: { requests: 1 } });
    expect(runtime.clock.pendingTimers).toBe(0);
    await runtime.clock.advance(100_000);
    expect(place.updates).toBe(asked + 1);
  });

  test("limiters of other names share nothing (C3.4)", async () => {
    const { runtime, place, limiter } = fleetOf(1, { maxWaitMs: 0 });
    const other = new RateLimiter({ name: "other", limits: TWO, sharedState: place, maxWaitMs: 0 }, runtime);
    for (const each of [limiter, other])
      expect(await Promise.all([1, 2, 3].map(async () => (await each.executeOutcome(() => 1)).ok))).toEqual([
        ...[true, true, false],
      ]);
  });

  test("many that come at once are asked for together, in their order (C3.4)", async () => {
    const { runtime, place, limiter } = fleetOf(1, { limits: { requests: { limit: 1_000, intervalMs: 1_000 } } });
    const order: number[] = [];
    await Promise.all(Array.from({ length: 250 }, (_, i) => limiter.execute(() => order.push(i))));
    expect(order).toEqual(Array.from({ length: 250 }, (_, i) => i));
    expect(place.updates).toBe(4);
    expect(limiter.getStats()).toMatchObject({ granted: 250, waited: 0 });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("the line stays first come, first served: a cheap call does not overtake a dear one (C3.4)", async () => {
    const limits: RateLimits = { tokens: { limit: 10, intervalMs: 1_000, algorithm: "sliding-window" } };
    const { runtime, place, limiter } = fleetOf(1, { limits });
    place.answerMs = 10;
    const order: string[] = [];
    const spend = (name: string, tokens: number): Promise<unknown> =>
      limiter.execute(() => order.push(`${name} at ${runtime.clock.now()}`), { cost: { tokens } });
    const calls = [spend("first", 8), spend("dear", 10)];
    await runtime.clock.advance(500);
    calls.push(spend("cheap", 1));
    await runtime.clock.advance(4_000);
    await Promise.all(calls);
    expect(order.map((one) => one.split(" ")[0])).toEqual(["first", "dear", "cheap"]);
  });

  test("a cost above the capacity is refused without asking, and so is one that would wait too long behind others (C3.4)", async () => {
    const { runtime, place, limiter, log } = fleetOf(1, { maxWaitMs: 1_500 });
    await expect(limiter.execute(() => 1, { cost: { requests: 3 } })).rejects.toMatchObject({ why: "capacity" });
    expect(place.updates).toBe(0);
    const calls = [1, 2, 3, 4].map(() => limiter.execute(() => 1));
    await runtime.clock.advance(0);
    const { updates } = place;
    await expect(limiter.execute(() => 1)).rejects.toMatchObject({ why: "wait", retryAfterMs: 2_000 });
    expect(place.updates).toBe(updates);
    await runtime.clock.advance(1_000);
    await Promise.all(calls);
    expect(types(log)).toEqual([...["limiter.rejected", "limiter.rejected"], ...["limiter.waited", "limiter.waited"]]);
  });

  test("with maxWaitMs 0 it asks and never waits for room; a deadline that comes too early is one at once (C3.4)", async () => {
    const { runtime, place, limiter } = fleetOf(1, { maxWaitMs: 0 });
    place.answerMs = 50;
    const outcomes = [1, 2, 3].map(() => limiter.executeOutcome(() => 1));
    await runtime.clock.advance(100);
    expect((await Promise.all(outcomes)).map(({ ok }) => ok)).toEqual([true, true, false]);
    const patient = fleetOf(1);
    const calls = [undefined, undefined, 900].map((deadlineMs) =>
      patient.limiter.executeOutcome(() => 1, { deadlineMs }),
    );
    await patient.runtime.clock.advance(0);
    expect(await calls[2]).toMatchObject({ refused: true, error: { why: "deadline" }, retryAfterMs: 1_000 });
    expect(patient.runtime.clock.pendingTimers).toBe(0);
  });

  test("what was granted too late, after an abort or the deadline, is given back (C1.6, C3.4)", async () => {
    const { runtime, place, limiter } = fleetOf(1);
    place.answerMs = 200;
    const controller = new AbortController();
    const never = (): never => expect.unreachable();
    const aborted = limiter.execute(never, { signal: controller.signal });
    const late = limiter.executeOutcome(never, { deadlineMs: 100 });
    await runtime.clock.advance(50);
    controller.abort(new Error("stop"));
    await expect(aborted).rejects.toThrow("stop");
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    await runtime.clock.advance(50);
    expect(await late).toMatchObject({ refused: true, error: { why: "deadline" } });
    await runtime.clock.advance(1_000);
    place.answerMs = 0;
    expect(limiter.getStats()).toMatchObject({ granted: 0, waiting: 0, available: { requests: 2 } });
    const outcomes = await Promise.all([1, 2, 3].map(() => limiter.executeOutcome(() => 1, { deadlineMs: 1 })));
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, true, false]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("the real cost, what was not used and what a server says count for all (C3.4)", async () => {
    const limits: RateLimits = {
      tokens: { limit: 100, intervalMs: 1_000, cost: 50, settle: (cost: number) => cost, algorithm: "sliding-window" },
    };
    const { runtime, limiters } = fleetOf(2, { limits, maxWaitMs: 0 });
    const [one, two] = limiters as [RateLimiter, RateLimiter];
    await one.execute(() => 20);
    await runtime.clock.advance(0);
    await two.execute(() => 80, { cost: { tokens: 80 } });
    expect(await one.executeOutcome(() => 1, { cost: { tokens: 1 } })).toMatchObject({ ok: false });
    await runtime.clock.advance(1_000);
    await one.execute(() => 90, { cost: { tokens: 10 } });
    await runtime.clock.advance(0);
    expect(await two.executeOutcome(() => 1, { cost: { tokens: 11 } })).toMatchObject({ ok: false });
    await runtime.clock.advance(1_000);
    two.learn({ "x-ratelimit-remaining-tokens": 30, "retry-after-ms": 200 });
    expect(two.getStats().available).toEqual({ tokens: 30 });
    await runtime.clock.advance(0);
    expect(await one.executeOutcome(() => 1, { cost: { tokens: 0 } })).toMatchObject({ retryAfterMs: 200 });
    await runtime.clock.advance(200);
    expect(await one.executeOutcome(() => 1, { cost: { tokens: 31 } })).toMatchObject({ ok: false });
    expect(await one.executeOutcome(() => 1, { cost: { tokens: 30 } })).toMatchObject({ ok: true });
  });

  test("room that is made here wakes who waits here, also when the answer that it waits for is on its way (C3.4)", async () => {
    for (const answerMs of [0, 100]) {
      const limits: RateLimits = { tokens: { limit: 10, intervalMs: 60_000, settle: () => 0 } };
      const { runtime, place, limiter } = fleetOf(1, { limits });
      const slow = limiter.execute(() => runtime.clock.sleep(35), { cost: { tokens: 10 } });
      await runtime.clock.advance(30);
      place.answerMs = answerMs;
      const next = limiter.execute(() => runtime.clock.now(), { cost: { tokens: 10 } });
      await runtime.clock.advance(1);
      place.answerMs = 0;
      await runtime.clock.advance(1_000);
      await slow;
      expect(await next).toBe(answerMs === 0 ? 35 : 130);
      // Two questions, the room that was made, the answer to that, and what the second call gives back.
      expect(place.updates).toBe(5);
    }
  });

  test("executeSync says why it cannot be (C3.10)", () => {
    const { limiter, place } = fleetOf(1);
    expect(() => limiter.executeSync(() => 1)).toThrow(ConfigError);
    expect(() => limiter.executeSync(() => 1)).toThrow('"api" cannot executeSync: with a sharedState');
    expect(place.updates).toBe(0);
    expect(limiter.describe().options).toMatchObject({ hasSharedState: true });
  });

  test("a dry run holds nobody up and counts what would have been (C2.10)", async () => {
    const { runtime, place, limiter, log } = fleetOf(1, {
      ...{ dryRun: true, maxWaitMs: 1_000 },
      limits: { requests: { limit: 2, intervalMs: 1_000 } },
    });
    place.answerMs = 300;
    const values = await Promise.all([1, 2, 3, 4, 5].map((n) => limiter.execute(() => n)));
    expect(values).toEqual([1, 2, 3, 4, 5]);
    await runtime.clock.advance(300);
    expect(limiter.getStats()).toMatchObject({ granted: 4, waited: 2, rejected: 1, waiting: 0 });
    expect(log).toMatchObject([
      ...[500, 1_000].map((waitMs) => ({ type: "limiter.waited", waitMs, dryRun: true })),
      { type: "limiter.rejected", why: "wait", dryRun: true },
    ]);
    await expect(limiter.execute(() => 1, { cost: { requests: 9 } })).resolves.toBe(1);
    expect(limiter.getStats()).toMatchObject({ rejected: 2 });
  });

  test("other limits take effect at once, for those too who wait (C3.4)", async () => {
    const { runtime, limiter } = fleetOf(1);
    const times: number[] = [];
    const calls = [1, 2, 3, 4].map(() => limiter.execute(() => times.push(runtime.clock.now())));
    await runtime.clock.advance(100);
    limiter.update({ limits: { requests: { limit: 3, intervalMs: 1_000, algorithm: "sliding-window" } } });
    await runtime.clock.advance(900);
    await Promise.all(calls);
    expect(times).toEqual([0, 0, 100, 1_000]);
    const dear = limiter.executeOutcome(() => 1, { cost: { requests: 3 } });
    await runtime.clock.advance(0);
    limiter.update({ limits: TWO });
    expect(await dear).toMatchObject({ ok: false, error: { why: "capacity" } });
  });
});

describe("a shared limiter whose place is away", () => {
  test("goes on by itself from what it knew, says so once, and once when it is back (C3.4)", async () => {
    const { runtime, place, limiters, log } = fleetOf(2, { maxWaitMs: 0 });
    const [one, two] = limiters as [RateLimiter, RateLimiter];
    const tries = async (limiter: RateLimiter, times: number): Promise<boolean[]> => {
      const outcomes: boolean[] = [];
      for (let i = 0; i < times; i++) outcomes.push((await limiter.executeOutcome(() => 1)).ok);
      return outcomes;
    };
    expect(await tries(one, 1)).toEqual([true]);
    place.away = true;
    one.learn({ "x-ratelimit-remaining-requests": 5 });
    // It has seen that one is gone.
    expect(await tries(one, 3)).toEqual([true, false, false]);
    expect(types(log)).toEqual([...["limiter.upstream", "limiter.detached", "limiter.rejected", "limiter.rejected"]]);
    log.shift();
    expect(log[0]).toMatchObject({ policy: "api", error: { code: "STORE_UNAVAILABLE" } });
    const { updates } = place;
    await runtime.clock.advance(2_999);
    expect(await tries(one, 2)).toEqual([true, true]);
    expect(place.updates).toBe(updates);
    await runtime.clock.advance(1);
    place.away = false;
    expect(await tries(one, 1)).toEqual([false]);
    await runtime.clock.advance(0);
    expect(types(log).slice(3)).toEqual(["limiter.rejected", "limiter.attached"]);
    // What went through meanwhile counts for all.
    expect(await tries(two, 1)).toEqual([false]);
    await runtime.clock.advance(1_000);
    expect(await tries(two, 2)).toEqual([true, true]);
    expect(await tries(one, 1)).toEqual([false]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("no answer within a second is none, and a grant that comes later is given back (C3.4)", async () => {
    const limits: RateLimits = { requests: { limit: 2, intervalMs: 60_000, algorithm: "sliding-window" } };
    const { runtime, place, limiters, log } = fleetOf(2, { limits, maxWaitMs: 0 });
    const [one, two] = limiters as [RateLimiter, RateLimiter];
    place.answerMs = 1_200;
    const call = one.execute(() => runtime.clock.now());
    await runtime.clock.advance(999);
    expect(log).toEqual([]);
    await runtime.clock.advance(1);
    expect(await call).toBe(1_000);
    expect(types(log)).toEqual(["limiter.detached"]);
    expect(log[0]).toMatchObject({ error: { message: expect.stringContaining("within 1000 ms") as string } });
    place.answerMs = 0;
    await runtime.clock.advance(199);
    expect(await two.executeOutcome(() => 1)).toMatchObject({ ok: true });
    expect(await two.executeOutcome(() => 1)).toMatchObject({ ok: false });
    await runtime.clock.advance(1);
    expect(await two.executeOutcome(() => 1)).toMatchObject({ ok: true });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("who waits when it goes away is let through by the local limits, and by the shared ones when it is back (C3.4)", async () => {
    const { runtime, place, limiter, log } = fleetOf(1);
    const times: number[] = [];
    const calls = Array.from({ length: 12 }, () => limiter.execute(() => times.push(runtime.clock.now())));
    await runtime.clock.advance(500);
    place.away = true;
    await runtime.clock.advance(3_400);
    place.away = false;
    await runtime.clock.advance(3_000);
    await Promise.all(calls);
    expect(times).toEqual([0, 0, 1_000, 1_000, 2_000, 2_000, 3_000, 3_000, 4_000, 4_000, 5_000, 5_000]);
    expect(types(log).filter((type) => type !== "limiter.waited")).toEqual(["limiter.detached", "limiter.attached"]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("while it is away it is told nothing, and what was taken here is not given back there (C3.4)", async () => {
    const limits: RateLimits = { tokens: { limit: 100, intervalMs: 1e9, cost: 50, settle: (cost: number) => cost } };
    const { runtime, place, limiters } = fleetOf(2, { limits, maxWaitMs: 0 });
    const [one, two] = limiters as [RateLimiter, RateLimiter];
    place.away = true;
    const slow = one.execute(() => runtime.clock.sleep(5_000).then(() => 10));
    await runtime.clock.advance(0);
    const { updates } = place;
    await one.execute(() => 40);
    one.learn({ "retry-after-ms": 1 });
    await runtime.clock.advance(2_999);
    expect(place.updates).toBe(updates);
    place.away = false;
    await runtime.clock.advance(1);
    await one.execute(() => 0, { cost: { tokens: 0 } });
    await runtime.clock.advance(5_000);
    await slow;
    // Of the 90 that were taken, 80 at last, the place has heard of 90.
    expect(await two.executeOutcome(() => 10, { cost: { tokens: 11 } })).toMatchObject({ ok: false });
    expect(await two.executeOutcome(() => 10, { cost: { tokens: 10 } })).toMatchObject({ ok: true });
  });

  test("a place that was emptied is believed, although its time has begun anew (C3.4)", async () => {
    const runtime = fakeRuntime();
    await runtime.clock.advance(1_000_000);
    let place = new MemorySharedState(runtime);
    const sharedState: SharedState = {
      sharing,
      update: (key, change) => place.update(key, change),
      close: async () => {},
    };
    const limiter = new RateLimiter({ limits: TWO, sharedState }, runtime);
    for (let n = 0; n < 2; n++) await limiter.execute(() => "done");
    expect(limiter.getStats().available).toEqual({ requests: 0 });
    place = new MemorySharedState({ clock: new FakeClock() });
    expect(await limiter.execute(() => "done")).toBe("done");
    expect(limiter.getStats().available).toEqual({ requests: 1 });
  });

  test("a place that throws, or rejects with anything, is away (C0.6)", async () => {
    const runtime = fakeRuntime();
    const update = (): never => {
      throw new TypeError("broken");
    };
    const sharedState: SharedState = { sharing, update, close: async () => {} };
    for (const dryRun of [true, false]) {
      const limiter = new RateLimiter({ limits: TWO, sharedState, dryRun }, runtime);
      expect(await limiter.execute(() => "done")).toBe("done");
      await runtime.clock.advance(0);
      expect(limiter.getStats()).toMatchObject({ granted: 1, available: { requests: 1 } });
    }
    expect(() => new RateLimiter({ limits: TWO, sharedState: {} as SharedState })).toThrow(
      "sharedState must be a shared",
    );
  });
});

interface Step {
  process: number;
  passMs: number;
  tokens: number;
  abortAfter: number | null;
  deadlineMs: number | null;
}

const steps = fc.array(
  fc.record<Step>({
    process: fc.nat(2),
    passMs: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 60 })),
    tokens: fc.integer({ min: 0, max: 5 }),
    abortAfter: fc.option(fc.nat(100), { freq: 4 }),
    deadlineMs: fc.option(fc.integer({ min: 1, max: 200 }), { freq: 4 }),
  }),
  { maxLength: 40 },
);

const limit = fc.record({
  limit: fc.integer({ min: 1, max: 6 }),
  intervalMs: fc.constantFrom(50, 100, 400),
  algorithm: fc.constantFrom("token-bucket" as const, "sliding-window" as const),
});

test("in any interleaving of processes no stretch of the place's time sees more than the limits allow (C3.4)", async () => {
  await fc.assert(
    fc.asyncProperty(limit, limit, steps, fc.scheduler(), async (requests, tokens, all, scheduler) => {
      const runtime = fakeRuntime();
      const { clock } = runtime;
      const inner = new MemorySharedState({ clock });
      const limits = { requests, tokens };
      // Questions and answers of all processes overtake each other.
      const sharedState: SharedState = {
        sharing,
        async update(key, change) {
          await scheduler.schedule(Promise.resolve());
          const result = await inner.update(key, change);
          await scheduler.schedule(Promise.resolve());
          return result;
        },
        close: () => inner.close(),
      };
      const log = record(runtime.events);
      const limiters = [0, 1, 2].map(() => new RateLimiter({ limits, sharedState }, runtime));
      const granted: { at: number; line: number; process: number; requests: number; tokens: number }[] = [];
      const signals: AbortSignal[] = [];
      const unsettled = new Set<number>();
      // No time passes while answers are on their way, so that a call is made at the instant of its grant.
      const answered = async (): Promise<void> => {
        do {
          await scheduler.waitAll();
          await clock.advance(0);
        } while (scheduler.count() > 0);
      };
      const pass = async (ms: number): Promise<void> => {
        await answered();
        for (let left = ms; left > 0; left--) {
          await clock.advance(1);
          await answered();
        }
      };
      for (const [line, { process, passMs, tokens: cost, abortAfter, deadlineMs }] of all.entries()) {
        await pass(passMs);
        const controller = new AbortController();
        signals.push(controller.signal);
        unsettled.add(line);
        const operation = (): unknown => granted.push({ at: clock.now(), line, process, requests: 1, tokens: cost });
        void limiters[process]!.executeOutcome(operation, {
          signal: controller.signal,
          deadlineMs: deadlineMs ?? undefined,
          cost: { tokens: cost },
        }).then(() => unsettled.delete(line));
        if (abortAfter !== null) clock.timer(abortAfter, () => controller.abort());
      }
      for (let i = 0; i < 400 && unsettled.size > 0; i++) {
        await answered();
        await clock.advance(20);
      }
      await clock.advance(100);
      await answered();

      expect([...unsettled]).toEqual([]);
      expect(types(log)).not.toContain("limiter.detached");
      expect(clock.pendingTimers).toBe(0);
      for (const signal of signals) expect(getEventListeners(signal, "abort")).toHaveLength(0);
      for (const kind of ["requests", "tokens"] as const) {
        const { limit: most, intervalMs, algorithm } = limits[kind];
        for (const [index, { at: from }] of granted.entries()) {
          let sum = 0;
          for (const { at, [kind]: amount } of granted.slice(index)) {
            if (algorithm === "sliding-window" && at >= from + intervalMs - 0.01) break;
            sum += amount;
            const allowed = algorithm === "sliding-window" ? most : most + (most * (at - from)) / intervalMs;
            expect(sum).toBeLessThanOrEqual(allowed + 0.01);
          }
        }
      }
      for (const process of [0, 1, 2]) {
        const lines = granted.filter((one) => one.process === process).map(({ line }) => line);
        expect(lines).toEqual([...lines].sort((a, b) => a - b));
      }
    }),
    { numRuns: 150 },
  );
}, 60_000);
