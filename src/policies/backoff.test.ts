import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { seededRandom } from "../core/random.ts";
import { backoffDelay, type BackoffOptions, type BackoffStrategy } from "./backoff.ts";
import { RetryPolicy } from "./retry.ts";

/** The waits after the first attempts, in seconds, without jitter. */
function waits(count: number, options: BackoffOptions): number[] {
  const retry = new RetryPolicy({ jitter: "none", ...options });
  return Array.from({ length: count }, (_, i) => retry.delayFor(i + 1) / 1_000);
}

describe("the waits of each strategy", () => {
  test("are those of the contract (C1.1)", () => {
    expect(waits(3, { strategy: "immediate" })).toEqual([0, 0, 0]);
    expect(waits(3, { strategy: "fixed", initialDelayMs: 700 })).toEqual([0.7, 0.7, 0.7]);
    expect(waits(4, { strategy: "linear", initialDelayMs: 2_000 })).toEqual([2, 4, 6, 8]);
    expect(waits(4, { strategy: "linear", backoffMultiplier: 2 })).toEqual([2, 4, 6, 8]);
    expect(waits(5, { strategy: "exponential" })).toEqual([1, 2, 4, 8, 16]);
    expect(waits(4, { strategy: "exponential", backoffMultiplier: 3, initialDelayMs: 100 })).toEqual([
      0.1, 0.3, 0.9, 2.7,
    ]);
    expect(waits(6, { strategy: "fibonacci", initialDelayMs: 1_500 })).toEqual([1.5, 1.5, 3, 4.5, 7.5, 12]);
    expect(waits(3, { strategy: (n) => n * 10 })).toEqual([0.01, 0.02, 0.03]);
  });

  test("are exponential from one second, doubled and capped at thirty, unless told otherwise (C1.1)", () => {
    expect(waits(7, {})).toEqual([1, 2, 4, 8, 16, 30, 30]);
    expect(new RetryPolicy().describe().options).toEqual({
      maxAttempts: 3,
      initialDelayMs: 1_000,
      maxDelayMs: 30_000,
      strategy: "exponential",
      jitter: "full",
    });
  });

  test("of a function, are given the attempt and the wait before it (C1.1)", () => {
    const retry = new RetryPolicy({ jitter: "none", strategy: (n, previousMs) => 100 * n + previousMs });
    expect(retry.delayFor(2, 50)).toBe(250);
  });

  test("that are decorrelated lie between the base and three times the wait before (C1.1)", () => {
    const options: BackoffOptions = { strategy: "decorrelated", initialDelayMs: 100, maxDelayMs: 100_000 };
    const random = seededRandom(3);
    let grew = false;
    for (let series = 0; series < 50; series++) {
      let previousMs = 0;
      for (let n = 1; n <= 8; n++) {
        const delayMs = backoffDelay(options, n, previousMs, random);
        expect(delayMs).toBeGreaterThanOrEqual(100);
        expect(delayMs).toBeLessThanOrEqual(3 * (n === 1 ? 100 : previousMs));
        grew ||= delayMs > 1_000;
        previousMs = delayMs;
      }
    }
    expect(grew).toBe(true);
    // Also the first, so that clients which failed together part at once.
    expect([0, 0.5].map((x) => backoffDelay(options, 1, 0, () => x))).toEqual([100, 200]);
  });

  test("is exponential in what gives no strategy (C1.1)", () => {
    expect(backoffDelay({ jitter: "none" }, 3, 0, () => 0)).toBe(4_000);
  });

  test("of a Fibonacci series takes no time to find, however late it is", () => {
    const started = performance.now();
    for (let n = 0; n < 10; n++) backoffDelay({ strategy: "fibonacci" }, 1e9, 0, () => 0.5);
    expect(performance.now() - started).toBeLessThan(300);
  });

  test("are those of the strategies and jitters that a policy knows, and of no others (C0.3)", () => {
    for (const strategy of ["immediate", "fixed", "linear", "exponential", "fibonacci", "decorrelated"] as const)
      for (const jitter of ["full", "equal", "none"] as const)
        expect(new RetryPolicy({ strategy, jitter, maxDelayMs: 9 }).delayFor(2)).toBeLessThanOrEqual(9);
    expect(() => new RetryPolicy({ strategy: "quadratic" as "linear" })).toThrow(
      /retry\.strategy must be .*"fibonacci"/,
    );
    expect(() => new RetryPolicy({ jitter: "half" as "full" })).toThrow(/retry\.jitter must be .*"equal"/);
  });

  test("with a base of nothing are nothing, also where the factor has overflowed (C1.1)", () => {
    for (const strategy of ["exponential", "fibonacci", "linear", "decorrelated"] as const)
      for (const n of [1, 5, 2_000, 1e6])
        expect(backoffDelay({ strategy, initialDelayMs: 0 }, n, 0, () => 0.5)).toBe(0);
  });
});

describe("cap, then jitter, then clamp", () => {
  const fixed: BackoffOptions = { strategy: "fixed", initialDelayMs: 10_000 };
  /** The least, the middle and the greatest wait. */
  const spread = (options: BackoffOptions): number[] =>
    [0, 0.5, 1 - Number.EPSILON].map((x) => Math.round(backoffDelay({ ...fixed, ...options }, 1, 0, () => x)));

  test("each jitter spreads a wait as it says, full by default (C1.2)", () => {
    expect(spread({})).toEqual([0, 5_000, 10_000]);
    expect(spread({ jitter: "full" })).toEqual([0, 5_000, 10_000]);
    expect(spread({ jitter: "equal" })).toEqual([5_000, 7_500, 10_000]);
    expect(spread({ jitter: "none" })).toEqual([10_000, 10_000, 10_000]);
    expect(spread({ jitterFactor: 0.1 })).toEqual([9_000, 10_000, 11_000]);
  });

  test("the cap comes before the jitter, so that capped waits are spread too (C1.2)", () => {
    expect(spread({ maxDelayMs: 4_000 })).toEqual([0, 2_000, 4_000]);
    expect(spread({ maxDelayMs: 4_000, jitter: "equal" })).toEqual([2_000, 3_000, 4_000]);
  });

  test("the clamp comes after the jitter, so that the cap holds with jitter included (C1.2)", () => {
    expect(spread({ maxDelayMs: 10_000, jitterFactor: 0.5 })).toEqual([5_000, 10_000, 10_000]);
  });

  test("of a thousand clients with full jitter, few come back within the same 50 ms (C1.2)", () => {
    const busiest = (options: BackoffOptions): number => {
      const random = seededRandom(11);
      const buckets = new Map<number, number>();
      for (let client = 0; client < 1_000; client++) {
        const bucket = Math.floor(backoffDelay({ ...options, initialDelayMs: 1_000 }, 3, 0, random) / 50);
        buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
      }
      return Math.max(...buckets.values());
    };
    expect(busiest({})).toBeLessThan(30);
    expect(busiest({ jitterFactor: 0.1 })).toBeGreaterThan(55);
    expect(busiest({ jitter: "none" })).toBe(1_000);
  });
});

describe("whatever the options", () => {
  const strategies: BackoffStrategy[] = ["immediate", "fixed", "linear", "exponential", "fibonacci", "decorrelated"];
  const odd = (value: unknown): BackoffStrategy => (() => value) as BackoffStrategy;
  const options = fc.record(
    {
      strategy: fc.constantFrom(
        ...strategies,
        ...[NaN, -5, Infinity, -Infinity, undefined, "text", {}].map(odd),
        (n: number) => 2 ** n - n ** 3,
      ),
      initialDelayMs: fc.oneof(fc.constantFrom(0, 2 ** 53 - 1), fc.double({ min: 0, max: 1e9, noNaN: true })),
      maxDelayMs: fc.oneof(fc.constantFrom(0, 2 ** 53 - 1), fc.double({ min: 0, max: 1e9, noNaN: true })),
      backoffMultiplier: fc.oneof(fc.constantFrom(0, 1, 1e6), fc.double({ min: 0, max: 1e6, noNaN: true })),
      jitter: fc.constantFrom("full" as const, "equal" as const, "none" as const),
      jitterFactor: fc.double({ min: 0, max: 1, noNaN: true }),
    },
    { requiredKeys: [] },
  );
  const attempt = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.constantFrom(1_024, 1_477, 1_478, 1e6, 1e9));

  test("a wait is a number from 0 to maxDelayMs, for any attempt up to the thousand-millionth (C1.2)", () => {
    fc.assert(
      fc.property(
        options,
        attempt,
        fc.double({ min: 0, max: 2 ** 53, noNaN: true }),
        fc.integer(),
        (given, n, previousMs, seed) => {
          const delayMs = backoffDelay(given, n, previousMs, seededRandom(seed));
          expect(delayMs).toBeGreaterThanOrEqual(0);
          expect(delayMs).toBeLessThanOrEqual(given.maxDelayMs ?? 30_000);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
