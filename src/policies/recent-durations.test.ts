import fc from "fast-check";
import { expect, test } from "vitest";
import { RecentDurations, REMEMBERED } from "./recent-durations.ts";

test("the percentiles are those of the last durations, sorted, whatever came before (C3.6)", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(5), fc.double({ min: 0, max: 1e9, noNaN: true })), {
        minLength: 1,
        maxLength: 400,
        size: "max",
      }),
      fc.constantFrom(1, 50, 90, 95, 99),
      (durations, percent) => {
        const recent = new RecentDurations();
        for (const duration of durations) recent.add(duration);
        const last = durations.slice(-REMEMBERED).sort((a, b) => a - b);
        expect(recent.count).toBe(last.length);
        const found = recent.percentile(percent);
        const within = last.filter((duration) => duration <= found).length;
        const below = last.filter((duration) => duration < found).length;
        expect(within * 100).toBeGreaterThanOrEqual(percent * last.length);
        expect(below * 100).toBeLessThan(percent * last.length);
      },
    ),
  );
});
