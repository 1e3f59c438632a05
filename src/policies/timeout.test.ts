import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import type { Call } from "../core/call.ts";
import { systemClock } from "../core/clock.ts";
import { TimeoutError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

const never = (): Promise<never> => new Promise(() => {});

/** When and how a call settles. */
function watch(runtime: FakeRuntime, call: Promise<unknown>): { at?: number; value?: unknown; error?: unknown } {
  const seen: { at?: number; value?: unknown; error?: unknown } = {};
  call.then(
    (value) => Object.assign(seen, { at: runtime.clock.now(), value }),
    (error: unknown) => Object.assign(seen, { at: runtime.clock.now(), error }),
  );
  return seen;
}

describe("when the time is up", () => {
  test.each([20, 99, 100, 5_000])(
    "after %d ms, the signal aborts and the call throws TimeoutError (C3.1, C10.2)",
    async (ms) => {
      const runtime = fakeRuntime();
      const log = record(runtime.events);
      let signal: AbortSignal | undefined;
      const call = new Timeout({ name: "llm", attemptTimeoutMs: ms }, runtime).execute((inner) => {
        ({ signal } = inner);
        return never();
      });
      const seen = watch(runtime, call);
      await runtime.clock.advance(ms - 1);
      expect([seen.at, signal!.aborted]).toEqual([undefined, false]);
      await runtime.clock.advance(51);
      expect(seen.error).toBeInstanceOf(TimeoutError);
      expect(seen.error).toMatchObject({ timeoutMs: ms });
      expect(signal!.reason).toBe(seen.error);
      expect(log).toMatchObject([{ type: "timeout", policy: "llm", timeoutMs: ms }]);
    },
  );

  test("below 100 ms it is exact, and from there on up to 50 ms late and never early (C3.1)", async () => {
    for (const [ms, latest] of [
      [30, 30],
      [99, 99],
      [100, 150],
      [730, 780],
    ] as const) {
      const runtime = fakeRuntime();
      // Off the beat of the shared timer.
      const other = new Timeout({ attemptTimeoutMs: 10_000 }, runtime);
      other.execute(never).catch(() => {});
      await runtime.clock.advance(13);
      const seen = watch(runtime, new Timeout({ attemptTimeoutMs: ms }, runtime).execute(never));
      await runtime.clock.advance(1_000);
      expect(seen.at! - 13).toBeGreaterThanOrEqual(ms);
      expect(seen.at! - 13).toBeLessThanOrEqual(latest);
      await runtime.clock.advance(10_000);
    }
  });

  test("a thousand calls share one timer from 100 ms on (C0.4)", async () => {
    const runtime = fakeRuntime();
    const [shared, exact] = [100, 50].map((ms) => new Timeout({ attemptTimeoutMs: ms }, runtime)) as [Timeout, Timeout];
    for (let i = 0; i < 1_000; i++) shared.execute(never).catch(() => {});
    expect(runtime.clock.pendingTimers).toBe(1);
    for (let i = 0; i < 3; i++) exact.execute(never).catch(() => {});
    expect(runtime.clock.pendingTimers).toBe(4);
    await runtime.clock.advance(200);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a jump of the wall clock moves no timeout (C0.4)", async () => {
    const runtime = fakeRuntime();
    const seen = watch(runtime, new Timeout({ attemptTimeoutMs: 1_000 }, runtime).execute(never));
    runtime.clock.jumpWall(3_600_000);
    await runtime.clock.advance(999);
    runtime.clock.jumpWall(-7_200_000);
    expect(seen.at).toBeUndefined();
    await runtime.clock.advance(51);
    expect(seen.at).toBe(1_000);
  });
});

describe("when the operation settles in time", () => {
  test.each([50, 500])("its value or its own error comes out, and no timer is left (C3.1, C0.5)", async (ms) => {
    const runtime = fakeRuntime();
    const timeout = new Timeout({ attemptTimeoutMs: ms }, runtime);
    const error = new Error("own");
    const seen = [
      watch(
        runtime,
        timeout.execute(() => 1),
      ),
      watch(
        runtime,
        timeout.execute(async () => runtime.clock.sleep(20)),
      ),
      watch(
        runtime,
        timeout.execute(() => Promise.reject(error)),
      ),
      watch(
        runtime,
        timeout.execute(() => {
          throw error;
        }),
      ),
    ];
    await runtime.clock.advance(20);
    expect(seen).toEqual([
      { at: 0, value: 1 },
      { at: 20, value: undefined },
      { at: 0, error },
      { at: 0, error },
    ]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("the signal never aborts afterwards", async () => {
    const runtime = fakeRuntime();
    const controller = new AbortController();
    let signal: AbortSignal | undefined;
    const timeout = new Timeout({ attemptTimeoutMs: 500 }, runtime);
    await timeout.execute((call) => ({ signal } = call), { signal: controller.signal });
    await runtime.clock.advance(1_000);
    controller.abort();
    expect(signal!.aborted).toBe(false);
  });
});

describe("what comes late", () => {
  test("a late value and a late error become events, and no unhandled rejection (C3.1, C3.11)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const timeout = new Timeout({ name: "llm", attemptTimeoutMs: 50 }, runtime);
    const error = new Error("connection lost");
    const outcomes = [
      timeout.executeOutcome(() => runtime.clock.sleep(80)),
      timeout.executeOutcome(() => runtime.clock.sleep(90).then(() => Promise.reject(error))),
    ];
    await runtime.clock.advance(50);
    expect(await Promise.all(outcomes)).toMatchObject([{ ok: false }, { ok: false }]);
    await runtime.clock.advance(50);
    expect(log.slice(2)).toMatchObject([
      { type: "attempt.late", policy: "llm", outcome: "value", lateMs: 30 },
      { type: "attempt.late", policy: "llm", outcome: "error", error, lateMs: 40 },
    ]);
  });

  test("an operation that ends because it was told to is late as well, and does not change the error (C3.1)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const timeout = new Timeout({ attemptTimeoutMs: 50 }, runtime);
    const seen = watch(
      runtime,
      timeout.execute(({ signal }) => runtime.clock.sleep(1_000, signal)),
    );
    await runtime.clock.advance(50);
    expect(seen.error).toBeInstanceOf(TimeoutError);
    expect(log).toMatchObject([{ type: "timeout" }, { type: "attempt.late", outcome: "error", lateMs: 0 }]);
  });

  test("a promise of another make that settles twice is heard once, and harms no other call", async () => {
    const runtime = fakeRuntime();
    const timeout = new Timeout({ attemptTimeoutMs: 200 }, runtime);
    const other = watch(runtime, timeout.execute(never));
    const twice = {
      then(resolve: (value: number) => void, reject: (error: Error) => void) {
        resolve(1);
        reject(new Error("also"));
        resolve(2);
      },
    } as PromiseLike<number>;
    expect(await timeout.execute(() => twice)).toBe(1);
    const third = watch(runtime, timeout.execute(never));
    await runtime.clock.advance(250);
    expect([other.error, third.error]).toMatchObject([{ timeoutMs: 200 }, { timeoutMs: 200 }]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a promise of another make that never settles is timed out like any other (C3.1)", async () => {
    const runtime = fakeRuntime();
    const hanging = { then: () => {} } as unknown as PromiseLike<never>;
    const seen = watch(
      runtime,
      new Timeout({ attemptTimeoutMs: 50 }, runtime).execute(() => hanging),
    );
    await runtime.clock.advance(50);
    expect(seen.error).toBeInstanceOf(TimeoutError);
  });

  test("a value that is given at once ends the limit at once, and leaves no timer for a moment (C1.8)", async () => {
    const runtime = fakeRuntime();
    const timeout = new Timeout({ attemptTimeoutMs: 50 }, runtime);
    const given = [5, null, { then: 5 }].map((value) => timeout.execute(() => value));
    expect(runtime.clock.pendingTimers).toBe(0);
    expect(await Promise.all(given)).toEqual([5, null, { then: 5 }]);
  });

  test("a promise of another make that cannot be asked rejects the call and leaves no timer", async () => {
    const runtime = fakeRuntime();
    const unreadable = {
      get then(): never {
        throw new Error("no then");
      },
    };
    const timeout = new Timeout({ attemptTimeoutMs: 200 }, runtime);
    await expect(timeout.execute(() => unreadable)).rejects.toThrow("no then");
    expect(runtime.clock.pendingTimers).toBe(0);
  });
});

describe("deadlines", () => {
  /** The deadlines that an operation sees inside these policies. */
  async function deadlineInside(build: (runtime: FakeRuntime) => Timeout[], deadlineMs?: number): Promise<number> {
    const runtime = fakeRuntime();
    await runtime.clock.advance(100);
    let seen: Call | undefined;
    const policies = build(runtime);
    const operation = (call: Call): unknown => (seen = call);
    let innermost: (call: Call) => unknown = operation;
    for (const policy of policies.reverse()) {
      const inner = innermost;
      innermost = (call) => policy.execute(inner, call);
    }
    await new RetryPolicy({}, runtime).execute(innermost, { deadlineMs });
    return seen!.deadline;
  }

  const of =
    (...limits: number[]) =>
    (runtime: FakeRuntime) =>
      limits.map((attemptTimeoutMs) => new Timeout({ attemptTimeoutMs }, runtime));

  test("the least of those outside and the own limit is handed inward (C3.1)", async () => {
    expect(await deadlineInside(of())).toBe(Infinity);
    expect(await deadlineInside(of(70))).toBe(170);
    expect(await deadlineInside(of(500, 70))).toBe(170);
    expect(await deadlineInside(of(70, 500))).toBe(170);
    expect(await deadlineInside(of(500), 80)).toBe(180);
  });

  test("totalTimeoutMs spans attempts and waits (C3.1)", async () => {
    const runtime = fakeRuntime();
    const policy = pipeline(
      new Timeout({ name: "total", totalTimeoutMs: 90 }, runtime),
      new RetryPolicy({ strategy: "fixed", initialDelayMs: 30, jitter: "none", maxAttempts: 9 }, runtime),
      new Timeout({ name: "attempt", attemptTimeoutMs: 40 }, runtime),
    );
    const attempts: number[] = [];
    const seen = watch(
      runtime,
      policy.execute(() => {
        attempts.push(runtime.clock.now());
        return never();
      }),
    );
    await runtime.clock.advance(500);
    expect(seen).toMatchObject({
      at: 90,
      error: { message: expect.stringContaining("total did not settle") as string },
    });
    expect(attempts).toEqual([0, 70]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });
});

describe("an abort by the caller", () => {
  test("reaches the operation's signal, and leaves no listener on the caller's (C1.6)", async () => {
    const runtime = fakeRuntime();
    const controller = new AbortController();
    const timeout = new Timeout({ attemptTimeoutMs: 500 }, runtime);
    const seen = watch(
      runtime,
      timeout.execute(({ signal }) => runtime.clock.sleep(100, signal), controller),
    );
    await runtime.clock.advance(50);
    controller.abort("stop");
    await runtime.clock.advance(0);
    expect(seen).toEqual({ at: 50, error: "stop" });
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("before the call takes no probe of the breaker outside, and does not count (C0.8)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 10 }, runtime);
    await breaker.executeOutcome(() => Promise.reject(new Error("down")));
    await runtime.clock.advance(10);
    const policy = pipeline(breaker, new Timeout({ attemptTimeoutMs: 500 }, runtime));
    const late = new TimeoutError("an outer one", 5);
    for (const reason of [new Error("stop"), late])
      await expect(policy.execute(never, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(breaker.state).toBe("OPEN");
    expect(breaker.getStats()).toMatchObject({ totalFailures: 1, rejected: 0 });
  });
});

test("it needs one of its two limits, and one only (C0.3)", () => {
  expect(() => new Timeout({})).toThrow("timeout needs attemptTimeoutMs or totalTimeoutMs, and one of them only");
  expect(() => new Timeout({ attemptTimeoutMs: 1, totalTimeoutMs: 2 })).toThrow("the total one outside the retry");
  expect(new Timeout({ totalTimeoutMs: 5 }).timeoutMs).toBe(5);
});

test("on the clock of the machine, it ends a call that hangs", async () => {
  const before = systemClock.now();
  await expect(new Timeout({ attemptTimeoutMs: 15 }).execute(never)).rejects.toThrow(TimeoutError);
  await expect(new Timeout({ attemptTimeoutMs: 110 }).execute(never)).rejects.toThrow(TimeoutError);
  expect(systemClock.now() - before).toBeGreaterThanOrEqual(125);
});
