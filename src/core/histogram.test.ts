import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Histogram } from "./histogram.ts";

describe("a histogram", () => {
  test("has nothing to say before it has seen anything", () => {
    const { count, mean, max } = new Histogram();
    expect([count, mean, max, new Histogram().quantile(0.95)]).toEqual([0, 0, 0, 0]);
  });

  test("knows count, mean and maximum exactly, and a quantile to a tenth (C3.3)", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant(0), fc.double({ min: 0.002, max: 1e9, noNaN: true })), { minLength: 1 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (values, share) => {
          const histogram = new Histogram();
          for (const value of values) histogram.record(value);
          const sorted = [...values].sort((a, b) => a - b);
          const exact = sorted[Math.max(0, Math.ceil(share * values.length) - 1)]!;
          expect(histogram.count).toBe(values.length);
          expect(histogram.max).toBe(sorted.at(-1));
          expect(histogram.mean).toBeCloseTo(values.reduce((sum, value) => sum + value, 0) / values.length, 3);
          const quantile = histogram.quantile(share);
          expect(quantile).toBeGreaterThanOrEqual(exact * (1 - 1e-9));
          expect(quantile).toBeLessThanOrEqual(exact * 1.1);
        },
      ),
    );
  });

  test("a quantile that ends exactly with a bucket does not reach into the next (C3.3)", () => {
    const histogram = new Histogram();
    for (const value of [1, 1000]) histogram.record(value);
    expect(histogram.quantile(0.5)).toBeLessThan(1.1);
    expect(histogram.quantile(0.51)).toBe(1000);
  });

  test("where just that share is zero, the quantile is zero (C3.3)", () => {
    const histogram = new Histogram();
    for (const value of [0, 1000]) histogram.record(value);
    expect(histogram.quantile(0.5)).toBe(0);
    expect(histogram.quantile(0.51)).toBe(1000);
  });

  test("durations of weeks are told apart as well as short ones (C3.3)", () => {
    const histogram = new Histogram();
    for (const days of [7, 14, 28, 49]) histogram.record(days * 86_400_000);
    for (const [share, days] of [
      [0.25, 7],
      [0.5, 14],
      [0.75, 28],
    ] as const) {
      expect(histogram.quantile(share)).toBeGreaterThanOrEqual(days * 86_400_000);
      expect(histogram.quantile(share)).toBeLessThan(days * 86_400_000 * 1.1);
    }
  });

  test("of numbers beyond the last bucket it knows no more than the largest, and says that (C3.3)", () => {
    const histogram = new Histogram();
    for (const value of [5, 2 ** 40, 2 ** 50]) histogram.record(value);
    expect(histogram.quantile(0.3)).toBeLessThan(5.5);
    expect(histogram.quantile(0.5)).toBe(2 ** 50);
    expect(histogram.quantile(1)).toBe(2 ** 50);
  });

  test.each([1e-300, Number.MIN_VALUE, 1e300, Number.MAX_VALUE])("takes %d into its outermost buckets", (value) => {
    const histogram = new Histogram();
    histogram.record(value);
    expect(histogram.max).toBe(value);
    expect(histogram.quantile(0.5)).toBeLessThanOrEqual(value);
    expect(histogram.quantile(0.5)).toBeGreaterThan(0);
  });
});
