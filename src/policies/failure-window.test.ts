import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CountWindow, createWindow, type FailureWindow, TimeWindow } from "./failure-window.ts";

interface Seen {
  failure: boolean;
  slow: boolean;
  at: number;
}

function totalsOf(seen: readonly Seen[]): { calls: number; failures: number; slow: number } {
  return {
    calls: seen.length,
    failures: seen.filter((call) => call.failure).length,
    slow: seen.filter((call) => call.slow).length,
  };
}

const calls = fc.array(fc.record({ failure: fc.boolean(), slow: fc.boolean(), pauseMs: fc.nat(60) }), {
  maxLength: 80,
});

test("a window of calls sums up exactly the last of them (C2.1)", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), calls, fc.nat(40), (size, all, clearAt) => {
      const window = new CountWindow(size);
      let seen: Seen[] = [];
      for (const [i, { failure, slow }] of all.entries()) {
        if (i === clearAt) {
          window.clear();
          seen = [];
        }
        window.record(failure, slow);
        seen.push({ failure, slow, at: 0 });
        expect(window.totals()).toEqual(totalsOf(seen.slice(-size)));
      }
    }),
  );
});

test("a window of time sums up the calls since the start of its oldest tenth (C2.1, C2.8)", () => {
  fc.assert(
    fc.property(fc.constantFrom(10, 100, 250), calls, (sizeMs, all) => {
      const window = new TimeWindow(sizeMs);
      const seen: Seen[] = [];
      let now = 0;
      for (const { failure, slow, pauseMs } of all) {
        now += pauseMs;
        window.record(failure, slow, now);
        seen.push({ failure, slow, at: now });
        const slice = sizeMs / 10;
        const oldest = (Math.floor(now / slice) - 9) * slice;
        expect(window.totals(now)).toEqual(totalsOf(seen.filter((call) => call.at >= oldest)));
      }
      // It forgets by time stamps, in one step, however long nobody has looked.
      expect(window.totals(now + sizeMs)).toEqual({ calls: 0, failures: 0, slow: 0 });
      expect(window.totals(now + 1e12)).toEqual({ calls: 0, failures: 0, slow: 0 });
    }),
  );
});

test("a window of time that is cleared begins anew", () => {
  const window = new TimeWindow(1_000);
  window.record(true, true, 5);
  window.clear();
  window.record(true, false, 6);
  expect(window.totals(7)).toEqual({ calls: 1, failures: 1, slow: 0 });
});

describe("what must fit into a window of calls (C0.3)", () => {
  const make = (size: number, settings = {}): unknown =>
    createWindow({
      ...{ window: { kind: "count", size }, failureThreshold: 5, volumeThreshold: 1, slowCallMs: Infinity },
      ...settings,
    });

  test("a million calls and no more", () => {
    expect(make(1_000_000)).toBeInstanceOf(CountWindow);
    expect(() => make(1_000_001)).toThrow("circuitBreaker.window.size must be at most 1000000, got 1000001.");
  });

  test("as many failures as open, unless slow calls or a rate may open it too", () => {
    expect(() => make(4)).toThrow(/failureThreshold is 5, but the window holds 4 calls only/);
    expect(make(5)).toBeInstanceOf(CountWindow);
    expect(make(4, { slowCallMs: 100 })).toBeInstanceOf(CountWindow);
    const window = { kind: "count", size: 4, failureRateThreshold: 0.5 };
    expect(make(4, { window })).toBeInstanceOf(CountWindow);
  });
});

describe("the cost of a call (C2.8)", () => {
  /** Milliseconds for so many records, after a warm-up. */
  function cost(window: FailureWindow, records: number): number {
    for (let i = 0; i < 20_000; i++) window.record(i % 2 === 0, false, i / 1_000);
    const start = performance.now();
    for (let i = 0; i < records; i++) {
      window.record(i % 2 === 0, false, 20 + i / 1_000);
      window.totals(20 + i / 1_000);
    }
    return performance.now() - start;
  }

  test("does not rise with the size of the window nor with the traffic in it (C2.8)", () => {
    // A scan of such a window, or a sort of it, would take minutes.
    expect(cost(new CountWindow(1_000_000), 200_000)).toBeLessThan(1_000);
    expect(cost(new TimeWindow(1e9), 200_000)).toBeLessThan(1_000);
  });
});
