import { expectTypeOf, test } from "vitest";
import { Pipeline, pipeline } from "../core/pipeline.ts";
import type { Outcome, Served } from "../core/policy.ts";
import { Budget } from "./budget.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import { Bulkhead } from "./bulkhead.ts";
import { Chaos } from "./chaos.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { timeout } from "./decorate.ts";
import { Fallback } from "./fallback.ts";
import { Hedge } from "./hedge.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { ResourceLock } from "./resource-lock.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

// What is checked here is checked by the compiler: each function below is compiled and never called.

interface Customer {
  id: number;
}
const find = async (): Promise<Customer> => ({ id: 17 });

const retry = new RetryPolicy();
const total = new Timeout({ totalTimeoutMs: 1_000 });
const breaker = new CircuitBreaker();
const limiter = new RateLimiter({ limits: { requests: { limit: 1 } } });
const bulkhead = new Bulkhead({ maxConcurrent: 1 });
const adaptive = new AdaptiveConcurrency();
const lock = new ResourceLock();
const budget = new Budget({ limitCalls: 1 });
const hedge = new Hedge({ delayMs: 1 });
const attempt = new Timeout({ attemptTimeoutMs: 1 });
const chaos = new Chaos({});
const missing = new Fallback({ fallback: null });

test("the result is inferred through a pipeline of every policy (C3.10)", () => {
  void (async () => {
    const plain = pipeline(total, retry, breaker, limiter, bulkhead, adaptive, lock, budget, hedge, attempt, chaos);
    expectTypeOf(plain).toEqualTypeOf<Pipeline<never>>();
    expectTypeOf(await plain.execute(find)).toEqualTypeOf<Customer>();
    expectTypeOf(await plain.execute(() => "at once" as const)).toEqualTypeOf<"at once">();
    const all = pipeline(
      missing,
      total,
      retry,
      breaker,
      limiter,
      bulkhead,
      adaptive,
      lock,
      budget,
      hedge,
      attempt,
      chaos,
    );
    expectTypeOf(await all.execute(find)).toEqualTypeOf<Customer | null>();
  });
});

test("the result is inferred through thirty policies, wherever the fallbacks stand (C3.10)", () => {
  void (async () => {
    // prettier-ignore
    const thirty = pipeline(
      new Fallback({ fallback: "first" }), retry, breaker, attempt, retry, breaker, attempt, retry, breaker, attempt,
      retry, breaker, attempt, retry, new CircuitBreaker({ fallback: () => 15 }), attempt, retry, breaker, attempt, retry,
      retry, breaker, attempt, retry, breaker, attempt, retry, breaker, attempt,
      new Fallback({ fallback: [async () => true, undefined] }),
    );
    expectTypeOf(await thirty.execute(find)).toEqualTypeOf<Customer | "first" | number | boolean | undefined>();
  });
});

test("the result is inferred through pipelines in pipelines, each with a fallback of its own (C3.10)", () => {
  void (async () => {
    const inner = pipeline(new Fallback({ fallback: 1 as const }), retry);
    const middle = pipeline(new Fallback({ fallback: () => "two" as const }), inner, breaker);
    const outer = pipeline(new Fallback({ fallback: [() => Promise.resolve(3n)] }), middle, attempt);
    const outermost = pipeline(pipeline(pipeline(outer)));
    expectTypeOf(await outermost.execute(find)).toEqualTypeOf<Customer | 1 | "two" | bigint>();
  });
});

test("a list of policies that is put together at run time still gives the operation's type (C3.10)", () => {
  void (async () => {
    const policies = [retry, breaker, attempt];
    expectTypeOf(await pipeline(...policies).execute(find)).toEqualTypeOf<Customer>();
    expectTypeOf(await new Pipeline(policies).execute(find)).toEqualTypeOf<Customer>();
  });
});

test("a fallback that never returns adds nothing, and one that may be anything says so (C3.5)", () => {
  void (async () => {
    const throwing = new Fallback({
      fallback: (): never => {
        throw new Error("no");
      },
    });
    expectTypeOf(await throwing.execute(find)).toEqualTypeOf<Customer>();
    const unknown = new Fallback({ fallback: (): unknown => 1 });
    expectTypeOf(await unknown.execute(find)).toEqualTypeOf<unknown>();
    const object = new Fallback({ fallback: { id: 0, name: "nobody" } });
    expectTypeOf((await object.execute(find)).id).toEqualTypeOf<number>();
  });
});

test("an outcome is narrowed by ok, and by fallbackUsed (C10.1)", () => {
  void (async () => {
    const outcome = await pipeline(missing, retry).executeOutcome(find);
    expectTypeOf(outcome).toEqualTypeOf<Outcome<Customer | null>>();
    // @ts-expect-error there may be no value
    void outcome.value;
    if (outcome.ok) {
      expectTypeOf(outcome).toEqualTypeOf<Served<Customer | null>>();
      expectTypeOf(outcome.fallbackUsed).toEqualTypeOf<true | undefined>();
      // @ts-expect-error what was served was not refused
      void outcome.refused;
      return outcome.value;
    }
    expectTypeOf(outcome.error).toEqualTypeOf<unknown>();
    // @ts-expect-error a failure has no value
    return outcome.value as unknown;
  });
});

test("a wrapped function keeps parameters, optional and rest ones too, its generics and its this (C1.8)", () => {
  void (async () => {
    const search = retry.wrap(async (text: string, limit?: number, ...tags: symbol[]) => [text, limit, tags.length]);
    expectTypeOf(search).parameters.toEqualTypeOf<[text: string, limit?: number | undefined, ...tags: symbol[]]>();
    const first = pipeline(retry, missing).wrap(<T>(items: readonly T[]) => items[0]);
    expectTypeOf(await first(["a", "b"])).toEqualTypeOf<string | undefined | null>();
    expectTypeOf(await first([1])).toEqualTypeOf<number | undefined | null>();
    const bound = timeout({ attemptTimeoutMs: 1 })(function (this: Customer, by: number) {
      return this.id + by;
    });
    expectTypeOf(bound).thisParameter.toEqualTypeOf<Customer>();
    // @ts-expect-error `this` is a customer
    await bound(1);
    // @ts-expect-error a number is wanted
    await bound.call({ id: 1 }, "1");
  });
});

test("of overloads, the last is kept, which is as much as TypeScript tells of them (C1.8)", () => {
  void (async () => {
    function parse(text: string): number;
    function parse(bytes: Uint8Array): bigint;
    function parse(input: string | Uint8Array): number | bigint {
      return typeof input === "string" ? 1 : 1n;
    }
    expectTypeOf(await retry.wrap(parse)(new Uint8Array())).toEqualTypeOf<bigint>();
    // @ts-expect-error the first overload is gone
    await retry.wrap(parse)("1");
  });
});
