import { expect, expectTypeOf, test } from "vitest";
import { pipeline } from "../core/pipeline.ts";
import type { Outcome } from "../core/policy.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { circuitBreaker, fallback, retryWithBackoff } from "./decorate.ts";
import { Fallback, type FallbackInfo } from "./fallback.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

interface Customer {
  id: number;
}
const find = async (): Promise<Customer> => ({ id: 17 });
const retry = new RetryPolicy();
const breaker = new CircuitBreaker();
const timeout = new Timeout({ attemptTimeoutMs: 1_000 });

test("a policy without a fallback gives the operation's own type", async () => {
  const customer = await pipeline(retry, breaker, timeout).execute(find);
  expectTypeOf(customer).toEqualTypeOf<Customer>();
  expectTypeOf(await retry.execute(() => 5)).toEqualTypeOf<number>();
  expectTypeOf(await breaker.execute(find)).toEqualTypeOf<Customer>();
  expectTypeOf(await timeout.execute(find)).toEqualTypeOf<Customer>();
  expectTypeOf(await pipeline().execute(find)).toEqualTypeOf<Customer>();
  expect(customer).toEqual({ id: 17 });
});

test("a fallback adds what it may serve: a value, the result of a function, or any link of a chain (C3.5)", async () => {
  expectTypeOf(await new Fallback({ fallback: null }).execute(find)).toEqualTypeOf<Customer | null>();
  expectTypeOf(await new Fallback({ fallback: "none" }).execute(find)).toEqualTypeOf<Customer | "none">();
  const computed = new Fallback({ fallback: async ({ attempts }) => attempts });
  expectTypeOf(await computed.execute(find)).toEqualTypeOf<Customer | number>();
  const chain = new Fallback({ fallback: [() => true, async () => "cached" as const, undefined] });
  expectTypeOf(await chain.execute(find)).toEqualTypeOf<Customer | boolean | "cached" | undefined>();
  expect(await chain.execute(find)).toEqual({ id: 17 });
});

test("a pipeline adds up the fallbacks of all its policies, at any depth (C3.10)", async () => {
  const policy = pipeline(
    new Fallback({ fallback: "outer" }),
    retry,
    pipeline(new CircuitBreaker({ fallback: () => 0 }), timeout),
  );
  expectTypeOf(await policy.execute(find)).toEqualTypeOf<Customer | "outer" | number>();
  expectTypeOf(await policy.executeOutcome(find)).toEqualTypeOf<Outcome<Customer | "outer" | number>>();
  expect(await policy.execute(find)).toEqual({ id: 17 });
});

test("the function of a breaker's fallback knows what it is given (C3.5)", () => {
  const own = new CircuitBreaker({
    fallback: (info) => {
      expectTypeOf(info).toEqualTypeOf<FallbackInfo>();
      return info.attempts;
    },
  });
  expectTypeOf(own.execute(find)).resolves.toEqualTypeOf<Customer | number>();
});

test("a wrapped function keeps its this and its parameters, and gives a promise (C1.8)", async () => {
  const sum = retry.wrap((a: number, b: number) => a + b);
  expectTypeOf(sum).parameters.toEqualTypeOf<[number, number]>();
  expectTypeOf(sum).returns.toEqualTypeOf<Promise<number>>();
  const load = retryWithBackoff()(async (id: string) => ({ id }));
  expectTypeOf(load).returns.toEqualTypeOf<Promise<{ id: string }>>();
  const guarded = circuitBreaker({ fallback: null })(load);
  expectTypeOf(guarded).returns.toEqualTypeOf<Promise<{ id: string } | null>>();
  const served = fallback({ fallback: ["none"] })((id: string) => id.length);
  expectTypeOf(served).returns.toEqualTypeOf<Promise<number | "none">>();
  const method = retry.wrap(function (this: { base: number }, by: number) {
    return this.base + by;
  });
  expectTypeOf(method).thisParameter.toEqualTypeOf<{ base: number }>();
  expect(await method.call({ base: 1 }, 2)).toBe(3);
  expect(await sum(1, 2)).toBe(3);
});

test("an outcome is told apart by ok (C10.1)", async () => {
  const outcome = await pipeline(retry).executeOutcome(find);
  if (outcome.ok) {
    expectTypeOf(outcome.value).toEqualTypeOf<Customer>();
  } else {
    expectTypeOf(outcome.refused).toEqualTypeOf<boolean>();
    expectTypeOf(outcome.retryAfterMs).toEqualTypeOf<number | undefined>();
  }
  expect(outcome.ok).toBe(true);
});

test("an option that does not exist, or of another type, does not compile (C0.3)", () => {
  // @ts-expect-error there is no such option
  expect(() => new RetryPolicy({ maxAttempt: 3 })).toThrow("no option");
  // @ts-expect-error a number is meant
  expect(() => new Timeout({ attemptTimeoutMs: "1s" })).toThrow("must be");
  // @ts-expect-error there is no such strategy
  expect(() => new RetryPolicy({ strategy: "quadratic" })).toThrow("must be");
});
