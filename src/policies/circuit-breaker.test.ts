import { describe, expect, test } from "vitest";
import {
  CircuitBreakerOpenError,
  ConfigError,
  FallbackFailedError,
  RefusedError,
  RetryExhaustedError,
  TimeoutError,
} from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Fallback } from "./fallback.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

const down = new Error("down");

function make(options: CircuitBreakerOptions<never> = {}): { breaker: CircuitBreaker; runtime: FakeRuntime } {
  const runtime = fakeRuntime();
  return { breaker: new CircuitBreaker(options, runtime), runtime };
}

async function fail(breaker: CircuitBreaker, times = 1, error: unknown = down): Promise<void> {
  for (let i = 0; i < times; i++) await breaker.executeOutcome(() => Promise.reject(error));
}

describe("closed", () => {
  test("it opens after five failures in a row unless told otherwise (C2.1, C2.2)", async () => {
    const { breaker } = make();
    await fail(breaker, 4);
    expect(breaker.state).toBe("CLOSED");
    await fail(breaker);
    expect(breaker.state).toBe("OPEN");
  });

  test("a success sets the count of failures in a row back to zero (C2.2)", async () => {
    const { breaker } = make({ failureThreshold: 3 });
    await fail(breaker, 2);
    expect(await breaker.execute(() => "fine")).toBe("fine");
    await fail(breaker, 2);
    expect(breaker.state).toBe("CLOSED");
    await fail(breaker);
    expect(breaker.state).toBe("OPEN");
  });

  test("an error comes out as it is, and the value as it is (C0.5)", async () => {
    const { breaker } = make();
    await expect(breaker.execute(() => Promise.reject(down))).rejects.toBe(down);
    await expect(
      breaker.execute(() => {
        throw down;
      }),
    ).rejects.toBe(down);
    expect(await breaker.executeOutcome(() => Promise.reject(down))).toEqual({
      ok: false,
      refused: false,
      error: down,
    });
  });

  test("with fewer calls than volumeThreshold it does not open (C2.1)", async () => {
    const { breaker } = make({ failureThreshold: 2, volumeThreshold: 4 });
    await fail(breaker, 3);
    expect(breaker.state).toBe("CLOSED");
    await fail(breaker);
    expect(breaker.state).toBe("OPEN");
  });
});

test("successes are calls of the volume, too (C2.1)", async () => {
  const breaker = new CircuitBreaker({ failureThreshold: 1, volumeThreshold: 4 }, fakeRuntime());
  for (let n = 0; n < 3; n++) await breaker.execute(() => n);
  await breaker.executeOutcome(() => Promise.reject(down));
  expect(breaker.state).toBe("OPEN");
});

test("what is normal is learnt from successes as well (C2.1)", async () => {
  const breaker = new CircuitBreaker({ adaptive: true, failureThreshold: 100 }, fakeRuntime());
  for (let n = 0; n < 400; n++) await breaker.executeOutcome(() => (n % 20 === 0 ? Promise.reject(down) : n));
  expect(breaker.getStats().normalFailureRate).toBeCloseTo(0.05, 2);
});

describe("open", () => {
  test("it refuses without calling the operation, and says which breaker, why and how long (C2.2, C2.5, C10.2)", async () => {
    const { breaker, runtime } = make({ name: "crm", failureThreshold: 2, recoveryTimeoutMs: 1_000 });
    await fail(breaker, 2);
    await runtime.clock.advance(300);
    let called = false;
    const error: unknown = await breaker.execute(() => (called = true)).catch((thrown: unknown) => thrown);
    expect(called).toBe(false);
    expect(error).toBeInstanceOf(CircuitBreakerOpenError);
    expect(error).toMatchObject({ circuitName: "crm", failureCount: 2, retryAfterMs: 700 });
    expect((error as Error).message).toBe(
      'Circuit "crm" is open after 2 failures and refuses calls; try again in 700 ms.',
    );
  });

  test("as a value, a refusal builds no error until somebody reads it (C2.5, C10.1)", async () => {
    const { breaker, runtime } = make({ failureThreshold: 1, recoveryTimeoutMs: 1_000 });
    await fail(breaker);
    const [first, second] = [breaker.executeOutcome(() => 1), breaker.executeOutcome(() => 1)];
    // One promise serves them all: no allocation under load.
    expect(first).toBe(second);
    const outcome = await first;
    expect(outcome).toMatchObject({ ok: false, refused: true });
    await runtime.clock.advance(400);
    if (outcome.ok) throw new Error("It was not refused.");
    expect(outcome.error).toBeInstanceOf(CircuitBreakerOpenError);
    expect(outcome.error).not.toBe(outcome.error);
    expect([outcome.retryAfterMs, (outcome.error as CircuitBreakerOpenError).retryAfterMs]).toEqual([600, 600]);
  });

  test("a refusal that is read later tells of the state that refused, not of the one by then (C2.5)", async () => {
    const { breaker, runtime } = make({ failureThreshold: 2, successThreshold: 1, recoveryTimeoutMs: 1_000 });
    await fail(breaker, 2);
    const outcome = await breaker.executeOutcome(() => 1);
    await runtime.clock.advance(1_000);
    await breaker.execute(() => "recovered");
    expect(breaker.state).toBe("CLOSED");
    expect(!outcome.ok && outcome.error).toMatchObject({ failureCount: 2, retryAfterMs: 0 });
  });

  test("refusing costs no new value, neither while it is open nor by hand (C2.5, C2.8)", async () => {
    const { breaker } = make({ failureThreshold: 1 });
    const refused = (): Promise<unknown> => breaker.executeOutcome(() => 1);
    await fail(breaker);
    expect(refused()).toBe(refused());
    breaker.isolate();
    expect(refused()).toBe(refused());
    expect(await refused()).toMatchObject({ ok: false, refused: true });
  });

  test("the open time runs from the moment of opening, and refusals do not lengthen it (C2.2)", async () => {
    const { breaker, runtime } = make({ failureThreshold: 1, recoveryTimeoutMs: 1_000, successThreshold: 1 });
    await fail(breaker);
    for (let i = 0; i < 9; i++) {
      await runtime.clock.advance(100);
      expect((await breaker.executeOutcome(() => 1)).ok).toBe(false);
    }
    await runtime.clock.advance(100);
    expect(await breaker.execute(() => "probe")).toBe("probe");
  });

  test("a jump of the wall clock does not close it, nor keep it open (C0.4)", async () => {
    const { breaker, runtime } = make({ failureThreshold: 1, recoveryTimeoutMs: 60_000 });
    await fail(breaker);
    runtime.clock.jumpWall(3_600_000);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(false);
    runtime.clock.jumpWall(-2 * 365 * 86_400_000);
    await runtime.clock.advance(60_000);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(true);
  });

  test("it holds no timer (C0.4)", async () => {
    const { breaker, runtime } = make({ failureThreshold: 1 });
    await fail(breaker);
    expect(runtime.clock.pendingTimers).toBe(0);
  });
});

describe("what counts as a failure", () => {
  /** Whether one such error opens a breaker that opens at the first failure. */
  async function opens(error: unknown, options: CircuitBreakerOptions<never> = {}): Promise<boolean> {
    const { breaker } = make({ failureThreshold: 1, ...options });
    await fail(breaker, 1, error);
    return breaker.state === "OPEN";
  }

  test("errors, timeouts of ours, and whatever else is thrown (C0.8)", async () => {
    for (const error of [down, new TimeoutError("t", 5), "text", undefined, null])
      expect(await opens(error)).toBe(true);
  });

  test("neither refusals nor mistakes (C2.4, C0.8)", async () => {
    const neutral = [
      new CircuitBreakerOpenError("inner", 1, 5),
      new RefusedError("RATE_LIMITED", "no"),
      new ConfigError("wrong"),
      { code: "BUDGET_EXCEEDED" },
    ];
    for (const error of neutral) expect(await opens(error)).toBe(false);
  });

  test("an exhausted retry is judged by its cause, also where something has wrapped it (C2.4)", async () => {
    const exhausted = (cause: unknown): Error => new RetryExhaustedError("r", 3, cause, "why");
    expect(await opens(exhausted(down))).toBe(true);
    expect(await opens(exhausted(exhausted(down)))).toBe(true);
    expect(await opens(exhausted(undefined))).toBe(true);
    expect(await opens(new Error("the client failed", { cause: exhausted(down) }))).toBe(true);
    expect(await opens(new FallbackFailedError("f", exhausted(down), [down]))).toBe(true);
    expect(await opens(exhausted(new CircuitBreakerOpenError("inner", 1, 5)))).toBe(false);
    expect(await opens(new Error("wrapped", { cause: exhausted(new ConfigError("wrong")) }))).toBe(false);
  });

  test("a matcher decides instead, of the cause too, and is shown returned values (C2.1, C2.4)", async () => {
    class NotFound extends Error {}
    const countsAsFailure = (error: unknown): boolean => !(error instanceof NotFound);
    expect(await opens(new NotFound(), { countsAsFailure })).toBe(false);
    expect(await opens(new RetryExhaustedError("r", 1, new NotFound(), ""), { countsAsFailure })).toBe(false);
    expect(await opens(down, { countsAsFailure })).toBe(true);
    expect(await opens(down, { countsAsFailure: "ECONNRESET" })).toBe(false);
    expect(await opens(Object.assign(new Error(), { code: "ECONNRESET" }), { countsAsFailure: "ECONNRESET" })).toBe(
      true,
    );

    const { breaker } = make({
      failureThreshold: 2,
      countsAsFailure: (value) => (value as { status?: number } | undefined)?.status === 503,
    });
    expect(await breaker.execute(() => ({ status: 503 }))).toEqual({ status: 503 });
    await breaker.execute(() => ({ status: 200 }));
    await breaker.execute(() => ({ status: 503 }));
    expect(breaker.state).toBe("CLOSED");
    await breaker.executeOutcome(() => ({ status: 503 }));
    expect(breaker.state).toBe("OPEN");
  });

  test("failures count no matter which of retry and breaker wraps the other (C2.4)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 2 }, runtime);
    const policy = pipeline(
      breaker,
      new Fallback({ fallback: () => Promise.reject(new Error("no cache")) }, runtime),
      new RetryPolicy({ strategy: "immediate" }, runtime),
    );
    const settled = [
      policy.executeOutcome(() => Promise.reject(down)),
      policy.executeOutcome(() => Promise.reject(down)),
    ];
    await runtime.clock.advance(0);
    await Promise.all(settled);
    expect(breaker.state).toBe("OPEN");
  });

  test("an abort by the caller is neutral, and the own timeout inside or outside is a failure (C0.8)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1 }, runtime);
    const wait = ({ signal }: { signal: AbortSignal }): Promise<void> => runtime.clock.sleep(1_000, signal);
    for (const policy of [breaker, pipeline(breaker, new Timeout({ attemptTimeoutMs: 500 }, runtime))]) {
      const controller = new AbortController();
      const settled = policy.executeOutcome(wait, { signal: controller.signal });
      controller.abort();
      expect((await settled).ok).toBe(false);
      expect(breaker.state).toBe("CLOSED");
    }
    const outside = pipeline(new Timeout({ totalTimeoutMs: 50 }, runtime), breaker).executeOutcome(wait);
    await runtime.clock.advance(50);
    await outside;
    expect(breaker.state).toBe("OPEN");
    breaker.reset();
    const inside = pipeline(breaker, new Timeout({ attemptTimeoutMs: 50 }, runtime)).executeOutcome(wait);
    await runtime.clock.advance(50);
    await inside;
    expect(breaker.state).toBe("OPEN");
  });
});

describe("by hand", () => {
  test("isolate() refuses every call until reset(), however long that is (C2.6)", async () => {
    const { breaker, runtime } = make({ name: "crm", recoveryTimeoutMs: 10 });
    breaker.isolate();
    await runtime.clock.advance(1_000_000);
    expect(breaker.state).toBe("ISOLATED");
    await expect(breaker.execute(() => 1)).rejects.toThrow('Circuit "crm" is isolated by hand and refuses every call');
    const outcome = await breaker.executeOutcome(() => 1);
    expect(outcome).toMatchObject({ ok: false, refused: true, retryAfterMs: undefined });
    breaker.reset();
    expect(await breaker.execute(() => 1)).toBe(1);
  });

  test("disable() admits every call, whatever fails, until reset() (C2.6)", async () => {
    const { breaker } = make({ failureThreshold: 1 });
    breaker.disable();
    await fail(breaker, 20);
    expect(breaker.state).toBe("DISABLED");
    expect(await breaker.execute(() => 1)).toBe(1);
    breaker.reset();
    await fail(breaker);
    expect(breaker.state).toBe("OPEN");
  });

  test("disable() lets no window open it either (C2.6)", async () => {
    const window = { kind: "count", size: 4, failureRateThreshold: 0.5 } as const;
    const breaker = new CircuitBreaker({ window }, fakeRuntime());
    breaker.disable();
    for (let n = 0; n < 8; n++) await breaker.executeOutcome(() => Promise.reject(down));
    expect(breaker.state).toBe("DISABLED");
  });

  test("reset() forgets failures, and a call from before it changes nothing (C2.3, C2.6)", async () => {
    const { breaker } = make({ failureThreshold: 2 });
    await fail(breaker);
    let finish: (error: Error) => void = () => {};
    const old = breaker.executeOutcome(() => new Promise((_, reject) => (finish = reject)));
    breaker.reset();
    await fail(breaker);
    finish(down);
    await old;
    expect(breaker.state).toBe("CLOSED");
    expect(breaker.getState().failureCount).toBe(1);
  });
});
