import { describe, expect, test } from "vitest";
import { AdaptiveConcurrency } from "../policies/adaptive-concurrency.ts";
import { Budget } from "../policies/budget.ts";
import { Bulkhead } from "../policies/bulkhead.ts";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { Fallback } from "../policies/fallback.ts";
import { RateLimiter } from "../policies/rate-limiter.ts";
import { ResourceLock } from "../policies/resource-lock.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { Timeout } from "../policies/timeout.ts";
import { fakeRuntime, record } from "../testing/fake-clock.ts";
import { CircuitBreakerOpenError, ConfigError, messageOf } from "./errors.ts";
import { Pipeline, pipeline } from "./pipeline.ts";
import { type Invoke, type Policy, PolicyBase, type PolicyDescription } from "./policy.ts";

/** A policy that writes down when a call passes it, inward and outward. */
class Trace extends PolicyBase {
  readonly kind = "trace";
  readonly name: string;
  readonly #log: string[];

  constructor(name: string, log: string[]) {
    super();
    this.name = name;
    this.#log = log;
  }

  execute(): Promise<never> {
    return Promise.reject(new Error("A pipeline has no need of execute."));
  }

  around(next: Invoke): Invoke {
    return async (operation, call) => {
      this.#log.push(`${this.name} in`);
      const value = await next(operation, call);
      this.#log.push(`${this.name} out`);
      return value;
    };
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: {} };
  }
}

/** A policy that takes a stale value for a failure. */
class Picky extends Trace {
  constructor() {
    super("picky", []);
  }

  override around(next: Invoke): Invoke {
    return async (operation, call) => {
      const value = await next(operation, call);
      if (value === "stale") throw new Error("served, and not good enough");
      return value;
    };
  }
}

/** Whether the error of an outcome is a getter, of its own or of its class. */
function isBuiltWhenRead(outcome: object): boolean {
  const own = Object.getOwnPropertyDescriptor(outcome, "error");
  return (own ?? Object.getOwnPropertyDescriptor(Object.getPrototypeOf(outcome), "error"))?.get !== undefined;
}

const down = (): Promise<never> => Promise.reject(new Error("down"));

describe("order", () => {
  test("the first policy is the outermost, also of a pipeline in a pipeline (C3.10)", async () => {
    const log: string[] = [];
    const [a, b, c] = ["a", "b", "c"].map((name) => new Trace(name, log)) as [Trace, Trace, Trace];
    expect(await pipeline(a, pipeline(b, c)).execute(() => log.push("operation"))).toBe(4);
    expect(log).toEqual(["a in", "b in", "c in", "operation", "c out", "b out", "a out"]);
  });

  test("retry(breaker(f)) shows the breaker each attempt, and breaker(retry(f)) one call per series (C3.10)", async () => {
    const counted = async (build: (retry: RetryPolicy, breaker: CircuitBreaker) => Policy): Promise<number> => {
      const runtime = fakeRuntime();
      const breaker = new CircuitBreaker({ failureThreshold: 9 }, runtime);
      const policy = build(new RetryPolicy({ maxAttempts: 3, strategy: "immediate" }, runtime), breaker);
      const settled = policy.executeOutcome(down);
      await runtime.clock.advance(0);
      expect((await settled).ok).toBe(false);
      return breaker.getStats().totalFailures;
    };
    expect(await counted((retry, breaker) => pipeline(retry, breaker))).toBe(3);
    expect(await counted((retry, breaker) => pipeline(breaker, retry))).toBe(1);
  });

  test("in the standard order each policy does its part (C3.10)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const policy = pipeline(
      new Fallback({ fallback: "stale" }, runtime),
      new Timeout({ name: "total", totalTimeoutMs: 1_000 }, runtime),
      new RetryPolicy({ maxAttempts: 9, strategy: "fixed", initialDelayMs: 100, jitter: "none" }, runtime),
      new CircuitBreaker({ failureThreshold: 2, recoveryTimeoutMs: 400 }, runtime),
      new Timeout({ name: "attempt", attemptTimeoutMs: 50 }, runtime),
    );
    const settled = policy.executeOutcome(() => new Promise(() => {}));
    await runtime.clock.advance(2_000);
    expect(await settled).toMatchObject({ ok: true, value: "stale", fallbackUsed: true });
    expect(log.map((event) => event.type)).toEqual([
      ...["timeout", "retry.scheduled"], // 50: an attempt; 150 begins the next
      ...["timeout", "breaker.changed", "retry.scheduled"], // 200: open until 600
      ...["breaker.rejected", "retry.scheduled"], // 300: the refusal asks for 300 ms more
      ...["breaker.changed", "timeout", "breaker.changed", "retry.scheduled"], // 650: the probe fails, open until 1050
      ...["breaker.rejected", "fallback"], // 750: what the refusal asks for would pass the deadline
    ]);
  });
});

describe("a breaker right outside a timeout, which share a frame", () => {
  const outcomes = ["value", "error", "sync value", "sync error", "hang"] as const;

  /** What happens, event by event, to a series of calls. */
  async function story(link: (breaker: CircuitBreaker, timeout: Timeout) => Policy): Promise<unknown> {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const breaker = new CircuitBreaker({ failureThreshold: 2, successThreshold: 1, recoveryTimeoutMs: 120 }, runtime);
    const policy = link(breaker, new Timeout({ attemptTimeoutMs: 50 }, runtime));
    const results: unknown[] = [];
    for (const outcome of [...outcomes, ...outcomes, ...outcomes]) {
      const settled = policy.executeOutcome((): unknown => {
        if (outcome === "sync error") throw new Error(outcome);
        if (outcome === "error") return Promise.reject(new Error(outcome));
        if (outcome === "hang") return new Promise(() => {});
        return outcome === "value" ? Promise.resolve(outcome) : outcome;
      });
      await runtime.clock.advance(60);
      results.push(await settled, breaker.getState());
    }
    return { results, stats: breaker.getStats(), log, pendingTimers: runtime.clock.pendingTimers };
  }

  test("behaves as one that does not", async () => {
    const apart = await story((breaker, timeout) => pipeline(breaker, pipeline(timeout)));
    expect(await story((breaker, timeout) => pipeline(breaker, timeout))).toEqual(apart);
    expect(apart).toMatchObject({ stats: { rejected: 4 }, pendingTimers: 0 });
  });
});

describe("a bulkhead right outside a timeout, which share a frame", () => {
  const never = (): Promise<never> => new Promise(() => {});

  /** What happens to calls that come two at a time where one has room: some end too late, or never. */
  async function story(link: (bulkhead: Bulkhead, timeout: Timeout) => Policy): Promise<unknown> {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const bulkhead = new Bulkhead({ maxConcurrent: 1, maxQueue: 1, queueTimeoutMs: 30 }, runtime);
    const policy = link(bulkhead, new Timeout({ attemptTimeoutMs: 50 }, runtime));
    const results: unknown[] = [];
    for (const lastsMs of [10, 40, 80, Infinity]) {
      const operation = (): Promise<unknown> => (lastsMs === Infinity ? never() : runtime.clock.sleep(lastsMs));
      const settled = Promise.allSettled([1, 2].map(() => policy.execute(operation)));
      for (let i = 0; i < 4; i++) {
        await runtime.clock.advance(25);
        results.push(bulkhead.getStats().active);
      }
      results.push(await settled);
    }
    return { results, stats: bulkhead.getStats(), log };
  }

  test("behaves as one that does not (C3.2)", async () => {
    const apart = await story((bulkhead, timeout) => pipeline(bulkhead, pipeline(timeout)));
    expect(await story((bulkhead, timeout) => pipeline(bulkhead, timeout))).toEqual(apart);
  });

  test("holds its slot until the operation has settled, also where more stands between (C3.2)", async () => {
    const runtime = fakeRuntime();
    const bulkhead = new Bulkhead({ maxConcurrent: 1 }, runtime);
    const [outer, inner] = [90, 50].map((attemptTimeoutMs) => new Timeout({ attemptTimeoutMs }, runtime)) as [
      Timeout,
      Timeout,
    ];
    let finish = (): void => {};
    const operation = (): Promise<void> => new Promise((resolve) => (finish = resolve));
    const settled = pipeline(bulkhead, outer, inner).execute(operation).catch(messageOf);
    await runtime.clock.advance(60);
    expect(await settled).toContain("within 50 ms");
    expect(bulkhead.getStats().active).toBe(1);
    finish();
    await runtime.clock.advance(0);
    expect(bulkhead.getStats().active).toBe(0);
  });
});

test("a timeout takes in the breaker right outside it, and neither the one inside nor what stands further out (C3.10)", async () => {
  const runtime = fakeRuntime();
  const retry = new RetryPolicy({ maxAttempts: 3, strategy: "immediate" }, runtime);
  const breaker = new CircuitBreaker({ failureThreshold: 9 }, runtime);
  const policy = pipeline(retry, new Timeout({ attemptTimeoutMs: 50 }, runtime), breaker);
  let calls = 0;
  const settled = policy.executeOutcome(() => {
    calls++;
    return down();
  });
  await runtime.clock.advance(0);
  expect((await settled).ok).toBe(false);
  expect([calls, breaker.getStats().totalFailures]).toEqual([3, 3]);
});

describe("outcomes", () => {
  test("a refusal in an inner policy is a refusal of the whole, unless the operation was called before it (C10.1)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 5_000 }, runtime);
    const policy = new Pipeline([new RetryPolicy({ strategy: "immediate" }, runtime), breaker], runtime);
    const first = policy.executeOutcome(down, { deadlineMs: 1_000 });
    await runtime.clock.advance(0);
    expect(await first).toMatchObject({ ok: false, refused: false, retryAfterMs: 5_000 });
    const second = await policy.executeOutcome(down, { deadlineMs: 1_000 });
    expect(second).toMatchObject({ ok: false, refused: true, retryAfterMs: 5_000 });
    expect(!second.ok && second.error).toBeInstanceOf(CircuitBreakerOpenError);
  });

  test("the refusal of the outermost policy is a value, whose error is built when it is read (C2.5, C10.1)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({}, runtime);
    breaker.isolate();
    const bulkhead = new Bulkhead({ maxConcurrent: 1 }, runtime);
    const adaptive = new AdaptiveConcurrency({ initialLimit: 1, minLimit: 1, maxLimit: 1 }, runtime);
    const lock = new ResourceLock({ acquireTimeoutMs: 0 }, runtime);
    const limiter = new RateLimiter({ limits: { requests: { limit: 1 } }, maxWaitMs: 0 }, runtime);
    const budget = new Budget({ limitCalls: 1 }, runtime);
    let finish = (): void => {};
    const held = new Promise<void>((resolve) => (finish = resolve));
    const taken = [bulkhead, adaptive, lock, limiter, budget].map((policy) => policy.execute(() => held));
    for (const policy of [breaker, bulkhead, adaptive, lock, limiter, budget]) {
      const inner = new Pipeline([policy], runtime);
      const outcome = await new Pipeline(
        [inner, new Timeout({ attemptTimeoutMs: 50 }, runtime)],
        runtime,
      ).executeOutcome(() => "never called");
      expect({ kind: policy.kind, ...outcome }).toMatchObject({ ok: false, refused: true });
      expect([policy.kind, isBuiltWhenRead(outcome)]).toEqual([policy.kind, true]);
      await expect(policy.execute(() => "never called")).rejects.toThrow((outcome.error as Error).message);
    }
    finish();
    await Promise.all(taken);
    await runtime.clock.advance(0);
    const [outer, called] = [new Pipeline([bulkhead, new RetryPolicy({}, runtime)], runtime), "the operation"];
    expect(await outer.executeOutcome(() => called)).toEqual({ ok: true, value: called });
    expect(bulkhead.getStats().active).toBe(0);
  });

  test("a fallback deep inside says so too, unless another value came of the call (C3.5, C10.1)", async () => {
    const runtime = fakeRuntime();
    const served = (error: unknown): boolean => (error as Error).message === "served, and not good enough";
    const retry = new RetryPolicy({ strategy: "immediate", retryableErrors: served }, runtime);
    const breaker = new CircuitBreaker({ fallback: "stale", fallbackOn: "any" }, runtime);
    const inner = new Pipeline([breaker], runtime);
    const policy = new Pipeline([new Timeout({ totalTimeoutMs: 1_000 }, runtime), retry, inner], runtime);
    const deep = await policy.executeOutcome(down);
    expect(deep).toEqual({ ok: true, value: "stale", fallbackUsed: true, error: new Error("down") });
    // A policy between them that throws a fallback's value away, and calls again.
    const picky = new Pipeline([retry, new Picky(), inner], runtime);
    let calls = 0;
    const outcome = picky.executeOutcome(() => (++calls < 2 ? down() : "fresh"));
    await runtime.clock.advance(0);
    expect(await outcome).toEqual({ ok: true, value: "fresh" });
  });

  test("a fallback that stands outermost says that it served, and why (C3.5, C10.1)", async () => {
    const policy = pipeline(new Fallback({ fallback: "stale" }), new CircuitBreaker());
    expect(await policy.executeOutcome(down)).toEqual({
      ok: true,
      value: "stale",
      fallbackUsed: true,
      error: new Error("down"),
    });
    expect(await policy.executeOutcome(() => "fresh")).toEqual({ ok: true, value: "fresh" });
    expect(await policy.execute(down)).toBe("stale");
  });
});

test("an order that defeats itself is told at the first call, also where that asks for an outcome (C3.10, C10.1)", async () => {
  const runtime = fakeRuntime();
  const log = record(runtime.events);
  const limiter = new RateLimiter({ limits: { requests: { limit: 9 } } }, runtime);
  const policy = new Pipeline([limiter, new RetryPolicy({}, runtime)], runtime);
  expect(log).toEqual([]);
  expect(await policy.executeOutcome(() => "value")).toEqual({ ok: true, value: "value" });
  expect(log.map(({ type }) => type)).toEqual(["pipeline.order"]);
  expect(await policy.executeOutcome(() => "again")).toEqual({ ok: true, value: "again" });
  expect(await policy.execute(() => "and again")).toBe("and again");
  expect(log).toMatchObject([{ policy: policy.name }]);
});

describe("an empty pipeline", () => {
  test("is the bare operation: what it throws at once is a rejection", async () => {
    const empty = pipeline();
    expect(empty.name).toBe("empty");
    await expect(
      empty.execute(() => {
        throw new Error("at once");
      }),
    ).rejects.toThrow("at once");
  });
});

test("what is no policy is refused by its place (C0.3)", () => {
  const stranger = { execute: () => 1 } as unknown as Policy;
  expect(() => pipeline(new RetryPolicy(), stranger)).toThrow(ConfigError);
  expect(() => pipeline(new RetryPolicy(), stranger)).toThrow("outermost first; argument 2 is not one");
  expect(() => pipeline(undefined as unknown as Policy)).toThrow("argument 1 is not one");
});

test("describe() gives kind, name, options in effect and children as plain data (C3.12)", () => {
  class NotFound extends Error {}
  const policy = pipeline(
    new Fallback({ name: "f", fallback: [() => 1, "text"] }),
    new RetryPolicy({ name: "r", maxRetries: 1, retryableErrors: [NotFound, /busy/], onRetry: () => {} }),
    new CircuitBreaker({ name: "b", countsAsFailure: (error) => error !== 1, window: { kind: "count", size: 9 } }),
    pipeline(new Timeout({ name: "t", attemptTimeoutMs: 70 })),
  );
  const description = policy.describe();
  expect(description).toMatchObject({
    kind: "pipeline",
    name: "fallback > retry > circuitBreaker > pipeline",
    options: {},
    children: [
      { kind: "fallback", name: "f", options: { fallback: ["function (anonymous)", "string"] } },
      {
        kind: "retry",
        name: "r",
        options: {
          maxAttempts: 2,
          initialDelayMs: 1_000,
          maxDelayMs: 30_000,
          strategy: "exponential",
          jitter: "full",
          retryableErrors: ["the function NotFound", "/busy/"],
        },
      },
      {
        kind: "circuitBreaker",
        name: "b",
        options: {
          failureThreshold: 5,
          successThreshold: 2,
          recoveryTimeoutMs: 60_000,
          countsAsFailure: "the function countsAsFailure",
          window: { kind: "count", size: 9 },
          state: "closed",
          hasFallback: false,
        },
      },
      { kind: "pipeline", children: [{ kind: "timeout", name: "t", options: { attemptTimeoutMs: 70 } }] },
    ],
  });
  // Functions would not survive this.
  expect(structuredClone(description)).toEqual(description);
});
