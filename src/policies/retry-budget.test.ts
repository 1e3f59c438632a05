import fc from "fast-check";
import { expect, test } from "vitest";
import { CircuitBreakerOpenError, ConfigError, RetryExhaustedError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { RetryPolicy } from "./retry.ts";
import { RetryBudget } from "./retry-budget.ts";

const fail = (): never => {
  throw new Error("down");
};

function retryWith(runtime: FakeRuntime, retryBudget: RetryBudget | undefined, name = "mail"): RetryPolicy {
  return new RetryPolicy({ name, retryBudget, strategy: "immediate" }, runtime);
}

async function outcomeOf(runtime: FakeRuntime, settled: Promise<unknown>): Promise<unknown> {
  const caught = settled.catch((error: unknown) => error);
  await runtime.clock.advance(0);
  return caught;
}

test("ten calls pay for exactly one retry, and a second for one more (C1.7)", async () => {
  const runtime = fakeRuntime();
  const budget = new RetryBudget({}, runtime);
  for (let i = 0; i < 10; i++) expect(budget.take()).toBe(true);
  expect(budget.take()).toBe(false);
  for (let i = 0; i < 9; i++) budget.deposit();
  expect(budget.take()).toBe(false);
  budget.deposit();
  expect(budget.take()).toBe(true);
  expect(budget.take()).toBe(false);
  await runtime.clock.advance(999);
  expect(budget.take()).toBe(false);
  await runtime.clock.advance(1);
  expect(budget.available).toBe(1);
  expect(budget.take()).toBe(true);
  expect(budget.take()).toBe(false);
});

test("it keeps no more than its capacity, however many calls and hours pass (C1.7)", async () => {
  const runtime = fakeRuntime();
  const budget = new RetryBudget({ capacity: 3 }, runtime);
  for (let i = 0; i < 1000; i++) budget.deposit();
  expect(budget.available).toBe(3);
  await runtime.clock.advance(1e7);
  expect(budget.available).toBe(3);
});

test("a wall clock that jumps neither fills nor empties it (C0.4)", () => {
  const runtime = fakeRuntime();
  const budget = new RetryBudget({ capacity: 1 }, runtime);
  budget.take();
  runtime.clock.jumpWall(1e9);
  expect(budget.available).toBe(0);
  runtime.clock.jumpWall(-2e9);
  expect(budget.available).toBe(0);
});

test("when it is empty the last error is not retried, an event says so, and the error is marked (C1.7, C0.8)", async () => {
  const runtime = fakeRuntime();
  const log = record(runtime.events);
  const budget = new RetryBudget({ name: "shared", ratio: 0, minRetriesPerSecond: 0, capacity: 1 }, runtime);
  const error = new Error("down");
  let calls = 0;
  const retry = retryWith(runtime, budget);
  const thrown = await outcomeOf(
    runtime,
    retry.execute(() => (calls++, Promise.reject(error))),
  );
  expect(calls).toBe(2);
  expect(thrown).toBeInstanceOf(RetryExhaustedError);
  expect(thrown).toMatchObject({ attempts: 2, lastError: error, cause: error });
  expect((thrown as Error).message).toBe(
    'mail gave up after 2 attempts: the retry budget "shared" is empty. Last error: down',
  );
  expect(log.map(({ type }) => type)).toEqual(["retry.scheduled", "retry.budget_rejected"]);
  expect(log[1]).toMatchObject({ policy: "mail", budget: "shared", attempts: 2, error });
});

test("an outer retry does not repeat what the budget has stopped, whether it has one or not (C0.8, C1.7)", async () => {
  for (const outerBudget of [undefined, new RetryBudget()]) {
    const runtime = fakeRuntime();
    const empty = new RetryBudget({ ratio: 0, minRetriesPerSecond: 0, capacity: 1 }, runtime);
    empty.take();
    let calls = 0;
    const nested = pipeline(retryWith(runtime, outerBudget, "outer"), retryWith(runtime, empty, "inner"));
    await outcomeOf(
      runtime,
      nested.execute(() => (calls++, fail())),
    );
    expect(calls).toBe(1);
  }
});

test("an error that is final, a success and a last attempt take nothing (C1.7)", async () => {
  const runtime = fakeRuntime();
  const budget = new RetryBudget({ ratio: 0, minRetriesPerSecond: 0, capacity: 5 }, runtime);
  const retry = retryWith(runtime, budget);
  await retry.execute(() => 1);
  await outcomeOf(
    runtime,
    retry.execute(() => Promise.reject(new ConfigError("wrong"))),
  );
  expect(budget.available).toBe(5);
  await outcomeOf(runtime, retry.execute(fail));
  expect(budget.available).toBe(3);
});

test("a refusal that says when takes a token like any retry, and an empty budget marks it too (C0.8, C1.7)", async () => {
  const runtime = fakeRuntime();
  const budget = new RetryBudget({ ratio: 0, minRetriesPerSecond: 0, capacity: 1 }, runtime);
  const refuse = (): never => {
    throw new CircuitBreakerOpenError("crm", 5, 100);
  };
  const settled = retryWith(runtime, budget).executeOutcome(refuse);
  await runtime.clock.advance(1_000);
  expect(await settled).toMatchObject({ ok: false, error: { code: "RETRY_EXHAUSTED", attempts: 0 } });
});

test("a breaker outside still counts the failure behind an empty budget (C2.4)", async () => {
  const runtime = fakeRuntime();
  const budget = new RetryBudget({ ratio: 0, minRetriesPerSecond: 0, capacity: 1 }, runtime);
  budget.take();
  const breaker = new CircuitBreaker({ failureThreshold: 1 }, runtime);
  await outcomeOf(runtime, pipeline(breaker, retryWith(runtime, budget)).execute(fail));
  expect(breaker.state).toBe("OPEN");
});

test("each call of each policy pays its share, those that succeed too (C1.7)", async () => {
  const runtime = fakeRuntime();
  const budget = new RetryBudget({ ratio: 0.25, minRetriesPerSecond: 0, capacity: 1 }, runtime);
  const [first, second] = [retryWith(runtime, budget, "first"), retryWith(runtime, budget, "second")];
  budget.take();
  await first.execute(() => "well");
  await second.execute(() => "well");
  await outcomeOf(runtime, first.execute(fail));
  expect(budget.available).toBe(0.75);
  let calls = 0;
  await outcomeOf(
    runtime,
    second.execute(() => (calls++, fail())),
  );
  expect(calls).toBe(2);
  expect(budget.available).toBe(0);
});

test("without the option there is no limit but maxAttempts (C1.7)", async () => {
  const runtime = fakeRuntime();
  let calls = 0;
  const retry = retryWith(runtime, undefined);
  for (let i = 0; i < 100; i++)
    await outcomeOf(
      runtime,
      retry.execute(() => (calls++, fail())),
    );
  expect(calls).toBe(300);
});

test("in an outage, all policies that share it retry a tenth of the calls, plus the floor, plus what was kept (C1.7)", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        ratio: fc.constantFrom(0, 0.1, 0.25),
        minRetriesPerSecond: fc.constantFrom(0, 1, 7),
        capacity: fc.integer({ min: 1, max: 20 }),
      }),
      fc.array(fc.record({ policy: fc.nat(2), afterMs: fc.constantFrom(0, 0, 5, 130) }), { minLength: 20 }),
      async (options, calls) => {
        const runtime = fakeRuntime();
        const budget = new RetryBudget(options, runtime);
        const policies = ["a", "b", "c"].map((name) => retryWith(runtime, budget, name));
        let made = 0;
        for (const { policy, afterMs } of calls) {
          await runtime.clock.advance(afterMs);
          await outcomeOf(
            runtime,
            policies[policy]!.execute(() => (made++, fail())),
          );
        }
        const { ratio, minRetriesPerSecond, capacity } = options;
        const allowed = capacity + ratio * calls.length + (minRetriesPerSecond * runtime.clock.now()) / 1000;
        expect(made - calls.length).toBeLessThanOrEqual(allowed + 1e-6);
        // And no less than is allowed, where no token was lost at the brim.
        if (capacity === 20 && ratio === 0 && minRetriesPerSecond === 0)
          expect(made - calls.length).toBe(Math.min(20, 2 * calls.length));
      },
    ),
    { numRuns: 150 },
  );
});

test("options are checked, and a policy describes the budget it has (C0.3, C3.12)", () => {
  for (const options of [{ ratio: 1.5 }, { capacity: 0 }, { minRetriesPerSecond: -1 }, { rate: 1 }] as object[])
    expect(() => new RetryBudget(options)).toThrow(ConfigError);
  expect(() => new RetryBudget({ ratio: 1.5 })).toThrow("retryBudget.ratio must be a number from 0 to 1, got 1.5.");
  for (const retryBudget of [{}, { take: () => true }, { deposit: () => {} }])
    expect(() => new RetryPolicy({ retryBudget: retryBudget as unknown as RetryBudget })).toThrow(
      "retry.retryBudget must be a RetryBudget, got an object.",
    );
  expect(() => new RetryPolicy({ retryBudget: null as unknown as RetryBudget })).toThrow(
    "retry.retryBudget must be a RetryBudget, got null.",
  );
  expect(new RetryPolicy({ retryBudget: new RetryBudget() }).describe().options.retryBudget).toEqual({
    name: "retryBudget",
    ratio: 0.1,
    minRetriesPerSecond: 1,
    capacity: 10,
  });
});
