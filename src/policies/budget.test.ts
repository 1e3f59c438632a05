import { AsyncLocalStorage } from "node:async_hooks";
import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { type Call, callFrom } from "../core/call.ts";
import { CircuitBreakerOpenError, ConfigError, isFinal, isRefusal } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { BudgetExceededError } from "../core/policy-errors.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { fakeRuntime, record } from "../testing/fake-clock.ts";
import type { BudgetOptions } from "./budget-options.ts";
import { Budget } from "./budget.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

const fail = (): never => {
  throw new Error("down");
};

function thrownBy(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  throw new Error("it threw nothing");
}

describe("amounts", () => {
  test("a tenth and two tenths of a dollar are three tenths (C3.7)", () => {
    const budget = new Budget({ limitUsd: 0.3 });
    budget.reserve(0.1).settle(0.1);
    const last = budget.reserve(0.2);
    expect(budget.getState()).toMatchObject({ spent: 0.1, reserved: 0.2, remaining: 0 });
    last.settle(0.2);
    expect(budget.getState()).toMatchObject({ spent: 0.3, reserved: 0, remaining: 0 });
  });

  test("an amount that a program has added up in fractions is the one that a person means (C3.7)", () => {
    const budget = new Budget({ limitUsd: 0.3 });
    budget.reserve(0.1 + 0.2).settle(0.1 + 0.2);
    expect(budget.getState()).toMatchObject({ spent: 0.3, remaining: 0 });
  });

  test("a million amounts of a nano-dollar add up without drift (C3.7)", () => {
    const budget = new Budget({ limitUsd: 1 });
    for (let i = 0; i < 1_000_000; i++) budget.reserve(1e-9).settle(1e-9);
    expect(budget.getState()).toMatchObject({ spent: 0.001, remaining: 0.999 });
  });

  test("exceeded means strictly over, and 0 is a budget (C3.7, C10.7)", () => {
    const budget = new Budget({ limitTokens: 100 });
    budget.reserve(100);
    budget.reserve(0);
    expect(() => budget.reserve(1)).toThrow(BudgetExceededError);
    const nothing = new Budget({ limitUsd: 0 });
    nothing.reserve(0).settle(0);
    expect(nothing.getState()).toMatchObject({ limit: 0, spent: 0, remaining: 0 });
    // Not even what is less than a nano-dollar is free.
    expect(() => nothing.reserve(1e-12)).toThrow(BudgetExceededError);
  });

  test.each<[BudgetOptions, number]>([
    [{ limitUsd: 1 }, -1],
    [{ limitUsd: 1 }, Number.NaN],
    [{ limitUsd: 1 }, Infinity],
    [{ limitUsd: 1 }, 1_000_001],
    [{ limitTokens: 9 }, 0.5],
    [{ limitCalls: 9 }, 1.5],
    [{ limitTokens: 9 }, 2 ** 53],
    [{ limitUsd: 9 }, "5" as never],
  ])("%o takes no amount of %s (C0.3)", (options, amount) => {
    const budget = new Budget(options);
    expect(() => budget.reserve(amount)).toThrow(ConfigError);
    expect(() => budget.reserve(amount)).toThrow(
      /An amount of budget "budget" must be (a number, 0 or more|at most 1000000 USD|a whole number of (tokens|calls)), got "?[-\w.]+"?\./,
    );
    const reservation = budget.reserve(1);
    expect(() => reservation.settle(amount)).toThrow(ConfigError);
    expect(budget.getState()).toMatchObject({ spent: 0, reserved: 1 });
  });

  test.each<[BudgetOptions, string]>([
    [{}, "one of limitUsd, limitTokens and limitCalls"],
    [{ limitUsd: 1, limitCalls: 1 }, "one of limitUsd, limitTokens and limitCalls"],
    [{ limitUsd: -1 }, "budget.limitUsd must be a number from 0"],
    [{ limitTokens: 1.5 }, "limitTokens must be a whole number"],
    [{ limitUsd: 1, onExhausted: "degrade", estimate: 1 }, "needs an estimate that is a function"],
    [{ limitUsd: 1, maxQueue: 5 }, 'needs onExhausted "queue"'],
    [{ limitTokens: 1, estimate: 0.5 }, "a whole number of tokens"],
  ])("%o is refused (C0.3)", (options, says) => {
    expect(() => new Budget(options)).toThrow(says);
    expect(thrownBy(() => new Budget(options))).toBeInstanceOf(ConfigError);
  });
});

test("the largest amounts are as exact as the smallest (C3.7)", () => {
  const tokens = new Budget({ limitTokens: Number.MAX_SAFE_INTEGER });
  tokens.reserve(Number.MAX_SAFE_INTEGER).settle(Number.MAX_SAFE_INTEGER - 1);
  expect(tokens.getState()).toMatchObject({ spent: Number.MAX_SAFE_INTEGER - 1, remaining: 1 });
  const money = new Budget({ limitUsd: 1_000_000 });
  money.reserve(1_000_000).settle(999_999.999_999_999);
  expect(money.getState()).toMatchObject({ spent: 999_999.999_999_999, remaining: 1e-9 });
});

describe("a reservation", () => {
  test("settled it charges what was spent and gives back the rest, released it gives back all (C3.7, C10.7)", () => {
    const budget = new Budget({ limitTokens: 100 });
    const [first, second] = [budget.reserve(60), budget.reserve(40)];
    expect(first.amount).toBe(60);
    first.settle(25);
    second.release();
    expect(budget.getState()).toEqual({
      name: "budget",
      unit: "tokens",
      limit: 100,
      spent: 25,
      reserved: 0,
      unconfirmed: 0,
      remaining: 75,
      waiting: 0,
      refused: 0,
    });
  });

  test("left, it gives back what was not settled, and keeps what is unconfirmed (C10.7)", () => {
    const budget = new Budget({ limitTokens: 100 });
    budget.reserve(10)[Symbol.dispose]();
    const settled = budget.reserve(10);
    settled.settle(5);
    settled[Symbol.dispose]();
    const cut = budget.reserve(10);
    cut.settle(2, { unconfirmed: true });
    cut[Symbol.dispose]();
    expect(budget.getState()).toMatchObject({ spent: 7, reserved: 0, unconfirmed: 8 });
  });

  test("of a stream charges what was seen so far and holds the rest, until the truth is known (C3.7)", () => {
    const budget = new Budget({ limitTokens: 100 });
    const stream = budget.reserve(50);
    stream.settle(10, { unconfirmed: true });
    expect(budget.getState()).toMatchObject({ spent: 10, reserved: 0, unconfirmed: 40, remaining: 50 });
    stream.settle(30, { unconfirmed: true });
    expect(budget.getState()).toMatchObject({ spent: 30, unconfirmed: 20, remaining: 50 });
    stream.settle(35);
    expect(budget.getState()).toMatchObject({ spent: 35, unconfirmed: 0, remaining: 65 });
  });

  test("released after a cut stream gives back what nobody confirmed and keeps what was seen (C3.7)", () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ limitTokens: 100 }, runtime);
    const stream = budget.reserve(50);
    stream.settle(10, { unconfirmed: true });
    // What is unconfirmed is reserved in the words of a refusal.
    expect(thrownBy(() => budget.reserve(51))).toMatchObject({ requested: 51, spent: 10, reserved: 40, limit: 100 });
    stream.release();
    stream.release();
    expect(budget.getState()).toMatchObject({ spent: 10, unconfirmed: 0, remaining: 90 });
    expect(log.filter(({ type }) => type === "budget.released")).toMatchObject([{ amount: 40, remaining: 90 }]);
  });

  test("cannot be charged twice, and releasing it twice gives back nothing more", () => {
    const budget = new Budget({ name: "mail", limitTokens: 100 });
    const reservation = budget.reserve(50);
    reservation.settle(20);
    reservation.release();
    expect(thrownBy(() => reservation.settle(20))).toMatchObject({ code: "RESERVATION_CLOSED" });
    expect(() => reservation.settle(7)).toThrow(
      /reservation of 50 in budget "mail" was settled .* so 7 cannot be charged/,
    );
    expect(budget.getState()).toMatchObject({ spent: 20, reserved: 0 });
  });

  test("that has cost more than was reserved is charged in full, and nothing more is let through (C3.7)", () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ limitTokens: 100 }, runtime);
    const [dear, free] = [budget.reserve(50), budget.reserve(50)];
    dear.settle(120);
    // One that costs nothing does not overspend.
    free.settle(0);
    expect(budget.getState()).toMatchObject({ spent: 120, remaining: 0 });
    expect(() => budget.reserve(0)).toThrow(BudgetExceededError);
    expect(log).toMatchObject([
      { type: "budget.reserved" },
      { type: "budget.reserved" },
      { type: "budget.settled", amount: 120 },
      { type: "budget.exceeded", decision: "overspent", amount: 120, dryRun: false },
      { type: "budget.settled", amount: 0 },
      { type: "budget.exceeded", decision: "denied" },
    ]);
  });
});

test("a budget that is used up to the last token is not exceeded (C3.7)", () => {
  const runtime = fakeRuntime();
  const log = record(runtime.events);
  const budget = new Budget({ limitTokens: 100 }, runtime);
  budget.reserve(100).settle(100);
  expect(budget.getState()).toMatchObject({ spent: 100, remaining: 0 });
  expect(log.map(({ type }) => type)).toEqual(["budget.reserved", "budget.settled"]);
});

describe("around a call", () => {
  test("it reserves the estimate and settles what the result says (C3.7)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ name: "mail", limitUsd: 1, estimate: 0.5, cost: (value) => value as number }, runtime);
    let during: unknown;
    expect(
      await budget.execute(() => {
        during = budget.getState();
        return 0.125;
      }),
    ).toBe(0.125);
    expect(during).toMatchObject({ spent: 0, reserved: 0.5, remaining: 0.5 });
    expect(budget.getState()).toMatchObject({ spent: 0.125, reserved: 0, remaining: 0.875 });
    expect(log).toMatchObject([
      { type: "budget.reserved", policy: "mail", unit: "usd", amount: 0.5, remaining: 0.5 },
      { type: "budget.settled", policy: "mail", unit: "usd", amount: 0.125, unconfirmed: 0, remaining: 0.875 },
    ]);
  });

  test("without a cost the estimate is charged, as it is where the result does not tell or tells nonsense (C0.6)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    for (const cost of [undefined, () => undefined, () => Number.NaN, () => fail()]) {
      const budget = new Budget({ limitTokens: 10, estimate: 4, cost }, runtime);
      expect(await budget.execute(() => "value")).toBe("value");
      expect(budget.getState()).toMatchObject({ spent: 4, reserved: 0 });
    }
    expect(log.filter(({ type }) => type === "listener.failed")).toMatchObject([
      { listening: "cost" },
      { listening: "cost" },
    ]);
  });

  test("it throws what was spent and what was allowed, and the operation is not called (C3.7, C10.2)", async () => {
    const budget = new Budget({ name: "mail", limitUsd: 1, estimate: 0.75 });
    await budget.execute(() => 1);
    const error = await budget.execute(() => expect.unreachable()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BudgetExceededError);
    expect(error).toMatchObject({
      code: "BUDGET_EXCEEDED",
      spentUsd: 0.75,
      budgetUsd: 1,
      requested: 0.75,
      unit: "usd",
    });
    expect((error as Error).message).toBe(
      'Budget "mail" does not cover 0.75 USD: 0.75 of 1 USD are spent and 0 are held for calls under way or unconfirmed. Raise the limit, or ask for less.',
    );
    expect(isRefusal(error) && isFinal(error)).toBe(true);
    expect(isRefusal({ code: "BUDGET_EXCEEDED" })).toBe(true);
    const calls = new Budget({ limitCalls: 0 });
    expect(await calls.execute(() => 1).catch((thrown: unknown) => thrown)).toMatchObject({
      limit: 0,
      spentUsd: undefined,
      budgetUsd: undefined,
    });
  });

  test("a refusal is a value, whose error tells of the moment of the refusal (C10.1)", async () => {
    const budget = new Budget({ limitTokens: 5, estimate: 2 });
    const held = budget.reserve(4);
    const outcome = await budget.executeOutcome(() => expect.unreachable());
    held.release();
    expect(outcome).toMatchObject({ ok: false, refused: true, error: { requested: 2, reserved: 4, limit: 5 } });
    expect(await new Budget({ limitCalls: 1 }).executeOutcome(() => 5)).toEqual({ ok: true, value: 5 });
    const down = new Error("down");
    const failure = await new Budget({ limitCalls: 1 }).executeOutcome(() => Promise.reject(down));
    expect(failure).toEqual({ ok: false, refused: false, error: down });
  });

  test("a failure that cost nothing gives the reservation back; a call that was made is a call (C3.7)", async () => {
    const error = new Error("down");
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const money = new Budget({ limitUsd: 1, estimate: 0.5 }, runtime);
    expect(await money.execute(() => Promise.reject(error)).catch((thrown: unknown) => thrown)).toBe(error);
    expect(money.getState()).toMatchObject({ spent: 0, reserved: 0, unconfirmed: 0 });
    expect(log).toMatchObject([{ type: "budget.reserved" }, { type: "budget.released", amount: 0.5 }]);
    const calls = new Budget({ limitCalls: 2 });
    await calls.execute(fail).catch(() => {});
    expect(calls.getState()).toMatchObject({ spent: 1, reserved: 0 });
    const refusing = (): never => {
      throw new CircuitBreakerOpenError("crm", 1, 5);
    };
    await calls.execute(refusing).catch(() => {});
    expect(calls.getState()).toMatchObject({ spent: 1, reserved: 0 });
  });

  test("a failure whose error says what it cost is charged for it (C3.7)", async () => {
    const costOfFailure = (error: unknown): number => (error as { tokens: number }).tokens;
    const budget = new Budget({ limitTokens: 100, estimate: 50, costOfFailure });
    await budget.execute(() => Promise.reject(Object.assign(new Error("filtered"), { tokens: 12 }))).catch(() => {});
    expect(budget.getState()).toMatchObject({ spent: 12, reserved: 0, unconfirmed: 0 });
  });

  test("a costOfFailure that throws is reported by its name, and the failure then costs nothing (C0.6)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ limitTokens: 100, estimate: 50, costOfFailure: fail }, runtime);
    await budget.execute(() => Promise.reject(new Error("filtered"))).catch(() => {});
    expect(budget.getState()).toMatchObject({ spent: 0, reserved: 0, unconfirmed: 0 });
    expect(log).toContainEqual(expect.objectContaining({ type: "listener.failed", listening: "costOfFailure" }));
  });

  test("after a timeout the usage seen is charged and the rest stays held, unconfirmed (C3.7)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    let seen = 0;
    const budget = new Budget({ limitTokens: 100, estimate: 50, costOfFailure: () => seen }, runtime);
    const policy = pipeline(budget, new Timeout({ attemptTimeoutMs: 20 }, runtime));
    const settled = policy.executeOutcome(() => ((seen = 12), new Promise(() => {})));
    await runtime.clock.advance(100);
    expect(await settled).toMatchObject({ ok: false, error: { code: "TIMEOUT" } });
    expect(budget.getState()).toMatchObject({ spent: 12, reserved: 0, unconfirmed: 38, remaining: 50 });
    expect(log).toContainEqual(expect.objectContaining({ type: "budget.settled", amount: 12, unconfirmed: 38 }));
  });

  test("so it is after an abort under way, and after an error that unconfirmedErrors names (C3.7)", async () => {
    const caller = new AbortController();
    const aborted = new Budget({ limitTokens: 100, estimate: 50 });
    const operation = (): Promise<never> => (caller.abort(), Promise.reject(new Error("stopped")));
    await aborted.execute(operation, { signal: caller.signal }).catch(() => {});
    expect(aborted.getState()).toMatchObject({ spent: 0, unconfirmed: 50 });
    const timedOut = new Budget({ limitTokens: 100, estimate: 50 });
    const late = new Error("no answer", { cause: Object.assign(new Error("late"), { code: "TIMEOUT" }) });
    await timedOut.execute(() => Promise.reject(late)).catch(() => {});
    expect(timedOut.getState()).toMatchObject({ spent: 0, unconfirmed: 50 });
    const cut = new Budget({ limitTokens: 100, estimate: 50, unconfirmedErrors: "ECONNRESET" });
    await cut.execute(() => Promise.reject(Object.assign(new Error(), { code: "ECONNRESET" }))).catch(() => {});
    await cut.execute(fail).catch(() => {});
    expect(cut.getState()).toMatchObject({ spent: 0, reserved: 0, unconfirmed: 50 });
  });

  test("an aborted call reserves nothing, and its operation is not called (C1.6)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ limitCalls: 1 }, runtime);
    const signal = AbortSignal.abort("no");
    await expect(budget.execute(() => expect.unreachable(), { signal })).rejects.toBe("no");
    expect(await budget.executeOutcome(() => expect.unreachable(), { signal })).toMatchObject({ refused: false });
    expect(() => budget.executeSync(() => expect.unreachable(), { signal })).toThrow("no");
    await expect(budget.reserveWhenFree(1, { signal })).rejects.toBe("no");
    expect(log).toEqual([]);
  });

  test("it needs an estimate, unless it counts calls, and one that throws passes through (C0.5)", async () => {
    await expect(new Budget({ limitUsd: 1 }).execute(() => expect.unreachable())).rejects.toThrow("has no estimate");
    const error = new Error("no price");
    const priceless = new Budget({
      limitUsd: 1,
      estimate: () => {
        throw error;
      },
    });
    expect(await priceless.executeOutcome(() => expect.unreachable())).toMatchObject({ ok: false, error });
    expect(priceless.getState().reserved).toBe(0);
  });

  test("no retry repeats it and no breaker counts it (C0.8)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1 }, runtime);
    const policy = pipeline(new RetryPolicy({}, runtime), breaker, new Budget({ limitCalls: 0 }, runtime));
    expect(await policy.executeOutcome(() => expect.unreachable())).toMatchObject({
      error: { code: "BUDGET_EXCEEDED" },
    });
    expect(breaker.state).toBe("CLOSED");
  });

  test("inside a retry each attempt pays (C3.7)", async () => {
    const runtime = fakeRuntime();
    const budget = new Budget({ limitCalls: 2 }, runtime);
    const settled = pipeline(new RetryPolicy({ strategy: "immediate" }, runtime), budget).executeOutcome(fail);
    await runtime.clock.advance(0);
    expect(await settled).toMatchObject({ error: { code: "BUDGET_EXCEEDED" } });
    expect(budget.getState()).toMatchObject({ spent: 2, refused: 1 });
  });

  test("executeSync gives the value or throws, with the same books (C3.10)", () => {
    const budget = new Budget({ limitTokens: 10, estimate: 6, cost: (value) => value as number });
    expect(budget.executeSync(() => 3)).toBe(3);
    expect(() => budget.executeSync(fail)).toThrow("down");
    expect(budget.getState()).toMatchObject({ spent: 3, reserved: 0 });
    expect(budget.executeSync(() => 5)).toBe(5);
    expect(() => budget.executeSync(() => expect.unreachable())).toThrow(BudgetExceededError);
    const queueing = new Budget({ limitCalls: 1, onExhausted: "queue" });
    expect(() => queueing.executeSync(() => expect.unreachable())).toThrow("executeSync cannot wait");
    const tokens = new Budget({ name: "mail", limitTokens: 10, estimate: 6 });
    expect(() => tokens.executeSync(() => Promise.resolve(1))).toThrow('The function of budget "mail"');
    expect(tokens.getState()).toMatchObject({ spent: 0, reserved: 0 });
  });

  test("describe shows the limit and what happens when it is reached (C3.12)", () => {
    expect(new Budget({ name: "mail", limitUsd: 2, estimate: 0.5 }).describe()).toEqual({
      kind: "budget",
      name: "mail",
      options: {
        limitUsd: 2,
        estimate: 0.5,
        onExhausted: "deny",
        maxQueue: 1000,
        hasSharedState: false,
        dryRun: false,
      },
    });
  });
});

describe("degrade", () => {
  const estimate = ({ degraded }: Call): number => (degraded ? 10 : 60);

  test("a call that does not fit is told so, and reserves what the cheaper target costs (C3.7)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ limitTokens: 75, estimate, onExhausted: "degrade" }, runtime);
    const ask = (): Promise<string> => budget.execute(({ degraded }) => (degraded ? "small" : "large"));
    expect([await ask(), await ask()]).toEqual(["large", "small"]);
    expect(budget.getState()).toMatchObject({ spent: 70, reserved: 0 });
    await expect(ask()).rejects.toMatchObject({ code: "BUDGET_EXCEEDED", requested: 10 });
    expect(log.filter(({ type }) => type === "budget.exceeded")).toMatchObject([
      { decision: "degraded", amount: 60, dryRun: false },
      { decision: "denied", amount: 10 },
    ]);
  });

  test("and no call is, under a budget that denies (C3.7)", async () => {
    const estimate = ({ degraded }: Call): number => (degraded ? 1 : 60);
    for (const sharedState of [undefined, new MemorySharedState({ clock: fakeRuntime().clock })]) {
      const budget = new Budget({ limitTokens: 50, estimate, sharedState }, fakeRuntime());
      expect(await budget.executeOutcome(() => expect.unreachable())).toMatchObject({
        refused: true,
        error: { requested: 60 },
      });
    }
  });

  test("a degraded call has the signal of its caller, and leaves nobody listening there (C1.6)", async () => {
    const caller = new AbortController();
    const estimate = ({ degraded }: Call): number => (degraded ? 1 : 60);
    const budget = new Budget({ limitTokens: 50, onExhausted: "degrade", estimate });
    const signal = await budget.execute((call) => call.signal, { signal: caller.signal });
    expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
    caller.abort();
    expect(signal.aborted).toBe(true);
  });

  test("what stands inside the budget passes it on to the operation (C3.7)", async () => {
    const runtime = fakeRuntime();
    const budget = new Budget({ limitTokens: 20, estimate, onExhausted: "degrade" }, runtime);
    const retry = new RetryPolicy({ strategy: "immediate" }, runtime);
    const policy = pipeline(budget, retry, new Timeout({ attemptTimeoutMs: 1_000 }, runtime));
    const seen: unknown[] = [];
    const settled = policy.execute(({ degraded, attempt }) => {
      seen.push([attempt, degraded]);
      if (attempt === 1) throw new Error("once");
    });
    await runtime.clock.advance(0);
    await settled;
    expect(seen).toEqual([
      [1, true],
      [2, true],
    ]);
    expect(budget.executeSync(({ degraded }) => degraded)).toBe(true);
    const plenty = new Budget({ limitTokens: 100, estimate, onExhausted: "degrade" });
    expect(plenty.executeSync(({ degraded }) => degraded)).toBe(false);
  });
});

describe("queue", () => {
  test("calls wait first come, first served, and go on when enough is given back (C3.7)", async () => {
    const runtime = fakeRuntime();
    const budget = new Budget({ limitTokens: 100, onExhausted: "queue" }, runtime);
    const held = [budget.reserve(60), budget.reserve(40)];
    const order: string[] = [];
    const want = (name: string, amount: number): Promise<unknown> =>
      budget.reserveWhenFree(amount).then((reservation) => (order.push(name), reservation));
    const waits = [want("large", 70), want("small", 10)];
    await runtime.clock.advance(0);
    held[1]!.release();
    await runtime.clock.advance(0);
    // The small one would fit, and waits its turn; nor may a newcomer overtake.
    expect(order).toEqual([]);
    expect(() => budget.reserve(1)).toThrow(BudgetExceededError);
    expect(budget.getState()).toMatchObject({ reserved: 60, waiting: 2 });
    held[0]!.settle(20);
    await Promise.all(waits);
    expect(order).toEqual(["large", "small"]);
    expect(budget.getState()).toMatchObject({ spent: 20, reserved: 80, waiting: 0 });
  });

  test("one that can no longer be served is refused and does not wait for ever (C3.7)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ limitTokens: 100, estimate: 80, onExhausted: "queue" }, runtime);
    const held = budget.reserve(90);
    const waiting = budget.executeOutcome(() => expect.unreachable());
    await runtime.clock.advance(0);
    expect(budget.getState().waiting).toBe(1);
    held.settle(30);
    expect(await waiting).toMatchObject({ ok: false, refused: true, error: { spent: 30 } });
    await expect(budget.reserveWhenFree(71)).rejects.toThrow(BudgetExceededError);
    expect(log.flatMap((event) => (event.type === "budget.exceeded" ? [event.decision] : []))).toEqual([
      "queued",
      "denied",
      "denied",
    ]);
  });

  test("an abort ends the wait with its reason, and lets those behind go on (C1.6)", async () => {
    const runtime = fakeRuntime();
    const budget = new Budget({ limitTokens: 100, onExhausted: "queue", estimate: 80 }, runtime);
    const held = budget.reserve(50);
    const caller = new AbortController();
    const aborted = budget.execute(() => expect.unreachable(), { signal: caller.signal }).catch((thrown) => thrown);
    const behind = budget.reserveWhenFree(20);
    await runtime.clock.advance(0);
    caller.abort("changed my mind");
    expect(await aborted).toBe("changed my mind");
    expect((await behind).amount).toBe(20);
    expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
    held.release();
    expect(budget.getState()).toMatchObject({ reserved: 20, waiting: 0 });
  });

  test("an abort right after the hand-off gives the amount back (C1.6)", async () => {
    const budget = new Budget({ limitTokens: 100, onExhausted: "queue", estimate: 80 });
    const held = budget.reserve(50);
    const caller = new AbortController();
    const aborted = budget.execute(() => expect.unreachable(), { signal: caller.signal }).catch((thrown) => thrown);
    held.release();
    caller.abort("too late");
    expect(await aborted).toBe("too late");
    expect(budget.getState()).toMatchObject({ reserved: 0, waiting: 0 });
  });

  test("an abort in any microtask after the hand-off gives the amount back or reaches the operation (C1.6)", async () => {
    for (let ticks = 0; ticks < 10; ticks++)
      for (const way of ["execute", "executeOutcome"] as const) {
        const budget = new Budget({ limitTokens: 100, onExhausted: "queue", estimate: 80, cost: () => 0 });
        const held = budget.reserve(50);
        const caller = new AbortController();
        let abortedAtStart: boolean | undefined;
        const operation = ({ aborted }: Call): boolean => (abortedAtStart = aborted);
        const settled = budget[way](operation, { signal: caller.signal }).catch(() => {});
        held.release();
        for (let i = 0; i < ticks; i++) await Promise.resolve();
        caller.abort("gone");
        await settled;
        expect(abortedAtStart).not.toBe(true);
        expect(budget.getState()).toMatchObject({ spent: 0, reserved: 0, unconfirmed: 0, waiting: 0 });
      }
  });

  test("the deadline ends the wait with a refusal, and no timer is left (C3.1, C0.4)", async () => {
    const runtime = fakeRuntime();
    const budget = new Budget({ limitCalls: 1, onExhausted: "queue" }, runtime);
    const held = budget.reserve(1);
    await runtime.clock.advance(1_000);
    const unbounded = budget.reserveWhenFree(1);
    await runtime.clock.advance(0);
    // A wait that has no end needs no timer.
    expect(runtime.clock.pendingTimers).toBe(0);
    held.release();
    const again = await unbounded;
    const late = budget.executeOutcome(() => expect.unreachable(), { deadlineMs: 100 });
    const intime = budget.executeOutcome(() => "served", { deadlineMs: 500 });
    await runtime.clock.advance(99);
    expect(budget.getState().waiting).toBe(2);
    await runtime.clock.advance(1);
    expect(await late).toMatchObject({ ok: false, refused: true });
    again.release();
    expect(await intime).toEqual({ ok: true, value: "served" });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a call whose deadline has passed does not stand in line (C3.1)", async () => {
    const runtime = fakeRuntime();
    const budget = new Budget({ limitCalls: 1, onExhausted: "queue" }, runtime);
    budget.reserve(1);
    const call = callFrom(runtime.clock, { deadlineMs: 10 });
    await runtime.clock.advance(10);
    const late = budget.reserveWhenFree(1, call).catch((thrown: unknown) => thrown);
    expect(budget.getState().waiting).toBe(0);
    expect(await late).toBeInstanceOf(BudgetExceededError);
  });

  test("a call that waited runs in the async context of the one who made it (C3.7)", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const budget = new Budget({ limitCalls: 1, estimate: 1, onExhausted: "queue" });
    const held = budget.reserve(1);
    const waiting = tenant.run("its own", () => budget.execute(() => tenant.getStore()));
    tenant.run("another", () => held.release());
    expect(await waiting).toBe("its own");
  });

  test("no more than maxQueue wait; one more is refused at once", async () => {
    const budget = new Budget({ limitCalls: 1, onExhausted: "queue", maxQueue: 1 });
    const held = budget.reserve(1);
    const waiting = budget.execute(() => "served");
    await expect(budget.execute(() => expect.unreachable())).rejects.toThrow(BudgetExceededError);
    held.release();
    expect(await waiting).toBe("served");
  });
});

test("a dry run lets everything through, counts and says what it would have done (C2.10)", async () => {
  for (const [onExhausted, decision] of [
    ["deny", "denied"],
    ["degrade", "degraded"],
    ["queue", "queued"],
  ] as const) {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const budget = new Budget({ limitTokens: 10, estimate: () => 8, onExhausted, dryRun: true }, runtime);
    for (let i = 0; i < 3; i++) expect(await budget.execute(({ degraded }) => degraded)).toBe(false);
    expect(budget.getState()).toMatchObject({ spent: 24, refused: 2, remaining: 0 });
    const reported = log.filter((event) => event.type === "budget.exceeded" && event.decision === decision);
    expect(reported).toMatchObject([{ dryRun: true }, { dryRun: true }]);
    // Nothing that only watches raises an alarm.
    expect(log.filter((event) => "dryRun" in event && !event.dryRun)).toEqual([]);
  }
});
