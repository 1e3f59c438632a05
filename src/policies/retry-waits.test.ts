import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { CircuitBreakerOpenError, RefusedError, RetryExhaustedError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

const second = { strategy: "fixed", initialDelayMs: 1_000, jitter: "none", maxDelayMs: 1_000 } as const;

/** An operation that always fails, and when it was called. */
function failing(
  runtime: FakeRuntime,
  error: unknown = new Error("down"),
): { operation: () => never; calls: number[] } {
  const calls: number[] = [];
  const operation = (): never => {
    calls.push(runtime.clock.now());
    throw error;
  };
  return { operation, calls };
}

describe("an abort by the caller", () => {
  test("ends a wait with its reason within one macrotask, and no attempt follows (C1.6, C0.8)", async () => {
    const runtime = fakeRuntime();
    const { operation, calls } = failing(runtime);
    const controller = new AbortController();
    let seen: unknown;
    new RetryPolicy(second, runtime)
      .execute(operation, { signal: controller.signal })
      .catch((error: unknown) => (seen = error));
    await runtime.clock.advance(500);
    controller.abort("changed my mind");
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toBe("changed my mind");
    await runtime.clock.advance(10_000);
    expect(calls).toEqual([0]);
    expect(runtime.clock.pendingTimers).toBe(0);
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  });

  test("during an attempt is not retried: the operation's own error comes out (C0.8)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const controller = new AbortController();
    const error = new Error("I was told to stop");
    const settled = new RetryPolicy(second, runtime).execute(
      ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(error))),
      { signal: controller.signal },
    );
    controller.abort();
    await expect(settled).rejects.toBe(error);
    expect(log).toEqual([]);
  });

  test("in the very instant in which the wait ends starts no attempt either (C1.6)", async () => {
    const runtime = fakeRuntime();
    const { operation, calls } = failing(runtime);
    const controller = new AbortController();
    const settled = new RetryPolicy(second, runtime).execute(operation, { signal: controller.signal });
    settled.catch(() => {});
    await runtime.clock.advance(0);
    // The timer of the wait has fired when this one does, but nobody has looked at it yet.
    const sleep = runtime.clock.sleep.bind(runtime.clock);
    runtime.clock.sleep = async (...args) => {
      await sleep(...args);
      controller.abort("now");
    };
    await runtime.clock.advance(1_000);
    expect(calls).toEqual([0, 1_000]);
    await runtime.clock.advance(1_000);
    await expect(settled).rejects.toBe("now");
    expect(calls).toEqual([0, 1_000]);
  });

  test("a wait that ends by itself leaves no listener on the caller's signal", async () => {
    const runtime = fakeRuntime();
    const { signal } = new AbortController();
    const settled = new RetryPolicy(second, runtime).executeOutcome(failing(runtime).operation, { signal });
    await runtime.clock.advance(5_000);
    await settled;
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });
});

describe("a deadline", () => {
  test("no wait is started that could not end before it (C3.1)", async () => {
    const runtime = fakeRuntime();
    const { operation, calls } = failing(runtime);
    const settled = new RetryPolicy({ ...second, maxAttempts: 9 }, runtime)
      .execute(operation, { deadlineMs: 2_000 })
      .catch((error: unknown) => error);
    await runtime.clock.advance(1_000);
    const error = await settled;
    expect(error).toBeInstanceOf(RetryExhaustedError);
    expect(error).toMatchObject({ attempts: 2 });
    expect((error as Error).message).toContain("a wait of 1000 ms would pass the deadline");
    expect(calls).toEqual([0, 1_000]);
  });

  test("is that of the total timeout outside, handed inward (C3.1)", async () => {
    const runtime = fakeRuntime();
    const { operation, calls } = failing(runtime);
    const total = new Timeout({ totalTimeoutMs: 1_500 }, runtime);
    const settled = pipeline(total, new RetryPolicy(second, runtime)).executeOutcome(operation);
    await runtime.clock.advance(1_000);
    // Known at the second failure, half a second before the time is up.
    expect(await settled).toMatchObject({ ok: false, error: { name: "RetryExhaustedError", attempts: 2 } });
    expect(calls).toEqual([0, 1_000]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test.each([200, 500])(
    "that passes during a wait which took %d ms longer starts no attempt (C3.1)",
    async (lateMs) => {
      const runtime = fakeRuntime();
      const { operation, calls } = failing(runtime);
      const settled = new RetryPolicy(second, runtime).execute(operation, { deadlineMs: 1_200 });
      settled.catch(() => {});
      await runtime.clock.advance(0);
      // A process that was stopped, or whose event loop was busy.
      const { now } = runtime.clock;
      runtime.clock.now = () => now.call(runtime.clock) + lateMs;
      await runtime.clock.advance(1_000);
      await expect(settled).rejects.toThrow("the deadline passed during the wait");
      expect(calls).toEqual([0]);
    },
  );

  test("ends a wait that is on its way when a total timeout passes, whoever set the wait (C3.1)", async () => {
    const runtime = fakeRuntime();
    const { operation, calls } = failing(runtime);
    const settled = pipeline(new Timeout({ totalTimeoutMs: 50 }, runtime)).executeOutcome((call) =>
      // This retry was not told of the call's deadline, only of its signal.
      new RetryPolicy(second, runtime).execute(operation, { signal: call.signal }),
    );
    await runtime.clock.advance(50);
    expect(await settled).toMatchObject({ ok: false, error: { name: "TimeoutError", timeoutMs: 50 } });
    await runtime.clock.advance(5_000);
    expect(calls).toEqual([0]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });
});

describe("what the server asks for", () => {
  /** The waits of a policy that would wait one second at most, for an error of these properties. */
  async function wait(properties: object, deadlineMs?: number): Promise<number[]> {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const { operation } = failing(runtime, Object.assign(new Error("429"), properties));
    const retry = new RetryPolicy({ ...second, maxAttempts: 2 }, runtime);
    const settled = retry.executeOutcome(operation, { deadlineMs });
    await runtime.clock.advance(60_000);
    await settled;
    return log.flatMap((event) => (event.type === "retry.scheduled" ? [event.delayMs] : []));
  }

  test("lengthens a wait, also beyond maxDelayMs, and never shortens it (C1.5)", async () => {
    expect(await wait({ headers: { "retry-after": "7" } })).toEqual([7_000]);
    expect(await wait({ headers: { "retry-after-ms": "20" } })).toEqual([1_000]);
    expect(await wait({ retryAfterMs: 1_500 })).toEqual([1_500]);
  });

  test("is not waited for where it would pass the deadline (C1.5, C3.1)", async () => {
    expect(await wait({ headers: { "retry-after": "7" } }, 7_001)).toEqual([7_000]);
    expect(await wait({ headers: { "retry-after": "7" } }, 7_000)).toEqual([]);
  });
});

describe("a refusal", () => {
  /** An operation that is refused so many times and then called. */
  async function refusedThen(times: number, refusal: unknown, deadlineMs?: number): Promise<unknown[]> {
    const runtime = fakeRuntime();
    const log: unknown[] = [];
    const retry = new RetryPolicy({ ...second, maxAttempts: 3 }, runtime);
    const settled = retry.execute(
      () => {
        if (times-- > 0) throw refusal;
        log.push(`called at ${runtime.clock.now()}`);
        throw new Error("down");
      },
      { deadlineMs, onRetry: ({ refused, delayMs }) => log.push({ refused, delayMs }) },
    );
    settled.catch((error: unknown) => log.push(error));
    await runtime.clock.advance(60_000);
    return log;
  }

  test("that says when is repeated then, and is no attempt (C0.8, C0.2)", async () => {
    const log = await refusedThen(1, new CircuitBreakerOpenError("crm", 5, 4_000));
    expect(log).toMatchObject([
      { refused: true, delayMs: 4_000 },
      "called at 4000",
      { refused: false, delayMs: 1_000 },
      "called at 5000",
      { name: "RetryExhaustedError", attempts: 2 },
    ]);
  });

  test("that does not say when is not repeated (C0.8)", async () => {
    for (const refusal of [new CircuitBreakerOpenError("crm", 5, undefined), new RefusedError("BULKHEAD_FULL", "full")])
      expect(await refusedThen(1, refusal)).toEqual([refusal]);
  });

  test("that would be repeated after the deadline comes out as it is (C0.8)", async () => {
    const refusal = new CircuitBreakerOpenError("crm", 5, 4_000);
    expect(await refusedThen(1, refusal, 4_000)).toEqual([refusal]);
    expect((await refusedThen(1, refusal, 4_001))[0]).toMatchObject({ delayMs: 4_000 });
  });

  test("is not repeated for ever", async () => {
    const refusal = new CircuitBreakerOpenError("crm", 5, 10);
    const log = await refusedThen(Infinity, refusal);
    expect(log).toMatchObject([
      { refused: true },
      { refused: true },
      { name: "RetryExhaustedError", attempts: 0, cause: refusal },
    ]);
  });
});

test("a jump of the wall clock moves no wait (C0.4)", async () => {
  const runtime = fakeRuntime();
  const { operation, calls } = failing(runtime);
  new RetryPolicy(second, runtime).execute(operation).catch(() => {});
  await runtime.clock.advance(500);
  runtime.clock.jumpWall(-3_600_000);
  await runtime.clock.advance(500);
  runtime.clock.jumpWall(365 * 86_400_000);
  await runtime.clock.advance(1_000);
  expect(calls).toEqual([0, 1_000, 2_000]);
});

test("a backoff of thirty days is one wait of thirty days (C0.4)", async () => {
  const runtime = fakeRuntime();
  const { operation, calls } = failing(runtime);
  const days30 = 30 * 86_400_000;
  const retry = new RetryPolicy({ ...second, initialDelayMs: days30, maxDelayMs: days30, maxAttempts: 2 }, runtime);
  retry.execute(operation).catch(() => {});
  await runtime.clock.advance(days30);
  expect(calls).toEqual([0, days30]);
});
