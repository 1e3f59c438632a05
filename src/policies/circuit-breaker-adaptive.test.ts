import { describe, expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";

class Traffic {
  readonly runtime: FakeRuntime = fakeRuntime();
  readonly breaker: CircuitBreaker;
  readonly #random = seededRandom(1);

  constructor(options: CircuitBreakerOptions<never> = {}) {
    this.breaker = new CircuitBreaker<never>({ adaptive: true, failureThreshold: 100, ...options }, this.runtime);
  }

  /** So many calls, of which this share fails; until it is no longer closed. Gives how many there were. */
  async calls(most: number, failureRate: number, betweenMs = 0): Promise<number> {
    for (let n = 0; n < most; n++) {
      const fails = this.#random() < failureRate;
      await this.breaker.executeOutcome(() => (fails ? Promise.reject(new Error("down")) : "fine"));
      if (betweenMs > 0) await this.runtime.clock.advance(betweenMs);
      if (this.breaker.state !== "CLOSED") return n + 1;
    }
    return most;
  }
}

test("a service that always fails one call in twenty does not open it, and a rise opens it within a hundred calls (C2.1)", async () => {
  const traffic = new Traffic();
  expect(await traffic.calls(20_000, 0.05)).toBe(20_000);
  expect(traffic.breaker.getStats().normalFailureRate).toBeCloseTo(0.05, 2);
  expect(await traffic.calls(1_000, 0.3)).toBeLessThan(100);
  expect(traffic.breaker.state).toBe("OPEN");
});

test("without it, the same rise does not open a breaker that counts a hundred failures in a row, and there is nothing learnt (C2.1)", async () => {
  const traffic = new Traffic({ adaptive: false });
  await traffic.calls(2_000, 0.001);
  expect(await traffic.calls(1_000, 0.3)).toBe(1_000);
  expect(traffic.breaker.getStats().normalFailureRate).toBeNull();
});

test("the threshold holds as before: in a row, and as the rate of a window (C2.1)", async () => {
  const row = new Traffic({ failureThreshold: 5 });
  expect(await row.calls(1_000, 1)).toBe(5);
  const window = { kind: "count", size: 20, failureRateThreshold: 0.5 } as const;
  const rate = new Traffic({ window, volumeThreshold: 20 });
  expect(await rate.calls(1_000, 1)).toBe(20);
});

test.each([{ kind: "count", size: 100, failureRateThreshold: 0.9 } as const, { kind: "time", sizeMs: 1_000 } as const])(
  "it stands beside a window of any kind, which stays the upper bound (C2.1)",
  async (window) => {
    const traffic = new Traffic({ window });
    await traffic.calls(2_000, 0.001);
    expect(await traffic.calls(1_000, 0.3)).toBeLessThan(100);
  },
);

test("with fewer calls than volumeThreshold it does not open (C2.1)", async () => {
  const traffic = new Traffic({ volumeThreshold: 2_500, failureThreshold: 5_000 });
  await traffic.calls(2_000, 0.001);
  expect(await traffic.calls(2_000, 1)).toBe(500);
});

describe("what is normal", () => {
  /** Opens it by a rise, and closes it by probes. */
  async function recovered(): Promise<Traffic> {
    const traffic = new Traffic({ recoveryTimeoutMs: 1_000, successThreshold: 1 });
    await traffic.calls(2_000, 0.001);
    expect(await traffic.calls(100, 1)).toBe(6);
    await traffic.runtime.clock.advance(1_000);
    await traffic.breaker.execute(() => "a probe");
    expect(traffic.breaker.state).toBe("CLOSED");
    return traffic;
  }

  test("is still known when it closes by itself, and what has opened it counts no more (C2.1, C2.2)", async () => {
    expect(await (await recovered()).calls(99, 1)).toBe(6);
  });

  test("is forgotten by reset() (C2.6)", async () => {
    const traffic = await recovered();
    traffic.breaker.reset();
    expect(traffic.breaker.getStats().normalFailureRate).toBe(0);
    expect(await traffic.calls(99, 1)).toBe(99);
  });

  test("is learnt from calls that count while it is closed, and from no others (C2.3, C2.4)", async () => {
    const traffic = new Traffic();
    await traffic.calls(100, 0);
    for (let n = 0; n < 100; n++) await traffic.breaker.executeOutcome(() => Promise.reject(new ConfigError("mine")));
    traffic.breaker.disable();
    for (let n = 0; n < 100; n++) await traffic.breaker.executeOutcome(() => Promise.reject(new Error("down")));
    expect(traffic.breaker.getStats().normalFailureRate).toBe(0);
  });

  test("fades by the monotonic clock, without a timer (C0.4)", async () => {
    const traffic = new Traffic({ adaptive: { memoryMs: 1_000 } });
    await traffic.calls(2_000, 0.001);
    traffic.runtime.clock.jumpWall(365 * 86_400_000);
    expect(await traffic.calls(99, 1)).toBe(6);
    traffic.breaker.reset();
    await traffic.calls(2_000, 0.001);
    expect(traffic.runtime.clock.pendingTimers).toBe(0);
    await traffic.runtime.clock.advance(60_000);
    await traffic.calls(1, 0);
    expect(await traffic.calls(99, 1)).toBe(99);
  });
});

test("it is shown with its options, and those that make no sense are refused (C0.3, C3.12)", () => {
  const { options } = new CircuitBreaker({ adaptive: { badRate: 0.4 } }).describe();
  expect(options.adaptive).toEqual({ badRate: 0.4, callsPerFalseOpening: 1_000_000, memoryMs: 3_600_000 });
  expect(new CircuitBreaker({}).describe().options.adaptive).toBeUndefined();
  expect(() => new CircuitBreaker({ adaptive: "yes" as never })).toThrow("must be true or false, or an object");
  const sharedState = new MemorySharedState();
  expect(() => new CircuitBreaker({ adaptive: true, sharedState })).toThrow("exclude each other");
  expect(new CircuitBreaker({ adaptive: false, sharedState }).state).toBe("CLOSED");
});
