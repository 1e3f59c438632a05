import { AsyncLocalStorage } from "node:async_hooks";
import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Call, CallOptions } from "../core/call.ts";
import { ConfigError, HoldfastError, TimeoutError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { Chaos } from "./chaos.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Hedge, type HedgeOptions } from "./hedge.ts";
import { RetryBudget } from "./retry-budget.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

/** How one call of the operation behaves: it takes `ms` and then gives its attempt, or throws what it says. */
type Behaviour = { ms: number; error?: string; obeys?: boolean };

/** An operation whose calls behave so in turn, and what became of them. */
function operationOf(runtime: FakeRuntime, ...behaviours: Behaviour[]) {
  const calls: Call[] = [];
  const startedAt: number[] = [];
  const operation = async (call: Call): Promise<number> => {
    const { ms, error, obeys = false } = behaviours[calls.length] ?? { ms: Infinity };
    calls.push(call);
    startedAt.push(runtime.clock.now());
    if (ms === Infinity) await new Promise(() => {});
    await runtime.clock.sleep(ms, obeys ? call.signal : undefined);
    if (error !== undefined) throw new Error(error);
    return call.attempt;
  };
  return { operation, calls, startedAt };
}

/** When and how a call settles. */
function watch(runtime: FakeRuntime, call: Promise<unknown>): { at?: number; value?: unknown; error?: unknown } {
  const seen: { at?: number; value?: unknown; error?: unknown } = {};
  call.then(
    (value) => Object.assign(seen, { at: runtime.clock.now(), value }),
    (error: unknown) => Object.assign(seen, { at: runtime.clock.now(), error }),
  );
  return seen;
}

function setUp(options: Partial<HedgeOptions>, ...behaviours: Behaviour[]) {
  const runtime = fakeRuntime();
  const log = record(runtime.events);
  const hedge = new Hedge({ name: "llm", delayMs: 50, ...options }, runtime);
  const made = operationOf(runtime, ...behaviours);
  const start = (call?: CallOptions) => watch(runtime, hedge.execute(made.operation, call));
  return { runtime, log, hedge, start, ...made };
}

describe("when a hedge starts", () => {
  test("a call that settles before the delay is the only one, and leaves no timer (C3.6)", async () => {
    for (const behaviour of [{ ms: 49 }, { ms: 0 }]) {
      const { runtime, log, start, calls } = setUp({}, behaviour);
      const seen = start();
      expect(runtime.clock.pendingTimers).toBe(2);
      await runtime.clock.advance(49);
      expect(seen).toMatchObject({ at: behaviour.ms, value: 1 });
      expect([calls.length, runtime.clock.pendingTimers, log.length]).toEqual([1, 0, 0]);
      await runtime.clock.advance(1_000);
      expect(calls).toHaveLength(1);
    }
  });

  test("a call that has not settled after the delay gets one beside it, whose attempt is one more (C3.6)", async () => {
    const { runtime, start, calls, startedAt, hedge } = setUp({}, { ms: 500 }, { ms: 20 });
    const seen = start();
    await runtime.clock.advance(49);
    expect(calls).toHaveLength(1);
    await runtime.clock.advance(21);
    expect(startedAt).toEqual([0, 50]);
    expect(calls.map(({ attempt }) => attempt)).toEqual([1, 2]);
    expect(seen).toEqual({ at: 70, value: 2 });
    expect(hedge.getStats()).toEqual({ calls: 1, hedges: 1, hedgesWon: 1, withheld: 0, delayMs: 50 });
  });

  test("maxHedges more are started, each a delay after the one before, and no further (C3.6)", async () => {
    const { runtime, start, startedAt, calls } = setUp({ maxHedges: 3, maxExtraShare: 1 });
    start();
    await runtime.clock.advance(10_000);
    expect(startedAt).toEqual([0, 50, 100, 150]);
    expect(calls.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("inside a retry, attempts are counted on from that of the retry (C3.6)", async () => {
    const runtime = fakeRuntime();
    const attempts: number[] = [];
    const policy = pipeline(
      new RetryPolicy({ strategy: "immediate" }, runtime),
      new Hedge({ delayMs: 10 }, runtime),
      new Timeout({ attemptTimeoutMs: 30 }, runtime),
    );
    const seen = watch(
      runtime,
      policy.execute(({ attempt }) => {
        attempts.push(attempt);
        return attempts.length < 4 ? new Promise(() => {}) : "done";
      }),
    );
    await runtime.clock.advance(100);
    expect(attempts).toEqual([1, 2, 2, 3]);
    expect(seen.value).toBe("done");
  });

  test("none starts that would begin at or after the deadline, and none has a timer for it (C3.1, C3.6)", async () => {
    const { runtime, start, calls } = setUp({});
    start({ deadlineMs: 50 });
    expect(runtime.clock.pendingTimers).toBe(0);
    await runtime.clock.advance(1_000);
    expect(calls).toHaveLength(1);
    start({ deadlineMs: 51 });
    await runtime.clock.advance(50);
    expect(calls).toHaveLength(3);
    expect(calls[2]!.deadline).toBe(1_051);
  });

  test("a synchronous result or throw is passed on (C1.8, C3.6)", async () => {
    const runtime = fakeRuntime();
    const hedge = new Hedge({ delayMs: 50 }, runtime);
    expect(await hedge.execute(() => 5)).toBe(5);
    const thrown = new Error("at once");
    await expect(
      hedge.execute(() => {
        throw thrown;
      }),
    ).rejects.toBe(thrown);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a hedge runs in the async context of its caller (C3.2)", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const hedge = new Hedge({ delayMs: 1 });
    const ask = (): Promise<string | undefined> =>
      hedge.execute(({ attempt }) => (attempt === 1 ? new Promise<never>(() => {}) : tenant.getStore()));
    expect(await Promise.all(["a", "b"].map((name) => tenant.run(name, ask)))).toEqual(["a", "b"]);
  });
});

describe("by percentile", () => {
  test("the delay is what that share of recent calls took, from minimumCalls on (C3.6)", async () => {
    const { runtime, hedge } = setUp({ delayMs: 1_000, percentile: 90, minimumCalls: 10 });
    for (let n = 1; n <= 10; n++) {
      expect(hedge.getStats().delayMs).toBe(1_000);
      const call = hedge.execute(() => runtime.clock.sleep(n * 10));
      await runtime.clock.advance(n * 10);
      await call;
    }
    expect(hedge.getStats().delayMs).toBe(90);
    const { operation, startedAt } = operationOf(runtime, { ms: 500 }, { ms: 5 });
    const before = runtime.clock.now();
    const seen = watch(runtime, hedge.execute(operation));
    await runtime.clock.advance(100);
    expect(startedAt.map((at) => at - before)).toEqual([0, 90]);
    expect(seen.value).toBe(2);
  });

  test("a hedged call counts with the time until its value, so hedges do not lower the delay that made them (C3.6)", async () => {
    const { runtime, hedge } = setUp({ delayMs: 40, percentile: 50, minimumCalls: 1, maxExtraShare: 1 });
    const seen = watch(runtime, hedge.execute(operationOf(runtime, { ms: 500 }, { ms: 5 }).operation));
    await runtime.clock.advance(45);
    expect(seen.value).toBe(2);
    expect(hedge.getStats().delayMs).toBe(45);
  });

  test("failures and cancelled calls teach it nothing: quick failures must not make it hurry (C3.6)", async () => {
    const { runtime, hedge } = setUp({ delayMs: 40, percentile: 50, minimumCalls: 1 });
    await hedge.execute(() => Promise.reject(new Error("down"))).catch(() => {});
    const caller = new AbortController();
    const cancelled = watch(
      runtime,
      hedge.execute(() => new Promise(() => {}), { signal: caller.signal }),
    );
    await runtime.clock.advance(3);
    caller.abort();
    await runtime.clock.advance(0);
    expect(cancelled.at).toBe(3);
    expect(hedge.getStats().delayMs).toBe(40);
  });
});

describe("the share of extra calls", () => {
  test("five are allowed in a burst, then one in ten calls has a hedge (C3.6)", async () => {
    const { runtime, hedge } = setUp({});
    const slow = async (): Promise<number> => {
      const { operation, calls } = operationOf(runtime, { ms: 60 }, { ms: 60 });
      const call = hedge.execute(operation);
      await runtime.clock.advance(200);
      await call;
      return calls.length - 1;
    };
    const hedged: number[] = [];
    for (let n = 1; n <= 105; n++) if ((await slow()) === 1) hedged.push(n);
    expect(hedged).toEqual([1, 2, 3, 4, 5, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101]);
    expect(hedge.getStats()).toMatchObject({ calls: 105, hedges: 15, withheld: 90 });
  });

  test("however many calls were quick, no more than the burst is saved up (C3.6)", async () => {
    const { runtime, hedge } = setUp({ maxExtraShare: 0.5 });
    for (let n = 0; n < 500; n++) await hedge.execute(() => n);
    for (let n = 0; n < 9; n++) void hedge.execute(() => new Promise(() => {}));
    await runtime.clock.advance(1_000);
    expect(hedge.getStats()).toMatchObject({ hedges: 5, withheld: 4 });
  });

  test("no history of calls starts more than its share and the burst (C3.6)", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0.01, 0.1, 0.3, 1),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.record({ gap: fc.nat(40), first: fc.nat(200), second: fc.nat(200) }), { maxLength: 60 }),
        async (maxExtraShare, maxHedges, history) => {
          const { runtime, hedge } = setUp({ maxExtraShare, maxHedges });
          for (const [index, { gap, first, second }] of history.entries()) {
            await runtime.clock.advance(gap);
            const { operation } = operationOf(runtime, { ms: first }, { ms: second }, { ms: second });
            void hedge.execute(operation);
            const { hedges } = hedge.getStats();
            expect(hedges).toBeLessThanOrEqual(5 + maxExtraShare * (index + 1) + 1e-6);
          }
          await runtime.clock.advance(1_000);
          expect(hedge.getStats().hedges).toBeLessThanOrEqual(5 + maxExtraShare * history.length + 1e-6);
          expect(runtime.clock.pendingTimers).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });
});

test("a retry budget is charged for each hedge, and an empty one withholds it (C1.7, C3.6)", async () => {
  const runtime = fakeRuntime();
  const retryBudget = new RetryBudget({ ratio: 0, minRetriesPerSecond: 0, capacity: 2 }, runtime);
  const hedge = new Hedge({ delayMs: 50, maxExtraShare: 1, retryBudget }, runtime);
  for (let n = 0; n < 3; n++) void hedge.execute(() => new Promise(() => {}));
  await runtime.clock.advance(50);
  expect(hedge.getStats()).toMatchObject({ hedges: 2, withheld: 1 });
  expect(retryBudget.available).toBe(0);
});

describe("how a race ends", () => {
  test("the winner's value is returned, and the loser's signal aborts with a reason that says so (C3.6)", async () => {
    const { runtime, start, calls } = setUp({}, { ms: 500 }, { ms: 20 });
    const seen = start();
    await runtime.clock.advance(50);
    const signals = calls.map(({ signal }) => signal);
    await runtime.clock.advance(20);
    expect(seen.value).toBe(2);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    expect(signals[0]!.reason).toBeInstanceOf(HoldfastError);
    expect(signals[0]!.reason).toMatchObject({ code: "HEDGE_LOST" });
    expect((signals[0]!.reason as Error).message).toContain("llm");
    expect(calls.map(({ aborted }) => aborted)).toEqual([true, false]);
  });

  test("the first call may win although a hedge has started, and then the hedge is aborted (C3.6)", async () => {
    const { runtime, start, calls, log, hedge } = setUp({}, { ms: 60 }, { ms: 500, obeys: true });
    const seen = start();
    await runtime.clock.advance(100);
    expect(seen).toEqual({ at: 60, value: 1 });
    expect(calls.map(({ aborted }) => aborted)).toEqual([false, true]);
    expect(hedge.getStats()).toMatchObject({ hedges: 1, hedgesWon: 0 });
    expect(log[0]).toMatchObject({ type: "hedge", policy: "llm", hedges: 1, wonBy: 1, delayMs: 50, errors: [] });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("what a loser still brings is observed and reported, a value and an error alike (C3.6)", async () => {
    const { runtime, start, log } = setUp(
      { maxHedges: 2, maxExtraShare: 1 },
      { ms: 200 },
      { ms: 200, error: "late" },
      { ms: 10 },
    );
    const unhandled: unknown[] = [];
    const note = (reason: unknown): number => unhandled.push(reason);
    process.on("unhandledRejection", note);
    const seen = start();
    await runtime.clock.advance(1_000);
    process.off("unhandledRejection", note);
    expect(seen).toEqual({ at: 110, value: 3 });
    expect(unhandled).toEqual([]);
    expect(log).toMatchObject([
      { type: "hedge", hedges: 2, wonBy: 3 },
      { type: "attempt.late", policy: "llm", outcome: "value", lateMs: 90 },
      { type: "attempt.late", policy: "llm", outcome: "error", error: { message: "late" }, lateMs: 140 },
    ]);
  });

  test("a race that ends in the instant in which the clock begins is over too (C3.6)", async () => {
    for (const [error, outcome] of [
      [undefined, "value"],
      ["late", "error"],
    ] as const) {
      const first = { ms: 30, ...(error !== undefined && { error }) };
      const { runtime, start, log, hedge } = setUp({ delayMs: 0 }, first, { ms: 0 });
      const seen = start();
      await runtime.clock.advance(100);
      expect(seen).toEqual({ at: 0, value: 2 });
      expect(log.map(({ type }) => type)).toEqual(["hedge", "attempt.late"]);
      expect(log[1]).toMatchObject({ outcome, lateMs: 30 });
      expect(hedge.getStats()).toMatchObject({ hedges: 1, hedgesWon: 1 });
    }
  });

  test("a failure before the hedge is due ends the call: what failed is a retry's to repeat (C3.6)", async () => {
    const { runtime, start, calls, log } = setUp({}, { ms: 10, error: "down" }, { ms: 1 });
    const seen = start();
    await runtime.clock.advance(1_000);
    expect(seen).toMatchObject({ at: 10, error: { message: "down" } });
    expect([calls.length, log.length]).toEqual([1, 0]);
  });

  test("a failure waits for what else is running, and a value still wins (C3.6)", async () => {
    const { runtime, start, log } = setUp({}, { ms: 60, error: "first" }, { ms: 60 });
    const seen = start();
    await runtime.clock.advance(1_000);
    expect(seen).toEqual({ at: 110, value: 2 });
    expect(log).toMatchObject([{ type: "hedge", wonBy: 2, errors: [{ message: "first" }] }]);
  });

  test("after a failure the further hedges come when they are due, while something runs (C3.6)", async () => {
    const { runtime, start } = setUp(
      { maxHedges: 2, maxExtraShare: 1 },
      { ms: 60, error: "first" },
      { ms: Infinity },
      { ms: 5 },
    );
    const seen = start();
    await runtime.clock.advance(1_000);
    expect(seen).toEqual({ at: 105, value: 3 });
  });

  test("when all have failed, the error that came first is thrown as it is, and the event has them all (C0.5, C3.6)", async () => {
    const { runtime, start, log } = setUp(
      {},
      { ms: 100, error: "of the first call" },
      { ms: 10, error: "of the hedge" },
    );
    const seen = start();
    await runtime.clock.advance(1_000);
    expect(seen.at).toBe(100);
    expect(seen.error).toMatchObject({ message: "of the hedge" });
    const errors = [{ message: "of the hedge" }, { message: "of the first call" }];
    expect(log).toMatchObject([{ type: "hedge", hedges: 1, wonBy: 0, errors }]);
  });

  test("a breaker outside counts a hedged call once (C3.6)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({}, runtime);
    const { operation } = operationOf(runtime, { ms: 60, error: "a" }, { ms: 60, error: "b" });
    const call = watch(runtime, pipeline(breaker, new Hedge({ delayMs: 50 }, runtime)).execute(operation));
    await runtime.clock.advance(1_000);
    expect(call.error).toMatchObject({ message: "a" });
    expect(breaker.getStats()).toMatchObject({ totalCalls: 1, totalFailures: 1 });
  });

  test("a breaker inside takes the abort of a loser for no failure (C0.8)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1 }, runtime);
    const { operation } = operationOf(runtime, { ms: 500, obeys: true }, { ms: 10 });
    const call = watch(runtime, pipeline(new Hedge({ delayMs: 50 }, runtime), breaker).execute(operation));
    await runtime.clock.advance(1_000);
    expect([call.value, breaker.state]).toEqual([2, "CLOSED"]);
  });
});

describe("the caller's abort", () => {
  test("before the call, nothing is called (C1.6)", async () => {
    const { start, calls, runtime, hedge } = setUp({});
    const reason = new Error("no longer wanted");
    const seen = start({ signal: AbortSignal.abort(reason) });
    await runtime.clock.advance(0);
    expect(seen.error).toBe(reason);
    expect([calls.length, hedge.getStats().calls]).toEqual([0, 0]);
  });

  test.each([20, 70, 120])(
    "after %d ms it ends everything at once, whether it is heeded or not (C1.6, C3.6)",
    async (ms) => {
      const { runtime, start, calls, log } = setUp(
        { maxHedges: 2, maxExtraShare: 1 },
        { ms: 1_000 },
        { ms: 1_000, obeys: true },
      );
      const caller = new AbortController();
      const reason = new Error("no longer wanted");
      const seen = start({ signal: caller.signal });
      await runtime.clock.advance(ms);
      const started = calls.length;
      const signals = calls.map(({ signal }) => signal);
      caller.abort(reason);
      await runtime.clock.advance(0);
      expect(seen).toEqual({ at: ms, error: reason });
      expect(signals.map((signal) => signal.reason)).toEqual(calls.map(() => reason));
      // Only the first call, which does not listen, still waits for its own timer.
      expect(runtime.clock.pendingTimers).toBe(1);
      expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
      await runtime.clock.advance(2_000);
      expect(calls).toHaveLength(started);
      expect(log.filter(({ type }) => type === "hedge")).toHaveLength(started > 1 ? 1 : 0);
      expect(log.at(-1)).toMatchObject({ type: "attempt.late", outcome: "value", lateMs: 1_000 - ms });
    },
  );

  test("by the operation itself, while it is being called, it starts no hedge (C1.6)", async () => {
    const { runtime, hedge } = setUp({});
    const caller = new AbortController();
    const seen = watch(
      runtime,
      hedge.execute(
        () => {
          caller.abort("enough");
          return new Promise(() => {});
        },
        { signal: caller.signal },
      ),
    );
    await runtime.clock.advance(0);
    expect([seen.error, runtime.clock.pendingTimers]).toEqual(["enough", 0]);
  });

  test("a total timeout outside ends the race in the same way (C3.1, C3.6)", async () => {
    const runtime = fakeRuntime();
    const { operation, calls } = operationOf(runtime, { ms: Infinity });
    const policy = pipeline(
      new Timeout({ totalTimeoutMs: 80 }, runtime),
      new Hedge({ delayMs: 30, maxHedges: 5, maxExtraShare: 1 }, runtime),
    );
    const seen = watch(runtime, policy.execute(operation));
    await runtime.clock.advance(1_000);
    expect(seen.at).toBe(80);
    expect(seen.error).toBeInstanceOf(TimeoutError);
    expect(calls).toHaveLength(3);
    expect(calls.every(({ aborted }) => aborted)).toBe(true);
    expect(runtime.clock.pendingTimers).toBe(0);
  });
});

test("whatever the calls do and in whatever order they settle, the first value wins or the first error is thrown (C3.6)", async () => {
  const outcome = fc.record({ ok: fc.boolean(), hangs: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.array(outcome, { minLength: 3, maxLength: 3 }), async (scheduler, outcomes) => {
      const runtime = fakeRuntime();
      const hedge = new Hedge({ delayMs: 10, maxHedges: 2, maxExtraShare: 1 }, runtime);
      const settled: { ok: boolean; attempt: number }[] = [];
      let called = 0;
      const call = hedge.executeOutcome(async ({ attempt }) => {
        called++;
        const { ok, hangs } = outcomes[attempt - 1]!;
        if (hangs) return new Promise<number>(() => {});
        await scheduler.schedule(Promise.resolve());
        settled.push({ ok, attempt });
        if (!ok) throw attempt;
        return attempt;
      });
      const seen = watch(runtime, call);
      await runtime.clock.advance(25);
      await scheduler.waitAll();
      await runtime.clock.advance(0);
      expect(called).toBe(3);
      const winner = settled.find(({ ok }) => ok);
      if (winner !== undefined) expect(seen.value).toEqual({ ok: true, value: winner.attempt });
      else if (settled.length === 3)
        expect(seen.value).toEqual({ ok: false, refused: false, error: settled[0]!.attempt });
      else expect(seen.at).toBeUndefined();
      expect(runtime.clock.pendingTimers).toBe(0);
    }),
    { numRuns: 200 },
  );
});

test("describe gives the options in effect (C3.12)", () => {
  expect(new Hedge({ name: "llm", delayMs: 50, percentile: 95 }).describe()).toEqual({
    kind: "hedge",
    name: "llm",
    options: { delayMs: 50, percentile: 95, minimumCalls: 20, maxHedges: 1, maxExtraShare: 0.1 },
  });
});

test("options are checked when it is built (C0.3)", () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{}, "hedge.delayMs is missing"],
    [{ delayMs: -1 }, "hedge.delayMs must be"],
    [{ delayMs: 1, percentile: 100 }, "hedge.percentile must be"],
    [{ delayMs: 1, percentile: 50, minimumCalls: 129 }, "hedge.minimumCalls must be a whole number from 1 to 128"],
    [{ delayMs: 1, percentile: 50, minimumCalls: 0 }, "hedge.minimumCalls must be"],
    [{ delayMs: 1, percentile: 50, minimumCalls: 1.5 }, "hedge.minimumCalls must be"],
    [{ delayMs: 1, minimumCalls: 5 }, "needs percentile"],
    [{ delayMs: 1, maxHedges: 0 }, "hedge.maxHedges must be"],
    [{ delayMs: 1, maxExtraShare: 0 }, "hedge.maxExtraShare must be a number above 0 and at most 1"],
    [{ delayMs: 1, maxExtraShare: "0.5" }, "hedge.maxExtraShare must be"],
    [{ delayMs: 1, rateLimiter: null }, "hedge.rateLimiter must be a RateLimiter"],
    [{ delayMs: 1, maxExtraShare: 1.5 }, "hedge.maxExtraShare must be"],
    [{ delayMs: 1, delay: 1 }, 'no option "delay"'],
  ];
  for (const [options, said] of wrong) {
    const build = (): Hedge => new Hedge(options as unknown as HedgeOptions);
    expect(build).toThrow(ConfigError);
    expect(build).toThrow(said);
  }
  const { name, ...others } = new Hedge({ delayMs: 1, percentile: 50, minimumCalls: 128 });
  expect([name, others.kind]).toEqual(["hedge", "hedge"]);
});

test("a hedge of calls that chaos makes slow answers in time (C3.6, C3.9)", async () => {
  const runtime = fakeRuntime();
  const chaos = new Chaos({ enabled: true, plan: [{ latencyMs: 5_000 }, null] }, runtime);
  const seen = watch(
    runtime,
    pipeline(new Hedge({ delayMs: 50 }, runtime), chaos).execute(({ attempt }) => attempt),
  );
  await runtime.clock.advance(60);
  expect(seen).toEqual({ at: 50, value: 2 });
  expect(runtime.clock.pendingTimers).toBe(0);
});
