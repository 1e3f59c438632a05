import { describe, expect, test } from "vitest";
import { CircuitBreakerOpenError, FallbackFailedError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Timeout } from "./timeout.ts";

const down = new Error("down");

function make(options: CircuitBreakerOptions<never> = {}): { breaker: CircuitBreaker; runtime: FakeRuntime } {
  const runtime = fakeRuntime();
  return { breaker: new CircuitBreaker(options, runtime), runtime };
}

async function fail(breaker: CircuitBreaker, times = 1, error: unknown = down): Promise<void> {
  for (let i = 0; i < times; i++) await breaker.executeOutcome(() => Promise.reject(error));
}

describe("what can be seen from outside", () => {
  test("every transition is an event and calls onStateChange, those by hand included (C2.6, C3.11)", async () => {
    const changes: unknown[] = [];
    const { breaker, runtime } = make({
      name: "crm",
      failureThreshold: 1,
      successThreshold: 1,
      recoveryTimeoutMs: 100,
      onStateChange: (change) => changes.push(change),
    });
    const log = record(runtime.events);
    await fail(breaker);
    await runtime.clock.advance(100);
    await breaker.execute(() => 1);
    breaker.isolate();
    breaker.isolate();
    breaker.disable();
    breaker.reset();
    breaker.reset();
    const path = [
      ["CLOSED", "OPEN"],
      ["OPEN", "HALF_OPEN"],
      ["HALF_OPEN", "CLOSED"],
      ["CLOSED", "ISOLATED"],
      ["ISOLATED", "DISABLED"],
      ["DISABLED", "CLOSED"],
    ];
    expect(changes).toEqual(path.map(([from, to]) => ({ name: "crm", from, to })));
    expect(log).toMatchObject(path.map(([from, to]) => ({ type: "breaker.changed", policy: "crm", from, to })));
  });

  test("every refusal is an event with the policy's name and the wait (C3.11)", async () => {
    const { breaker, runtime } = make({ name: "crm", failureThreshold: 1, recoveryTimeoutMs: 100 });
    await fail(breaker);
    const log = record(runtime.events);
    await breaker.executeOutcome(() => 1);
    await breaker.execute(() => 1).catch(() => {});
    expect(log).toMatchObject([1, 2].map(() => ({ type: "breaker.rejected", policy: "crm", retryAfterMs: 100 })));
  });

  test("a hook that throws changes nothing (C0.6)", async () => {
    const onStateChange = (): never => {
      throw new Error("bad hook");
    };
    const { breaker, runtime } = make({ failureThreshold: 1, onStateChange });
    const log = record(runtime.events);
    await expect(breaker.execute(() => Promise.reject(down))).rejects.toBe(down);
    expect(log).toMatchObject([{ type: "breaker.changed" }, { type: "listener.failed", listening: "onStateChange" }]);
  });

  test("getState() is a snapshot with instants of the wall clock (C2.6)", async () => {
    const runtime = fakeRuntime({ startAt: 1_000_000 });
    const breaker = new CircuitBreaker({ name: "crm", failureThreshold: 2, recoveryTimeoutMs: 5_000 }, runtime);
    const closed = {
      name: "crm",
      state: "closed",
      failureCount: 0,
      successCount: 0,
      failureThreshold: 2,
      successThreshold: 2,
      recoveryTimeoutMs: 5_000,
      openedAt: null,
      nextAttemptAt: null,
      lastStateChange: 1_000_000,
    };
    expect(breaker.getState()).toEqual(closed);
    await runtime.clock.advance(100);
    await fail(breaker);
    expect(breaker.getState()).toEqual({ ...closed, failureCount: 1 });
    await fail(breaker);
    const open = { ...closed, state: "open", failureCount: 2, openedAt: 1_000_100, lastStateChange: 1_000_100 };
    expect(breaker.getState()).toEqual({ ...open, nextAttemptAt: 1_005_100 });
    await runtime.clock.advance(5_000);
    await breaker.execute(() => 1);
    expect(breaker.getState()).toEqual({ ...open, state: "half_open", successCount: 1, lastStateChange: 1_005_100 });
    breaker.isolate();
    expect(breaker.getState()).toEqual({ ...closed, state: "isolated", lastStateChange: 1_005_100 });
  });

  test("getState() has whole milliseconds, whatever fraction the monotonic clock has (C2.6)", async () => {
    const { breaker, runtime } = make({ failureThreshold: 1, recoveryTimeoutMs: 100 });
    const instant = runtime.clock.now();
    runtime.clock.now = () => instant + 0.3;
    await fail(breaker);
    runtime.clock.now = () => instant + 0.7;
    const { openedAt, nextAttemptAt } = breaker.getState();
    expect([openedAt, nextAttemptAt].map(Number.isInteger)).toEqual([true, true]);
    expect(nextAttemptAt! - openedAt!).toBe(100);
  });

  test("getStats() adds the totals, and the rates of all calls where there is no window (C2.6)", async () => {
    const { breaker } = make({ failureThreshold: 3 });
    expect(breaker.getStats()).toMatchObject({ totalCalls: 0, failureRate: 0, slowRate: 0 });
    await breaker.execute(() => 1);
    await fail(breaker, 3);
    await breaker.executeOutcome(() => 1);
    expect(breaker.getStats()).toMatchObject({
      ...breaker.getState(),
      totalCalls: 4,
      totalSuccesses: 1,
      totalFailures: 3,
      rejected: 1,
      failureRate: 0.75,
      slowRate: 0,
    });
  });
});

test("describe() says what it is, and whether it has a fallback and shares its state (C3.12)", () => {
  const { breaker } = make({ failureThreshold: 3 });
  expect(breaker.describe()).toMatchObject({
    kind: "circuitBreaker",
    name: "circuitBreaker",
    options: { failureThreshold: 3, state: "closed", hasFallback: false, hasSharedState: false },
  });
  const served = new CircuitBreaker({ name: "crm", fallback: () => 1 }, fakeRuntime());
  expect(served.describe()).toMatchObject({ name: "crm", options: { hasFallback: true } });
});

test("a caller who has gone before gets the reason; nothing is called, and nothing counted (C0.8)", async () => {
  const { breaker } = make();
  const signal = AbortSignal.abort(down);
  let calls = 0;
  const operation = (): number => ++calls;
  await expect(breaker.execute(operation, { signal })).rejects.toBe(down);
  expect(await breaker.executeOutcome(operation, { signal })).toEqual({ ok: false, error: down, refused: false });
  breaker.isolate();
  expect(await breaker.executeOutcome(operation, { signal })).toEqual({ ok: false, error: down, refused: false });
  expect([calls, breaker.getStats().totalCalls, breaker.getStats().rejected]).toEqual([0, 0, 0]);
});

test("it stands alone under its name, unless it says that it is shared (C2.7)", () => {
  const { breaker, runtime } = make({ name: "crm", shared: true });
  expect(new CircuitBreaker({ name: "crm", shared: true }, runtime)).toBe(breaker);
  expect(new CircuitBreaker({ name: "crm" }, runtime)).not.toBe(breaker);
});

describe("a fallback of its own", () => {
  test("serves also right outside a timeout, which takes no such breaker into its frame (C3.5, C3.12)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1, fallback: "stale" }, runtime);
    const guarded = pipeline(breaker, new Timeout({ attemptTimeoutMs: 50 }, runtime));
    await expect(guarded.execute(() => Promise.reject(down))).rejects.toBe(down);
    expect(await guarded.execute(() => "fresh")).toBe("stale");
    expect(await guarded.executeOutcome(() => "fresh")).toMatchObject({ ok: true, value: "stale", fallbackUsed: true });
  });

  test("serves while the circuit is open, and not after a failure (C3.5)", async () => {
    const breaker = new CircuitBreaker(
      { name: "crm", failureThreshold: 1, fallback: ({ name, error, attempts }) => [name, error, attempts] },
      fakeRuntime(),
    );
    await expect(breaker.execute(() => Promise.reject(down))).rejects.toBe(down);
    expect(await breaker.execute(() => 1)).toEqual(["crm", new CircuitBreakerOpenError("crm", 1, 60_000), 0]);
    expect(await breaker.executeOutcome(() => 1)).toMatchObject({
      ok: true,
      fallbackUsed: true,
      error: { code: "CIRCUIT_OPEN" },
    });
    expect(await pipeline(breaker).execute(() => 1)).toMatchObject(["crm", {}, 0]);
  });

  test("with fallbackOn 'any', serves after any failure too, which counts all the same (C3.5)", async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 2, fallback: "stale", fallbackOn: "any" }, fakeRuntime());
    expect(await breaker.execute(() => Promise.reject(down))).toBe("stale");
    expect(await breaker.executeOutcome(() => Promise.reject(down))).toEqual({
      ok: true,
      value: "stale",
      fallbackUsed: true,
      error: down,
    });
    expect(breaker.state).toBe("OPEN");
    expect(await breaker.execute(() => "fresh")).toBe("stale");
  });

  test("does not serve a caller who has cancelled (C0.8)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ fallback: "stale", fallbackOn: "any" }, runtime);
    for (const run of [breaker.execute.bind(breaker), breaker.executeOutcome.bind(breaker)]) {
      const controller = new AbortController();
      const settled = run(({ signal }) => runtime.clock.sleep(1_000, signal), { signal: controller.signal });
      controller.abort("stop");
      expect(await settled.catch((error: unknown) => ({ ok: false, error }))).toMatchObject({
        ok: false,
        error: "stop",
      });
    }
  });

  test("that fails is a FallbackFailedError with the primary error as cause (C3.5)", async () => {
    const fallback = (): never => {
      throw new Error("no cache");
    };
    const breaker = new CircuitBreaker({ fallback, fallbackOn: "any" }, fakeRuntime());
    const error: unknown = await breaker.execute(() => Promise.reject(down)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FallbackFailedError);
    expect(error).toMatchObject({ cause: down, errors: [new Error("no cache")] });
  });
});
