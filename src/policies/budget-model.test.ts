import { setMaxListeners } from "node:events";
import fc from "fast-check";
import { expect, test } from "vitest";
import { pipeline } from "../core/pipeline.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { Budget } from "./budget.ts";
import type { Reservation } from "./ledger.ts";
import { Timeout } from "./timeout.ts";

/** A reservation as a person would keep it in a book. */
interface Page {
  reservation: Reservation;
  amount: number;
  seen: number;
  held: number;
  state: "open" | "unconfirmed" | "closed";
}

type Change =
  { do: "settle"; which: number; actual: number; unconfirmed: boolean } | { do: "release" | "dispose"; which: number };

const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("reserve" as const), amount: fc.nat(60) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant("settle" as const),
        which: fc.nat(),
        actual: fc.nat(60),
        unconfirmed: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constantFrom("release" as const, "dispose" as const), which: fc.nat() }),
    },
  ),
  { maxLength: 40 },
);

test("whatever is reserved, settled, cut and released, the books are those of the model (C3.7, C10.7)", () => {
  fc.assert(
    fc.property(fc.constantFrom("limitTokens", "limitUsd"), steps, (option, all) => {
      // Money in cents, which are fractions that binary numbers do not have.
      const unit = option === "limitUsd" ? 100 : 1;
      const budget = new Budget({ [option]: 100 / unit });
      const pages: Page[] = [];
      const sum = (of: (page: Page) => number): number => pages.reduce((total, page) => total + of(page), 0);
      const taken = (): number => sum(({ seen, held }) => seen + held);
      for (const step of all) {
        if (step.do === "reserve") {
          if (taken() + step.amount > 100) {
            expect(() => budget.reserve(step.amount / unit)).toThrow("does not cover");
            continue;
          }
          const reservation = budget.reserve(step.amount / unit);
          pages.push({ reservation, amount: step.amount, seen: 0, held: step.amount, state: "open" });
          expect(taken()).toBeLessThanOrEqual(100);
        } else if (pages.length > 0) change(pages[step.which % pages.length]!, step, unit);
        expect(budget.getState()).toMatchObject({
          spent: sum(({ seen }) => seen) / unit,
          reserved: sum(({ held, state }) => (state === "open" ? held : 0)) / unit,
          unconfirmed: sum(({ held, state }) => (state === "unconfirmed" ? held : 0)) / unit,
          remaining: Math.max(0, 100 - taken()) / unit,
        });
      }
    }),
    { numRuns: 500 },
  );
});

function change(page: Page, step: Change, unit: number): void {
  const { reservation, state } = page;
  if (step.do === "settle") {
    const settle = (): void => reservation.settle(step.actual / unit, { unconfirmed: step.unconfirmed });
    if (state === "closed") return expect(settle).toThrow("settled or released before");
    settle();
    page.seen = step.actual;
    page.held = step.unconfirmed ? Math.max(0, page.amount - step.actual) : 0;
    page.state = step.unconfirmed ? "unconfirmed" : "closed";
    return;
  }
  if (step.do === "release") reservation.release();
  else reservation[Symbol.dispose]();
  if (step.do === "dispose" && state === "unconfirmed") return;
  page.held = 0;
  page.state = "closed";
}

test("under any interleaving nothing passes the limit, every call settles, and the books end balanced (C3.7)", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.constantFrom("deny" as const, "degrade" as const, "queue" as const),
      fc.array(
        fc.record({
          estimate: fc.nat(50),
          share: fc.constantFrom(0, 0.5, 1),
          end: fc.constantFrom("value", "error", "hang", "abort"),
        }),
        { minLength: 1, maxLength: 12 },
      ),
      async (scheduler, onExhausted, calls) => {
        const runtime = fakeRuntime();
        let asking = 0;
        const budget = new Budget(
          {
            limitTokens: 100,
            estimate: ({ degraded }) => (degraded ? Math.floor(asking / 2) : asking),
            cost: (value) => value as number,
            onExhausted,
          },
          runtime,
        );
        const policy = pipeline(budget, new Timeout({ attemptTimeoutMs: 50 }, runtime));
        const inBounds = (): void => {
          const { spent, reserved, unconfirmed, remaining } = budget.getState();
          expect(spent + reserved + unconfirmed).toBeLessThanOrEqual(100);
          expect(remaining).toBe(100 - spent - reserved - unconfirmed);
        };
        runtime.events.on(inBounds);
        let settled = 0;
        let confirmed = 0;
        let real = 0;
        for (const { estimate, share, end } of calls) {
          const caller = new AbortController();
          asking = estimate;
          const operation = async ({ degraded }: { degraded: boolean }): Promise<number> => {
            await scheduler.schedule(Promise.resolve());
            if (end === "error") throw new Error("down");
            if (end === "abort") caller.abort();
            if (end !== "value") return new Promise(() => {});
            const cost = Math.floor((degraded ? Math.floor(estimate / 2) : estimate) * share);
            real += cost;
            return cost;
          };
          void policy.executeOutcome(operation, { signal: caller.signal }).then((outcome) => {
            settled++;
            if (outcome.ok) confirmed += outcome.value;
          });
        }
        while (settled < calls.length) {
          await scheduler.waitAll();
          await runtime.clock.advance(50);
        }
        inBounds();
        expect(budget.getState()).toMatchObject({ spent: confirmed, reserved: 0, waiting: 0 });
        // Also what came too late for anybody to see it was provided for.
        expect(real).toBeLessThanOrEqual(confirmed + budget.getState().unconfirmed);
        expect(runtime.clock.pendingTimers).toBe(0);
      },
    ),
    { numRuns: 200 },
  );
});

test("a hundred thousand waiting calls are served and left in a time that grows with their number only", async () => {
  const budget = new Budget({ limitCalls: 200_000, onExhausted: "queue", maxQueue: 200_000 });
  const held = budget.reserve(200_000);
  const leaving = new AbortController();
  setMaxListeners(0, leaving.signal);
  const waits = Array.from({ length: 100_000 }, (_, i) =>
    budget.reserveWhenFree(1, i % 100 === 50 ? { signal: leaving.signal } : undefined).catch(() => null),
  );
  leaving.abort();
  held.release();
  const got = await Promise.all(waits);
  expect(got.filter((reservation) => reservation !== null)).toHaveLength(99_000);
  expect(budget.getState()).toMatchObject({ reserved: 99_000, waiting: 0 });
});
