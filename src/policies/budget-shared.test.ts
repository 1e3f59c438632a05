import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { UnsteadyState } from "../../test/unsteady-state.ts";
import { ConfigError, StoreUnavailableError } from "../core/errors.ts";
import { BudgetExceededError } from "../core/policy-errors.ts";
import type { SharedState } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import type { BudgetOptions } from "./budget-options.ts";
import { Budget } from "./budget.ts";
import type { Reservation } from "./ledger.ts";
import { sharing } from "./sharing.ts";

/** Budgets in as many processes, which are runtimes here, with one clock for all. */
function fleetOf(count: number, options: Partial<BudgetOptions> = {}) {
  const runtime = fakeRuntime();
  const place = new UnsteadyState(runtime);
  const budgets = Array.from(
    { length: count },
    () => new Budget({ name: "answers", limitTokens: 100, sharedState: place, ...options }, runtime),
  );
  return { runtime, place, budgets, budget: budgets[0]!, log: record(runtime.events) };
}

const now = { wait: false };

async function holdAgain(runtime: FakeRuntime, budget: Budget): Promise<Reservation> {
  const held = budget.reserveWhenFree(50, now);
  await runtime.clock.advance(1_000);
  return held;
}
const types = (log: readonly { type: string }[]): string[] => log.map(({ type }) => type);

describe("a shared budget", () => {
  test("what one process holds or has spent is not there for another (C3.7)", async () => {
    const { runtime, budgets, log } = fleetOf(2);
    const [one, two] = budgets as [Budget, Budget];
    const held = await one.reserveWhenFree(80, now);
    await expect(two.reserveWhenFree(21, now)).rejects.toThrow(BudgetExceededError);
    expect(two.getState()).toMatchObject({ spent: 0, reserved: 80, remaining: 20, refused: 1, waiting: 0 });
    held.settle(30);
    expect(one.getState()).toMatchObject({ spent: 30, reserved: 0 });
    await runtime.clock.advance(0);
    (await two.reserveWhenFree(70, now)).settle(10, { unconfirmed: true });
    await runtime.clock.advance(0);
    expect(await one.refresh()).toMatchObject({ spent: 40, unconfirmed: 60, remaining: 0 });
    expect(types(log)).toEqual([
      ...["budget.reserved", "budget.exceeded", "budget.settled", "budget.reserved", "budget.settled"],
    ]);
  });

  test("calls reserve, settle and are refused together, and the operation of a refused one is not called (C3.7)", async () => {
    const { budgets } = fleetOf(3, { estimate: 40, cost: () => 35 });
    const outcomes = await Promise.all(budgets.map((budget) => budget.executeOutcome(() => "done")));
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, true, false]);
    expect(await budgets[2]!.refresh()).toMatchObject({ spent: 70, reserved: 0 });
    const fleet = fleetOf(1, { estimate: ({ degraded }) => (degraded ? 10 : 60), onExhausted: "degrade" });
    const ask = (): Promise<boolean> => fleet.budget.execute(({ degraded }) => degraded);
    expect(await ask()).toBe(false);
    const dear = await fleet.budget.reserveWhenFree(30, now);
    expect(await ask()).toBe(true);
    expect(fleet.log).toContainEqual(
      expect.objectContaining({ type: "budget.exceeded", decision: "degraded", amount: 60 }),
    );
    const refused = await fleet.budget.executeOutcome(() => expect.unreachable());
    expect(refused).toMatchObject({ refused: true, error: { requested: 10 } });
    dear.release();
  });

  test("begins empty, and has books of its own for each name (C3.7)", async () => {
    const { runtime, place, budget } = fleetOf(1);
    expect(budget.getState()).toMatchObject({ spent: 0, reserved: 0, unconfirmed: 0, remaining: 100 });
    const other = new Budget({ name: "questions", limitTokens: 100, sharedState: place }, runtime);
    const all = [await budget.reserveWhenFree(100, now), await other.reserveWhenFree(100, now)];
    for (const held of all) held.release();
  });

  test("what is unconfirmed here and elsewhere is counted together, and held as long as it is (C3.7)", async () => {
    const { runtime, budgets, log } = fleetOf(2, { reservationLeaseMs: 3_000 });
    const [one, two] = budgets as [Budget, Budget];
    for (const budget of budgets) (await budget.reserveWhenFree(20, now)).settle(0, { unconfirmed: true });
    const held = await one.reserveWhenFree(20, now);
    expect(await one.refresh()).toMatchObject({ reserved: 20, unconfirmed: 40, remaining: 40 });
    await runtime.clock.advance(30_000);
    expect(await two.refresh()).toMatchObject({ reserved: 20, unconfirmed: 40, remaining: 40 });
    held.release();
    expect(types(log)).not.toContain("budget.expired");
  });

  test("refresh sees what has happened before it was called, also while an earlier one is under way (C3.7)", async () => {
    const { runtime, place, budgets } = fleetOf(2);
    const [one, two] = budgets as [Budget, Budget];
    const held = await two.reserveWhenFree(50, now);
    place.answerMs = 100;
    const first = one.refresh();
    await runtime.clock.advance(50);
    held.settle(30);
    await runtime.clock.advance(1);
    const second = one.refresh();
    await runtime.clock.advance(1_000);
    expect(await first).toMatchObject({ spent: 30 });
    expect(await second).toMatchObject({ spent: 30, reserved: 0 });
  });

  test("who waits to hear how it stands keeps the process alive, and what is written by the way does not (C0.4, C3.7)", async () => {
    const { runtime, place, budget } = fleetOf(1);
    const held = await budget.reserveWhenFree(50, now);
    place.answerMs = 100;
    held.release();
    await runtime.clock.advance(10);
    const byTheWay = runtime.clock.pendingTimers;
    await runtime.clock.advance(1_000);
    const refreshed = budget.refresh();
    await runtime.clock.advance(10);
    expect(runtime.clock.pendingTimers).toBe(byTheWay + 1);
    await runtime.clock.advance(1_000);
    expect(await refreshed).toMatchObject({ spent: 0, reserved: 0 });
    const again = await holdAgain(runtime, budget);
    again.release();
    await runtime.clock.advance(10);
    expect(runtime.clock.pendingTimers).toBe(byTheWay);
    await runtime.clock.advance(1_000);
  });

  test("behind one who waits nobody is served, and one who does not wait keeps nobody back (C3.7)", async () => {
    const { runtime, place, budget } = fleetOf(1);
    place.answerMs = 10;
    const ask = (amount: number, wait: boolean): Promise<number> =>
      budget.reserveWhenFree(amount, { wait }).then(
        (held) => (held.release(), amount),
        () => -amount,
      );
    const half = budget.reserveWhenFree(50, now);
    await runtime.clock.advance(10);
    const held = await half;
    // The first one is asked for alone, and those behind it together.
    const impatient = [ask(1, false), ask(60, false), ask(40, false)];
    await runtime.clock.advance(100);
    expect(await Promise.all(impatient)).toEqual([1, -60, 40]);
    const order: number[] = [];
    for (const amount of [1, 60, 40]) void ask(amount, true).then((got) => order.push(got));
    await runtime.clock.advance(100);
    expect(order).toEqual([1]);
    expect(budget.getState()).toMatchObject({ reserved: 50, waiting: 2 });
    held.release();
    await runtime.clock.advance(100);
    expect(order).toEqual([1, 60, 40]);
  });

  test("who waits is served in turn when something is given back, here or elsewhere (C3.7)", async () => {
    const { runtime, place, budgets, log } = fleetOf(2, { onExhausted: "queue", estimate: 60, cost: () => 0 });
    const [one, two] = budgets as [Budget, Budget];
    const held = await two.reserveWhenFree(100, now);
    const order: string[] = [];
    const calls = ["a", "b", "c"].map((name) => one.execute(() => order.push(`${name} ${runtime.clock.now()}`)));
    await runtime.clock.advance(0);
    expect(one.getState()).toMatchObject({ waiting: 3 });
    await expect(one.reserveWhenFree(1, now)).rejects.toThrow(BudgetExceededError);
    await runtime.clock.advance(10_000);
    const { updates } = place;
    await runtime.clock.advance(10_000);
    // It asks about once in a second, and two process renews its lease now and then.
    expect(place.updates - updates).toBeLessThanOrEqual(11);
    held.release();
    await runtime.clock.advance(1_000);
    await Promise.all(calls);
    expect(order.map((each) => each[0])).toEqual(["a", "b", "c"]);
    const elsewhere = runtime.clock.now();
    const mine = await one.reserveWhenFree(90, now);
    const next = one.execute(() => runtime.clock.now());
    await runtime.clock.advance(30);
    mine.release();
    await runtime.clock.advance(0);
    expect(await next).toBe(elsewhere + 30);
    expect(log.filter((event) => event.type === "budget.exceeded" && event.decision === "queued")).toHaveLength(4);
    await runtime.clock.advance(0);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a wait ends with an abort, the deadline, a full queue, and where no wait would help (C1.6, C3.1, C3.7)", async () => {
    const { runtime, budget } = fleetOf(1, { onExhausted: "queue", estimate: 60, maxQueue: 2 });
    (await budget.reserveWhenFree(10, now)).settle(10);
    const held = await budget.reserveWhenFree(90, now);
    await expect(budget.reserveWhenFree(91)).rejects.toThrow(BudgetExceededError);
    const controller = new AbortController();
    const never = (): never => expect.unreachable();
    const aborted = budget.executeOutcome(never, { signal: controller.signal });
    const late = budget.executeOutcome(never, { deadlineMs: 500 });
    const third = budget.executeOutcome(never);
    await runtime.clock.advance(0);
    expect(await third).toMatchObject({ refused: true });
    controller.abort(new Error("stop"));
    expect(await aborted).toMatchObject({ ok: false, error: { message: "stop" } });
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    await runtime.clock.advance(500);
    expect(await late).toMatchObject({ ok: false, refused: true });
    held.release();
    await runtime.clock.advance(0);
    expect(budget.getState()).toMatchObject({ reserved: 0, waiting: 0 });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("what is granted after an abort is given back (C1.6, C3.7)", async () => {
    const { runtime, place, budgets } = fleetOf(2);
    place.answerMs = 100;
    const controller = new AbortController();
    const aborted = budgets[0]!.reserveWhenFree(100, { ...now, signal: controller.signal });
    await runtime.clock.advance(50);
    controller.abort(new Error("stop"));
    await expect(aborted).rejects.toThrow("stop");
    await runtime.clock.advance(200);
    place.answerMs = 0;
    await expect(budgets[1]!.reserveWhenFree(100, now)).resolves.toMatchObject({ amount: 100 });
  });

  test("many that come at once are asked for together, in their order (C3.7)", async () => {
    const { place, budget } = fleetOf(1, { estimate: 1, limitTokens: 240 });
    const outcomes = await Promise.all(Array.from({ length: 250 }, () => budget.executeOutcome(() => 1)));
    expect(outcomes.map(({ ok }) => ok)).toEqual(Array.from({ length: 250 }, (_, i) => i < 240));
    expect(place.updates).toBeLessThan(8);
  });

  test("no more than a hundred are asked for at once, so that no question is too long (C3.7)", async () => {
    const { runtime, place } = fleetOf(1);
    const asked: number[] = [];
    const update: SharedState["update"] = async (key, change) => {
      const result = await place.update(key, change);
      asked.push((result as { fates: unknown[] }).fates.length);
      return result;
    };
    const sharedState = { sharing, update, close: () => place.close() };
    const budget = new Budget({ limitTokens: 250, estimate: 1, sharedState }, runtime);
    await Promise.all(Array.from({ length: 250 }, () => budget.execute(() => 1)));
    expect(Math.max(...asked)).toBe(100);
  });

  test("keeps the process alive while somebody waits for its answer, and not to write down what is known (C0.4)", async () => {
    const { runtime, place, budget } = fleetOf(1);
    place.answerMs = 100;
    const asked = budget.reserveWhenFree(50, now);
    await runtime.clock.advance(50);
    const waiting = runtime.clock.pendingTimers;
    await runtime.clock.advance(50);
    (await asked).settle(50);
    await runtime.clock.advance(50);
    // One timer is that of the place, whose answer is on its way.
    expect([waiting, runtime.clock.pendingTimers]).toEqual([2, 1]);
    await runtime.clock.advance(50);
  });

  test("what cannot ask says so (C3.10)", () => {
    const { budget, place } = fleetOf(1, { estimate: 1 });
    expect(() => budget.reserve(1)).toThrow("Use await reserveWhenFree(amount, { wait: false })");
    expect(() => budget.executeSync(() => 1)).toThrow(ConfigError);
    expect(() => budget.executeSync(() => 1)).toThrow(
      /"answers" cannot executeSync: with a sharedState .* Use execute/,
    );
    expect(place.updates).toBe(0);
    expect(budget.describe().options).toMatchObject({ hasSharedState: true, reservationLeaseMs: 60_000 });
    expect(() => new Budget({ limitTokens: 1, reservationLeaseMs: 5 })).toThrow("reservationLeaseMs needs sharedState");
  });

  test("a budget that is not shared takes wait: false too, and knows how it stands (C3.7)", async () => {
    const budget = new Budget({ limitTokens: 10 });
    const held = await budget.reserveWhenFree(10, now);
    await expect(budget.reserveWhenFree(1, now)).rejects.toThrow(BudgetExceededError);
    expect(await budget.refresh()).toMatchObject({ reserved: 10, refused: 1 });
    held.release();
  });

  test("a dry run counts and says what it would have done, and lets everything through (C2.10)", async () => {
    const { runtime, budget, log } = fleetOf(1, { dryRun: true, estimate: 60, onExhausted: "queue" });
    expect(await Promise.all([1, 2, 3].map((n) => budget.execute(() => n)))).toEqual([1, 2, 3]);
    await runtime.clock.advance(0);
    expect(await budget.refresh()).toMatchObject({ spent: 180, refused: 2, reserved: 0 });
    expect(log.filter(({ type }) => type === "budget.exceeded")).toMatchObject([
      ...[1, 2].map(() => ({ decision: "queued", dryRun: true })),
      ...[1, 2].map(() => ({ decision: "overspent" })),
    ]);
  });

  test("what a dry run holds beyond the limit is seen by all (C2.10, C3.7)", async () => {
    const { runtime, budgets } = fleetOf(2, { dryRun: true });
    const [one, two] = budgets as [Budget, Budget];
    const held = await one.reserveWhenFree(150, now);
    expect(await two.refresh()).toMatchObject({ reserved: 150, remaining: 0 });
    held.release();
    await runtime.clock.advance(0);
    expect(await two.refresh()).toMatchObject({ reserved: 0, remaining: 100 });
  });
});

describe("the lease of a shared budget", () => {
  test("is renewed while something is held, and only then, by a timer that holds no process (C0.4, C3.7)", async () => {
    const { runtime, place, budgets } = fleetOf(2, { reservationLeaseMs: 3_000 });
    const held = await budgets[0]!.reserveWhenFree(100, now);
    const { updates } = place;
    await runtime.clock.advance(30_000);
    expect(place.updates - updates).toBe(30);
    expect(runtime.clock.pendingTimers).toBe(0);
    await expect(budgets[1]!.reserveWhenFree(1, now)).rejects.toThrow(BudgetExceededError);
    held.settle(5);
    await runtime.clock.advance(0);
    const after = place.updates;
    await runtime.clock.advance(30_000);
    expect(place.updates).toBe(after);
  });

  test("runs out when a process cannot renew it; what the call spends is charged all the same (C3.7)", async () => {
    const { runtime, place, budgets, log } = fleetOf(2, { reservationLeaseMs: 3_000 });
    const [one, two] = budgets as [Budget, Budget];
    const [spends, returns] = [await one.reserveWhenFree(60, now), await one.reserveWhenFree(40, now)];
    place.away = true;
    await runtime.clock.advance(4_000);
    place.away = false;
    const other = await two.reserveWhenFree(100, now);
    await runtime.clock.advance(30_000);
    expect(log.filter(({ type }) => type === "budget.expired")).toMatchObject([{ policy: "answers", amount: 100 }]);
    expect(one.getState()).toMatchObject({ reserved: 100 });
    returns.release();
    spends.settle(20, { unconfirmed: true });
    expect(one.getState()).toMatchObject({ spent: 20, reserved: 100, unconfirmed: 0 });
    spends.settle(50);
    await runtime.clock.advance(0);
    expect(await two.refresh()).toMatchObject({ spent: 50, reserved: 100, remaining: 0 });
    other.settle(100);
    await runtime.clock.advance(0);
    expect(await one.refresh()).toMatchObject({ spent: 150, reserved: 0 });
    expect(log.at(-1)).toMatchObject({ type: "budget.exceeded", decision: "overspent" });
  });
});

test("with a lease that has run out only what was held is reported, whether or not somebody listens (C3.7)", async () => {
  for (const listens of [true, false]) {
    const runtime = fakeRuntime();
    const place = new UnsteadyState(runtime);
    const options = { limitTokens: 100, sharedState: place, reservationLeaseMs: 3_000 };
    const budget = new Budget(options, runtime);
    const log = listens ? record(runtime.events) : [];
    // Granted there, and not heard of here.
    place.losesAnswers = true;
    await expect(budget.reserveWhenFree(30, now)).rejects.toThrow(StoreUnavailableError);
    place.losesAnswers = false;
    await runtime.clock.advance(4_000);
    expect(await budget.refresh()).toMatchObject({ reserved: 0, remaining: 100 });
    expect(types(log)).not.toContain("budget.expired");
    const held = await budget.reserveWhenFree(30, now);
    (await budget.reserveWhenFree(10, now)).settle(0, { unconfirmed: true });
    await runtime.clock.advance(0);
    place.away = true;
    await runtime.clock.advance(4_000);
    place.away = false;
    expect(await budget.refresh()).toMatchObject({ reserved: 0, unconfirmed: 0, remaining: 100 });
    if (listens) expect(log.at(-1)).toMatchObject({ type: "budget.expired", amount: 40 });
    held.release();
  }
});

describe("a shared budget whose place is away", () => {
  test("refuses with what the place says, or after a second, who asks and who waits (C3.7)", async () => {
    const { runtime, place, budget } = fleetOf(1, { onExhausted: "queue", estimate: 60 });
    const held = await budget.reserveWhenFree(100, now);
    const waiting = budget.executeOutcome(() => 1);
    await runtime.clock.advance(0);
    place.away = true;
    await expect(budget.reserveWhenFree(1)).rejects.toThrow(StoreUnavailableError);
    expect(await waiting).toMatchObject({ ok: false, error: { code: "STORE_UNAVAILABLE" } });
    await expect(budget.refresh()).rejects.toThrow("The place is away");
    place.away = false;
    place.answerMs = 1_100;
    const slow = budget.executeOutcome(() => 1);
    await runtime.clock.advance(1_000);
    expect(await slow).toMatchObject({ error: { message: expect.stringContaining("within 1000 ms") as string } });
    held.release();
    place.answerMs = 0;
    await runtime.clock.advance(60_000);
    expect(await budget.refresh()).toMatchObject({ reserved: 0 });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("what could not be settled is settled when it is back, tried again with growing waits (C3.7)", async () => {
    const { runtime, place, budgets } = fleetOf(2);
    const [one, two] = budgets as [Budget, Budget];
    const held = await one.reserveWhenFree(80, now);
    place.away = true;
    held.settle(70);
    await runtime.clock.advance(0);
    const { updates } = place;
    await runtime.clock.advance(250);
    // Tried again soon at first, and then ever later.
    expect(place.updates).toBe(updates + 1);
    await runtime.clock.advance(50_000);
    expect(place.updates).toBeLessThan(15);
    expect(runtime.clock.pendingTimers).toBe(0);
    place.away = false;
    await runtime.clock.advance(30_000);
    expect(await two.refresh()).toMatchObject({ spent: 70, reserved: 0 });
  });

  test("what was settled and not heard of is charged once (C3.7)", async () => {
    const { runtime, place, budgets } = fleetOf(2);
    const [one, two] = budgets as [Budget, Budget];
    const held = await one.reserveWhenFree(80, now);
    place.losesAnswers = true;
    held.settle(20, { unconfirmed: true });
    await runtime.clock.advance(10_000);
    held.settle(70);
    await runtime.clock.advance(10_000);
    place.losesAnswers = false;
    await runtime.clock.advance(30_000);
    expect(await two.refresh()).toMatchObject({ spent: 70, unconfirmed: 0, reserved: 0 });
  });

  test("a process that was not heard of for long goes on where it was (C3.7)", async () => {
    const { runtime, budgets } = fleetOf(2);
    const [one, two] = budgets as [Budget, Budget];
    (await one.reserveWhenFree(30, now)).settle(30);
    await runtime.clock.advance(10_000_000);
    expect(await two.refresh()).toMatchObject({ spent: 30 });
    (await one.reserveWhenFree(20, now)).settle(10);
    await runtime.clock.advance(0);
    expect(await two.refresh()).toMatchObject({ spent: 40, reserved: 0 });
    expect(await one.refresh()).toMatchObject({ spent: 40, reserved: 0 });
  });

  test("an idle budget keeps no timer and asks nothing (C0.4)", async () => {
    const { runtime, place, budget } = fleetOf(1);
    place.away = true;
    await expect(budget.reserveWhenFree(1)).rejects.toThrow(StoreUnavailableError);
    await runtime.clock.advance(1e6);
    expect(place.updates).toBe(1);
  });
});

interface Step {
  process: number;
  do: "spend" | "crash" | "pass";
  amount: number;
  actual: number;
  how: "settle" | "release" | "unconfirmed";
}

const steps = fc.array(
  fc.record<Step>({
    process: fc.nat(2),
    do: fc.constantFrom("spend", "spend", "spend", "spend", "crash", "pass"),
    amount: fc.integer({ min: 0, max: 70 }),
    actual: fc.integer({ min: 0, max: 70 }),
    how: fc.constantFrom("settle", "settle", "release", "unconfirmed"),
  }),
  { maxLength: 30 },
);

test("in any interleaving of processes, crashes and lost answers the limit holds and all that was written is charged once (C3.7)", async () => {
  await fc.assert(
    fc.asyncProperty(
      steps,
      fc.constantFrom("deny", "queue"),
      fc.scheduler(),
      fc.infiniteStream(fc.nat(9)),
      async (all, onExhausted, scheduler, luck) => {
        const runtime: FakeRuntime = fakeRuntime();
        const inner = new MemorySharedState({ clock: runtime.clock });
        let over: string | null = null;
        /** The place as one process sees it: questions and answers overtake those of others, and get lost. */
        const seenBy = (alive: () => boolean): SharedState => ({
          sharing,
          async update(key, change) {
            await scheduler.schedule(Promise.resolve());
            if (!alive()) return new Promise(() => {});
            const result = await inner.update(key, change);
            const state = await auditor.refresh();
            if (state.spent + state.reserved + state.unconfirmed > 100) over ??= JSON.stringify(state);
            await scheduler.schedule(Promise.resolve());
            if (luck.next().value === 0) throw new StoreUnavailableError("lost");
            return alive() ? result : new Promise(() => {});
          },
          close: () => inner.close(),
        });
        const auditor = new Budget({ limitTokens: 100, sharedState: inner }, fakeRuntime());
        // A process that has died is one whose clock stands still and which the place hears no more.
        const born = (): { budget: Budget; charged: number; die: () => void } => {
          let alive = true;
          const own = seenBy(() => alive);
          const budget = new Budget({ limitTokens: 100, sharedState: own, onExhausted }, runtime);
          return { budget, charged: 0, die: () => void (alive = false) };
        };
        const processes = [born(), born(), born()];
        let crashed = 0;
        const answered = async (): Promise<void> => {
          do {
            await scheduler.waitAll();
            await runtime.clock.advance(0);
          } while (scheduler.count() > 0);
        };
        for (const step of all) {
          const process = processes[step.process]!;
          if (step.do === "pass") {
            // Long enough for a renewal, and never for a lease to run out of one who lives.
            await answered();
            await runtime.clock.advance(20_000);
            await answered();
          }
          if (step.do === "crash") {
            crashed += process.charged;
            process.die();
            processes[step.process] = born();
          }
          if (step.do !== "spend") continue;
          const { amount, how } = step;
          const actual = Math.min(amount, step.actual);
          void process.budget
            .reserveWhenFree(amount, { wait: onExhausted === "queue", deadlineMs: 100_000 })
            .then((reservation) => {
              if (how === "release") return reservation.release();
              reservation.settle(actual, { unconfirmed: how === "unconfirmed" });
              process.charged += actual;
            })
            .catch(() => {});
          if (step.amount % 3 === 0) await answered();
        }
        for (let i = 0; i < 40; i++) {
          await answered();
          await runtime.clock.advance(10_000);
        }
        await answered();
        expect(over).toBeNull();
        const charged = processes.reduce((sum, process) => sum + process.charged, 0);
        const { spent, reserved } = await auditor.refresh();
        // Of one that has died, what it had spent and written is charged, and what it had not written is lost with it.
        expect(spent).toBeGreaterThanOrEqual(charged);
        expect(spent).toBeLessThanOrEqual(charged + crashed);
        expect(reserved).toBe(0);
      },
    ),
    { numRuns: 100 },
  );
}, 60_000);
