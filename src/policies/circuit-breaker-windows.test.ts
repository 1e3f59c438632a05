import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Timeout } from "./timeout.ts";

interface Under {
  runtime: FakeRuntime;
  breaker: CircuitBreaker;
  /** Makes calls one after another: `.` succeeds, `x` fails, `s` succeeds after 100 ms, `-` lets 100 ms pass. */
  calls(pattern: string): Promise<string>;
}

/** A breaker and a way to call it. `calls` gives the state it is in then. */
function under(options: CircuitBreakerOptions<never>): Under {
  const runtime = fakeRuntime();
  const breaker = new CircuitBreaker(options, runtime);
  return {
    runtime,
    breaker,
    async calls(pattern) {
      for (const call of pattern) {
        if (call === "-") {
          await runtime.clock.advance(100);
          continue;
        }
        const settled = breaker.executeOutcome(async () => {
          if (call === "x") throw new Error("down");
          if (call === "s") await runtime.clock.sleep(100);
        });
        if (call === "s") await runtime.clock.advance(100);
        await settled;
      }
      return breaker.state;
    },
  };
}

describe("a window of the last calls (C2.1)", () => {
  test("opens when failureThreshold of them have failed, in a row or not (C2.1)", async () => {
    const { calls } = under({ failureThreshold: 3, window: { kind: "count", size: 5 } });
    expect(await calls("x.x..")).toBe("CLOSED");
    expect(await calls(".x.x")).toBe("CLOSED");
    expect(await calls("x")).toBe("OPEN");
  });

  test("with a rate, opens when that share of them has failed and there are enough (C2.1)", async () => {
    const window = { kind: "count", size: 10, failureRateThreshold: 0.5, minimumCalls: 4 } as const;
    expect(await under({ window }).calls("xxx")).toBe("CLOSED");
    expect(await under({ window }).calls("xx..")).toBe("OPEN");
    expect(await under({ window }).calls("...xx")).toBe("CLOSED");
    expect(await under({ window }).calls("...xxx")).toBe("OPEN");
    expect(await under({ window }).calls("..........xxxx")).toBe("CLOSED");
    expect(await under({ window }).calls("..........xxxxx")).toBe("OPEN");
  });

  test("takes the breaker's volumeThreshold where minimumCalls is left out (C2.1)", async () => {
    const options = { volumeThreshold: 3, window: { kind: "count", size: 9, failureRateThreshold: 1 } } as const;
    expect(await under(options).calls("xx")).toBe("CLOSED");
    expect(await under(options).calls("xxx")).toBe("OPEN");
  });

  test("with a rate of 0, opens at the first failure and not before it", async () => {
    const { calls } = under({ window: { kind: "count", size: 9, failureRateThreshold: 0 } });
    expect(await calls("....")).toBe("CLOSED");
    expect(await calls("x")).toBe("OPEN");
  });

  test("begins anew when the circuit has closed", async () => {
    const { runtime, breaker, calls } = under({
      failureThreshold: 2,
      successThreshold: 1,
      recoveryTimeoutMs: 100,
      window: { kind: "count", size: 9 },
    });
    expect(await calls("xx")).toBe("OPEN");
    await runtime.clock.advance(100);
    expect(await calls(".x")).toBe("CLOSED");
    expect(breaker.getState().failureCount).toBe(1);
  });
});

describe("a window of time (C2.1)", () => {
  const window = { kind: "time", sizeMs: 1_000 } as const;

  test("opens when failureThreshold calls in it have failed (C2.1)", async () => {
    expect(await under({ failureThreshold: 3, window }).calls("x.-x--.x")).toBe("OPEN");
    expect(await under({ failureThreshold: 3, window }).calls("x.------x-----x")).toBe("CLOSED");
  });

  test("with a rate, opens when that share of the calls in it has failed (C2.1)", async () => {
    const rated = { window: { ...window, failureRateThreshold: 0.5, minimumCalls: 4 } };
    expect(await under(rated).calls("..-x-x")).toBe("OPEN");
    expect(await under(rated).calls("xx--------------x.")).toBe("CLOSED");
  });

  test("has forgotten everything after a pause, by the monotonic clock (C2.8, C0.4)", async () => {
    const { runtime, breaker, calls } = under({ failureThreshold: 3, window });
    await calls("xx");
    expect(breaker.getStats()).toMatchObject({ failureCount: 2, failureRate: 1 });
    runtime.clock.jumpWall(10_000);
    expect(breaker.getState().failureCount).toBe(2);
    await runtime.clock.advance(3_000);
    expect(breaker.getStats()).toMatchObject({ failureCount: 0, failureRate: 0, totalFailures: 2 });
    expect(runtime.clock.pendingTimers).toBe(0);
  });
});

describe("slow calls (C2.1)", () => {
  const window = { kind: "count", size: 10, minimumCalls: 4 } as const;

  test("open it when their share reaches slowCallRateThreshold, which is all of them unless given (C2.1)", async () => {
    expect(await under({ window, slowCallMs: 99 }).calls("sss")).toBe("CLOSED");
    expect(await under({ window, slowCallMs: 99 }).calls("ssss")).toBe("OPEN");
    expect(await under({ window, slowCallMs: 99 }).calls("sss.")).toBe("CLOSED");
    expect(await under({ window, slowCallMs: 100 }).calls("ssss")).toBe("CLOSED");
    const half = under({ window, slowCallMs: 99, slowCallRateThreshold: 0.5 });
    expect(await half.calls("s..s")).toBe("OPEN");
    expect(half.breaker.getStats().slowRate).toBe(0.5);
  });

  test("with a share of 0, open it at the first one and not before it", async () => {
    const options = { window, slowCallMs: 99, slowCallRateThreshold: 0 };
    expect(await under(options).calls(".......")).toBe("CLOSED");
    expect(await under(options).calls(".......s")).toBe("OPEN");
  });

  test("are measured right outside a timeout as well (C2.1)", async () => {
    const { breaker, runtime } = under({ window: { ...window, minimumCalls: 1 }, slowCallMs: 99 });
    const policy = pipeline(breaker, new Timeout({ attemptTimeoutMs: 5_000 }, runtime));
    await policy.execute(() => 1);
    expect(breaker.state).toBe("CLOSED");
    for (let i = 0; i < 9; i++) await policy.execute(() => 1);
    expect(breaker.getStats().slowRate).toBe(0);
    breaker.reset();
    const slow = policy.execute(() => runtime.clock.sleep(100));
    await runtime.clock.advance(100);
    await slow;
    expect(breaker.state).toBe("OPEN");
  });
});

describe("recoveryBackoff (C2.1)", () => {
  /** The open times of a breaker whose every probe fails. */
  async function openTimes(
    count: number,
    recoveryBackoff: CircuitBreakerOptions["recoveryBackoff"],
    seed = 1,
  ): Promise<number[]> {
    const runtime = fakeRuntime({ seed });
    const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 100, recoveryBackoff }, runtime);
    const times: number[] = [];
    for (let i = 0; i < count; i++) {
      await breaker.executeOutcome(() => Promise.reject(new Error("down")));
      const { openedAt, nextAttemptAt } = breaker.getState();
      times.push(Math.round(nextAttemptAt! - openedAt!));
      await runtime.clock.advance(nextAttemptAt! - openedAt!);
    }
    return times;
  }

  test("lets the open time grow with each reopening, up to its limit (C2.1)", async () => {
    expect(await openTimes(4, undefined)).toEqual([100, 100, 100, 100]);
    expect(await openTimes(4, { backoffMultiplier: 2 })).toEqual([100, 200, 400, 800]);
    expect(await openTimes(4, { backoffMultiplier: 3, maxRecoveryTimeoutMs: 500 })).toEqual([100, 300, 500, 500]);
  });

  test("spreads it by its jitter, and keeps its limit (C2.1)", async () => {
    const times = await openTimes(50, { jitterFactor: 0.5, maxRecoveryTimeoutMs: 120 });
    expect(Math.min(...times)).toBeGreaterThanOrEqual(50);
    expect(Math.min(...times)).toBeLessThan(60);
    expect(Math.max(...times)).toBe(120);
    expect(new Set(times).size).toBeGreaterThan(10);
  });

  test("begins anew when the circuit has closed, by itself or by hand (C2.1)", async () => {
    const { runtime, breaker, calls } = under({
      failureThreshold: 1,
      successThreshold: 1,
      recoveryTimeoutMs: 100,
      recoveryBackoff: { backoffMultiplier: 10 },
    });
    const openMs = (): number => breaker.getState().nextAttemptAt! - breaker.getState().openedAt!;
    await calls("x-x");
    expect(openMs()).toBe(1_000);
    await runtime.clock.advance(1_000);
    await calls(".x");
    expect(openMs()).toBe(100);
    await calls("-x");
    breaker.reset();
    await calls("x");
    expect(openMs()).toBe(100);
  });
});

describe("options that cannot be meant (C0.3)", () => {
  test.each<[string, object]>([
    ["circuitBreaker.window.kind must be one of", { window: { kind: "sliding" } }],
    ["circuitBreaker.window.kind must be one of", { window: {} }],
    ['circuitBreaker.window of kind "count" needs size', { window: { kind: "count" } }],
    ['circuitBreaker.window of kind "time" needs sizeMs', { window: { kind: "time" } }],
    ["circuitBreaker.window.size must be a whole number of at least 1, got 0", { window: { kind: "count", size: 0 } }],
    ["circuitBreaker.window.size must be at most 1000000, got 2000000", { window: { kind: "count", size: 2e6 } }],
    [
      "circuitBreaker.window.sizeMs must be a number of milliseconds above 0, got 0",
      { window: { kind: "time", sizeMs: 0 } },
    ],
    ['circuitBreaker.window has no option "size"', { window: { kind: "time", sizeMs: 5, size: 5 } }],
    ['circuitBreaker.window has no option "size"', { window: { kind: "consecutive", size: 5 } }],
    [
      "window.minimumCalls is 9, but the window holds 5 calls only",
      { window: { kind: "count", size: 5, minimumCalls: 9 } },
    ],
    [
      "volumeThreshold is 9, but the window holds 5 calls only",
      { volumeThreshold: 9, window: { kind: "count", size: 5 } },
    ],
    ["failureThreshold is 5, but the window holds 4 calls only", { window: { kind: "count", size: 4 } }],
    [
      "circuitBreaker.window.failureRateThreshold must be a number from 0 to 1, got 50",
      { window: { kind: "count", size: 5, failureRateThreshold: 50 } },
    ],
    ["circuitBreaker.slowCallMs and slowCallRateThreshold need a window", { slowCallMs: 5 }],
    [
      "circuitBreaker.slowCallRateThreshold needs slowCallMs",
      { slowCallRateThreshold: 0.5, window: { kind: "count", size: 5 } },
    ],
    ["circuitBreaker.fallbackOn needs a fallback", { fallbackOn: "any" }],
    [
      "circuitBreaker.recoveryBackoff.backoffMultiplier must be a number from 1 to 1000000, got 0.5",
      { recoveryBackoff: { backoffMultiplier: 0.5 } },
    ],
    ['circuitBreaker.recoveryBackoff has no option "factor"', { recoveryBackoff: { factor: 2 } }],
  ])("%s (C0.3)", (message, options) => {
    expect(() => new CircuitBreaker(options)).toThrow(message);
  });
});

test("100 000 breakers need at most 50 MB of heap, and no timer (C2.8)", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const runtime = fakeRuntime();
  collect();
  const before = process.memoryUsage().heapUsed;
  const breakers = Array.from(
    { length: 100_000 },
    () => new CircuitBreaker({ name: "crm", failureThreshold: 3 }, runtime),
  );
  collect();
  const used = process.memoryUsage().heapUsed - before;
  expect(breakers.length).toBe(100_000);
  expect(used).toBeLessThan(50 * 1024 * 1024);
  expect(runtime.clock.pendingTimers).toBe(0);
});

test("a slow call is measured from its beginning, however long the process has run (C2.1)", async () => {
  const runtime = fakeRuntime();
  await runtime.clock.advance(60_000);
  const window = { kind: "count", size: 4, minimumCalls: 2 } as const;
  const breaker = new CircuitBreaker({ window, slowCallMs: 100, slowCallRateThreshold: 0.5 }, runtime);
  for (let i = 0; i < 4; i++) await breaker.execute(() => "at once");
  expect(breaker.getStats()).toMatchObject({ state: "closed", slowRate: 0 });
  const slow = Array.from({ length: 2 }, () => breaker.execute(() => runtime.clock.sleep(101)));
  await runtime.clock.advance(101);
  await Promise.all(slow);
  expect(breaker.state).toBe("OPEN");
});
