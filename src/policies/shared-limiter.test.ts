import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SharedChange } from "../core/shared-state.ts";
import { SLACK_MS } from "./rate-allowance.ts";
import { metersFor, type RateLimits } from "./rate-limits.ts";
import { type Amounts, charging, granting, learning, type LimiterRecord } from "./shared-limiter.ts";

/** A record that lies somewhere as JSON, on a clock that the test sets. */
class Place {
  now = 1_000_000;
  text: string | undefined;
  until = Infinity;

  make<R>(change: (last: LimiterRecord | undefined, now: number) => SharedChange<LimiterRecord, R>): R {
    const read = (): LimiterRecord | undefined =>
      this.text === undefined || this.until <= this.now ? undefined : (JSON.parse(this.text) as LimiterRecord);
    const last = read();
    const { next, keepMs, result } = change(last, this.now);
    // Pure: what it was given is as it was, and a second run gives the same.
    expect(last).toEqual(read());
    expect(change(last, this.now)).toEqual({ next, keepMs, result });
    this.text = JSON.stringify(next);
    this.until = this.now + keepMs;
    return result;
  }
}

const of = (requests: number, tokens = 0): Amounts => ({ requests, tokens });

const DUAL: RateLimits = {
  requests: { limit: 2, intervalMs: 1_000 },
  tokens: { limit: 10, intervalMs: 1_000, algorithm: "sliding-window" },
};

describe("the record of a shared limiter", () => {
  test("takes from all limits or from none, in order, and says how long the first waits that it does not grant (C3.4)", () => {
    const place = new Place();
    const limits = metersFor(DUAL);
    expect(place.make(granting(limits, [of(1, 8), of(1, 3), of(1, 1)]))).toMatchObject({ granted: 1, waitMs: 1_000 });
    expect(place.make(granting(limits, [of(1, 2)]))).toMatchObject({ granted: 1, waitMs: 0 });
    expect(place.make(granting(limits, [of(1, 0)]))).toMatchObject({ granted: 0, waitMs: 500 });
    place.now += 500;
    expect(place.make(granting(limits, [of(1, 0), of(0, 0)]))).toMatchObject({ granted: 2 });
  });

  test("grants ahead of time where it is told to, and owes what was not there (C2.10)", () => {
    const place = new Place();
    const limits = metersFor({ requests: { limit: 1, intervalMs: 1_000 } });
    place.make(granting(limits, [of(1)]));
    expect(place.make(granting(limits, [of(1)], 999))).toMatchObject({ granted: 0, waitMs: 1_000 });
    expect(place.make(granting(limits, [of(1)], 1_000))).toMatchObject({ granted: 1, waitMs: 1_000 });
    expect(place.make(granting(limits, [of(1)]))).toMatchObject({ granted: 0, waitMs: 2_000 });
  });

  test("is gone once everything is there again, and not before (C3.4)", () => {
    const place = new Place();
    const limits = metersFor(DUAL);
    place.make(granting(limits, [of(1, 0)]));
    expect(place.until - place.now).toBe(500);
    place.now += 200;
    place.make(granting(limits, [of(0, 3)]));
    expect(place.until - place.now).toBe(1_000);
    place.make(charging(limits, of(0, -3), place.now));
    place.now += 300;
    place.make(granting(limits, []));
    place.now += 700;
    place.make(granting(limits, []));
    expect(place.text).toBeUndefined();
  });

  test("what was taken is given back, and what is charged may be owed (C3.4)", () => {
    const place = new Place();
    const limits = metersFor(DUAL);
    const { at } = place.make(granting(limits, [of(2, 10)]));
    place.now += 100;
    place.make(charging(limits, of(-1, -4), at));
    expect(place.make(granting(limits, [of(1, 4)]))).toMatchObject({ granted: 1 });
    place.make(charging(limits, { tokens: 5 }, at));
    expect(place.make(granting(limits, [of(0, 1)]))).toMatchObject({ granted: 0, waitMs: 900 });
  });

  test("what a server says is left lowers it and never raises it, and the longest pause counts (C3.4)", () => {
    const place = new Place();
    const limits = metersFor(DUAL);
    place.make(learning(limits, { tokens: 4 }, 700));
    place.make(learning(limits, { tokens: 9 }, 300));
    expect(place.make(granting(limits, [of(1, 4)]))).toMatchObject({ granted: 0, waitMs: 700 });
    place.now += 700;
    expect(place.make(granting(limits, [of(1, 4), of(1, 1)]))).toMatchObject({ granted: 1, waitMs: 300 });
  });

  test("holds nothing of a limit that is all there, nor of a pause that is over (C3.4)", () => {
    const place = new Place();
    const limits = metersFor(DUAL);
    expect(place.make(granting(limits, [of(1)])).record).toEqual({ requests: expect.anything() as unknown });
    place.make(granting(limits, [of(0, 1)]));
    place.make(learning(limits, {}, 700));
    place.now += 700;
    expect(place.make(granting(limits, [])).record).toEqual({ tokens: expect.anything() as unknown });
    place.now += 1_000;
    place.make(learning(limits, { requests: 2 }, undefined));
    expect(place.text).toBeUndefined();
  });

  test("other limits take over what was taken, and limits of other processes stay as they are (C3.4)", () => {
    const kinds = ["token-bucket", "sliding-window"] as const;
    for (const from of kinds)
      for (const to of kinds) {
        const place = new Place();
        const before = metersFor({ requests: { limit: 10, intervalMs: 1_000, algorithm: from }, tokens: { limit: 5 } });
        const after = metersFor({ requests: { limit: 20, intervalMs: 5_000, algorithm: to } });
        place.make(granting(before, [of(8, 5)]));
        const { tokens } = place.make(granting(after, [])).record;
        expect(place.make(granting(after, [of(13)]))).toMatchObject({ granted: 0 });
        expect(place.make(granting(after, [of(12)]))).toMatchObject({ granted: 1, record: { tokens } });
        expect(place.make(granting(before, [of(0, 1)]))).toMatchObject({ granted: 0 });
      }
  });
});

const steps = fc.array(
  fc.record({
    passMs: fc.oneof(fc.constantFrom(0, 0, 1, 10), fc.double({ min: 0, max: 90, noNaN: true })),
    requests: fc.integer({ min: 0, max: 3 }),
    tokens: fc.double({ min: 0, max: 4, noNaN: true }),
    do: fc.constantFrom("grant", "grant", "grant", "back", "charge", "learn"),
  }),
  { maxLength: 80 },
);

const algorithm = fc.constantFrom("token-bucket" as const, "sliding-window" as const);

test("a record decides as the allowances of one process do, and the passing of time only adds (C3.4)", () => {
  fc.assert(
    fc.property(algorithm, algorithm, steps, (first, second, all) => {
      const limits = {
        requests: { limit: 3, intervalMs: 100, algorithm: first },
        tokens: { limit: 5, intervalMs: 60, algorithm: second },
      };
      const meters = metersFor(limits);
      const place = new Place();
      let closedUntil = 0;
      let held = { ...of(0, 0), at: 0 };
      for (const step of all) {
        const beforeMs = place.make(granting(metersFor(limits), [of(3, 5)])).granted === 1 ? 0 : 1;
        if (beforeMs === 0) for (const { kind, allowance } of meters) allowance.take(of(3, 5)[kind], place.now);
        const roomThen = meters.map(({ allowance }) => allowance.available(place.now));
        place.now += step.passMs;
        const { now } = place;
        meters.forEach(({ allowance }, i) =>
          expect(allowance.available(now)).toBeGreaterThanOrEqual(roomThen[i]! - 1e-9),
        );
        if (step.do === "grant") {
          const waitMs = Math.max(
            0,
            closedUntil - now,
            ...meters.map((meter) => meter.waitMs(step[meter.kind], 0, now)),
          );
          const answer = place.make(granting(metersFor(limits), [step]));
          expect(answer.waitMs).toBeCloseTo(waitMs, 6);
          expect(answer.granted).toBe(waitMs <= SLACK_MS ? 1 : 0);
          if (answer.granted === 1) for (const { kind, allowance } of meters) allowance.take(step[kind], now);
          if (answer.granted === 1) held = { requests: step.requests, tokens: step.tokens, at: now };
        } else if (step.do === "back") {
          place.make(charging(metersFor(limits), of(-held.requests, -held.tokens), held.at));
          for (const { kind, allowance } of meters) allowance.giveBack(held[kind], held.at);
          held = { ...of(0, 0), at: 0 };
        } else if (step.do === "charge") {
          place.make(charging(metersFor(limits), step, now));
          for (const { kind, allowance } of meters) allowance.take(step[kind], now);
        } else {
          closedUntil = Math.max(closedUntil, now + step.tokens);
          place.make(learning(metersFor(limits), { requests: step.requests }, step.tokens));
          const { allowance } = meters[0]!;
          allowance.take(Math.max(0, allowance.available(now) - step.requests), now);
        }
      }
    }),
    { numRuns: 500 },
  );
});
