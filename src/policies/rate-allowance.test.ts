import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Allowance, SLACK_MS, SlidingWindow, TokenBucket } from "./rate-allowance.ts";

interface Taken {
  at: number;
  amount: number;
}

/** Takes what there is room for, and says what was taken when. */
function historyOf(allowance: Allowance, steps: readonly { after: number; amount: number }[]): Taken[] {
  const history: Taken[] = [];
  let now = 0;
  for (const { after, amount } of steps) {
    now += after;
    if (amount > allowance.capacity || allowance.waitMs(amount, now) > SLACK_MS) continue;
    allowance.take(amount, now);
    history.push({ at: now, amount });
  }
  return history;
}

/** The most that was taken in any stretch of `lengthMs`, its end not included. */
function mostIn(history: readonly Taken[], lengthMs: number): number {
  const sums = history.map(({ at: from }) =>
    history
      .filter(({ at }) => at >= from && at < from + lengthMs - 2 * SLACK_MS)
      .reduce((sum, { amount }) => sum + amount, 0),
  );
  return Math.max(0, ...sums);
}

const limits = fc.record({
  limit: fc.integer({ min: 1, max: 12 }),
  intervalMs: fc.constantFrom(1, 30, 100, 1_000),
});
const steps = fc.array(
  fc.record({
    after: fc.oneof(fc.constantFrom(0, 0, 1, 10), fc.double({ min: 0, max: 120, noNaN: true })),
    amount: fc.oneof(
      fc.constant(1),
      fc.integer({ min: 0, max: 6 }),
      fc.integer({ min: 0, max: 12 }).map((n) => n / 4),
    ),
  }),
  { maxLength: 120 },
);

describe("a sliding window", () => {
  test("never gives more than the limit in any window, wherever it begins (C3.4)", () => {
    fc.assert(
      fc.property(limits, steps, ({ limit, intervalMs }, all) => {
        const history = historyOf(new SlidingWindow(limit, intervalMs), all);
        expect(mostIn(history, intervalMs)).toBeLessThanOrEqual(limit + 1e-6);
      }),
      { numRuns: 1_000 },
    );
  });

  test("has room again an interval after each amount was taken, to the millisecond where these are few (C3.4)", () => {
    const window = new SlidingWindow(3, 1_000);
    for (const at of [0, 200, 500]) window.take(1, at);
    expect([window.waitMs(1, 500), window.waitMs(2, 500), window.waitMs(3, 500)]).toEqual([500, 700, 1_000]);
    expect(window.available(999)).toBe(0);
    expect(window.available(1_000)).toBe(1);
    expect(window.available(1_500)).toBe(3);
  });

  test("what is taken within a 60th of the interval leaves when the last of it must (C3.4)", () => {
    const window = new SlidingWindow(2, 60_000);
    for (const at of [0, 999]) window.take(1, at);
    expect([window.available(60_000), window.waitMs(1, 60_000)]).toEqual([0, 999]);
    expect(window.available(60_999)).toBe(2);
    const other = new SlidingWindow(2, 60_000);
    for (const at of [0, 1_000]) other.take(1, at);
    expect(other.available(60_000)).toBe(1);
  });

  test("what rounding leaves of fractions brings no room early, and takes none from an empty window (C3.4)", () => {
    const window = new SlidingWindow(0.6, 1_000);
    for (const [amount, at] of [
      [0.1, 0],
      [0.2, 200],
      [0.3, 400],
    ] as const)
      window.take(amount, at);
    expect(window.waitMs(0.6, 1_000)).toBe(400);
    expect(window.available(1_400)).toBe(0.6);
    expect(window.waitMs(0.6, 1_400)).toBe(0);
  });

  test("under steady load gives room back a 60th of the interval late at most, and keeps no more than 64 parts (C3.4)", () => {
    const window = new SlidingWindow(6_000, 60_000);
    for (let now = 0; now < 300_000; now += 10) {
      const waitMs = window.waitMs(1, now);
      expect(waitMs).toBeLessThanOrEqual(1_000);
      if (waitMs === 0) window.take(1, now);
    }
    expect(window.available(299_990)).toBeLessThanOrEqual(200);
  });

  test("a queue that is longer than the window is served in rounds (C3.4)", () => {
    const window = new SlidingWindow(2, 100);
    expect([1, 2, 3, 4, 5].map((amount) => window.waitMs(amount, 0))).toEqual([0, 0, 100, 100, 200]);
    window.take(2, 0);
    expect([1, 2, 3, 4, 5].map((amount) => window.waitMs(amount, 40))).toEqual([60, 60, 160, 160, 260]);
  });

  test("what is given back is room at once, and once it has left the window nothing (C3.4)", () => {
    const window = new SlidingWindow(10, 1_000);
    window.take(6, 0);
    window.take(4, 300);
    window.giveBack(5, 0);
    expect(window.available(300)).toBe(5);
    window.giveBack(1, 0);
    window.take(6, 1_000);
    window.giveBack(6, 0);
    expect(window.available(1_000)).toBe(0);
  });
});

describe("what another allowance has left", () => {
  test("is the same for one like it, however often it is handed on (C3.4)", () => {
    let bucket = new TokenBucket(7, 1_000, 5);
    bucket.take(3, 0.1);
    const saved = bucket.save();
    for (let now = 0.1; now < 50; now += 0.7) {
      const next = new TokenBucket(7, 1_000, 9);
      next.load(bucket.save(), now);
      bucket = next;
    }
    expect(bucket.save()).toEqual(saved);
  });

  test("is read by the clock of the one who takes it over (C3.4)", () => {
    const aheadMs = -4_900;
    const window = new SlidingWindow(10, 1_000);
    const bucket = new TokenBucket(10, 1_000, 10);
    bucket.take(4, 5_000);
    window.load(bucket.save(), 100, aheadMs);
    expect(window.available(100)).toBe(6);
    const other = new SlidingWindow(10, 1_000);
    other.take(4, 5_000);
    window.load(other.save(), 100, aheadMs);
    window.giveBack(3, 100);
    expect([window.available(100), window.available(1_099), window.available(1_100)]).toEqual([9, 9, 10]);
  });
});

test("while more is owed than there is, even a call that costs nothing waits (C3.4)", () => {
  for (const allowance of [new TokenBucket(10, 1_000, 10), new SlidingWindow(10, 1_000)]) {
    allowance.take(20, 500);
    expect(allowance.waitMs(0, 500)).toBe(1_000);
  }
});

describe("a token bucket", () => {
  const buckets = fc.record({ burst: fc.integer({ min: 1, max: 12 }), rate: limits });

  test("never gives more than the burst and what has refilled since, in any stretch of time (C3.4)", () => {
    fc.assert(
      fc.property(buckets, steps, fc.integer({ min: 0, max: 2_000 }), ({ burst, rate }, all, lengthMs) => {
        const { limit, intervalMs } = rate;
        const history = historyOf(new TokenBucket(limit, intervalMs, burst), all);
        expect(mostIn(history, lengthMs)).toBeLessThanOrEqual(burst + (lengthMs * limit) / intervalMs + 1e-3);
      }),
      { numRuns: 1_000 },
    );
  });

  test("refills steadily up to the burst, and no further (C3.4)", () => {
    const bucket = new TokenBucket(10, 1_000, 4);
    bucket.take(4, 0);
    expect([0, 50, 100, 250, 400, 1e9].map((now) => bucket.available(now))).toEqual([0, 0.5, 1, 2.5, 4, 4]);
    expect([1, 4].map((amount) => bucket.waitMs(amount, 0))).toEqual([100, 400]);
  });

  test("a clock that goes back gives nothing, and takes nothing for good (C0.4, C3.4)", () => {
    for (const allowance of [new TokenBucket(10, 1_000, 10), new SlidingWindow(10, 1_000)]) {
      allowance.take(10, 5_000);
      expect(allowance.waitMs(1, 1_000)).toBeGreaterThan(0);
      allowance.take(1, 1_000);
      expect(allowance.available(5_000)).toBeLessThanOrEqual(0);
      expect(allowance.available(6_100)).toBe(10);
    }
  });
});

test("after the wait that was said there is room, and half of it earlier there was none (C3.4)", () => {
  fc.assert(
    fc.property(limits, steps, fc.boolean(), fc.integer({ min: 1, max: 12 }), (rate, all, sliding, amount) => {
      const { limit, intervalMs } = rate;
      fc.pre(amount <= limit);
      const allowance = sliding ? new SlidingWindow(limit, intervalMs) : new TokenBucket(limit, intervalMs, limit);
      const now = historyOf(allowance, all).at(-1)?.at ?? 0;
      const waitMs = allowance.waitMs(amount, now);
      if (waitMs > 1) expect(allowance.waitMs(amount, now + waitMs / 2)).toBeGreaterThan(SLACK_MS);
      expect(allowance.waitMs(amount, now + waitMs)).toBeLessThanOrEqual(SLACK_MS);
    }),
    { numRuns: 1_000 },
  );
});
