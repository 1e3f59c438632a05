import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RetryExhaustedError } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import type { Operation, Policy } from "../core/policy.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { Bulkhead } from "./bulkhead.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Fallback } from "./fallback.ts";
import { Hedge } from "./hedge.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { ResourceLock } from "./resource-lock.ts";
import { RetryPolicy } from "./retry.ts";
import { RetryBudget } from "./retry-budget.ts";
import { Timeout } from "./timeout.ts";

type Layer =
  | { kind: "retry"; maxAttempts: number; initialDelayMs: number; budget: boolean }
  | { kind: "hedge"; maxHedges: number; delayMs: number }
  | { kind: "timeout"; attemptTimeoutMs: number }
  | { kind: "breaker" | "limiter" | "fallback" }
  | { kind: "bulkhead" | "lock"; slots: number }
  | { kind: "pipeline"; layers: Layer[] };

const { layers } = fc.letrec<{ layer: Layer; layers: Layer[] }>((tie) => ({
  layers: fc.array(tie("layer"), { maxLength: 5, depthIdentifier: "pipelines" }),
  layer: fc.oneof(
    { depthIdentifier: "pipelines", maxDepth: 2 },
    fc.record({
      kind: fc.constant("retry" as const),
      maxAttempts: fc.integer({ min: 1, max: 4 }),
      initialDelayMs: fc.constantFrom(0, 5, 40),
      budget: fc.boolean(),
    }),
    fc.record({
      kind: fc.constant("hedge" as const),
      maxHedges: fc.integer({ min: 1, max: 2 }),
      delayMs: fc.constantFrom(5, 30),
    }),
    fc.record({ kind: fc.constant("timeout" as const), attemptTimeoutMs: fc.constantFrom(10, 60, 150) }),
    fc.record({ kind: fc.constantFrom("breaker" as const, "limiter" as const, "fallback" as const) }),
    fc.record({ kind: fc.constantFrom("bulkhead" as const, "lock" as const), slots: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant("pipeline" as const), layers: tie("layers") }),
  ),
}));

/** Policies as the layers say, and what of them holds something while a call is under way. */
interface Built {
  policies: Policy<unknown>[];
  held: (() => number)[];
}

function build(layersOf: readonly Layer[], runtime: FakeRuntime, retryBudget: RetryBudget): Built {
  const held: (() => number)[] = [];
  const policies = layersOf.map((layer): Policy<unknown> => {
    switch (layer.kind) {
      case "retry": {
        const { maxAttempts, initialDelayMs } = layer;
        const options = { maxAttempts, initialDelayMs, maxDelayMs: 50 };
        return new RetryPolicy(layer.budget ? { ...options, retryBudget } : options, runtime);
      }
      case "hedge":
        return new Hedge({ delayMs: layer.delayMs, maxHedges: layer.maxHedges, maxExtraShare: 1 }, runtime);
      case "timeout":
        return new Timeout({ attemptTimeoutMs: layer.attemptTimeoutMs }, runtime);
      case "breaker":
        return new CircuitBreaker({ failureThreshold: 3, recoveryTimeoutMs: 30 }, runtime);
      case "limiter": {
        const limiter = new RateLimiter({ limits: { requests: { limit: 3, intervalMs: 40 } } }, runtime);
        held.push(() => limiter.getStats().waiting);
        return limiter;
      }
      case "fallback":
        return new Fallback({ fallback: () => Promise.reject(new Error("no fallback either")) }, runtime);
      case "bulkhead": {
        const bulkhead = new Bulkhead({ maxConcurrent: layer.slots, maxQueue: 2, queueTimeoutMs: 60 }, runtime);
        held.push(() => bulkhead.getStats().active + bulkhead.getStats().queued);
        return bulkhead;
      }
      case "lock": {
        const lock = new ResourceLock({ maxConcurrent: layer.slots, acquireTimeoutMs: 60 }, runtime);
        held.push(() => lock.getStats().currentHolders.length);
        return lock;
      }
      case "pipeline": {
        const inner = build(layer.layers, runtime, retryBudget);
        held.push(...inner.held);
        return new Pipeline(inner.policies, runtime);
      }
    }
  });
  return { policies, held };
}

/**
 * The most calls that may come of one, from the inside out. A retry multiplies what it is given, except where all that
 * fails inside it has already been given up by another: what cuts in between, such as a timeout, hides that.
 */
function bound(layersOf: readonly Layer[]): number {
  let calls = 1;
  let givenUp = false;
  for (const layer of flat(layersOf).toReversed()) {
    if (layer.kind === "retry") {
      if (!givenUp) calls *= layer.maxAttempts;
      givenUp = true;
    } else if (layer.kind === "hedge") {
      calls *= 1 + layer.maxHedges;
    } else if (layer.kind !== "fallback") givenUp = false;
  }
  return calls;
}

function flat(layersOf: readonly Layer[]): Exclude<Layer, { kind: "pipeline" }>[] {
  return layersOf.flatMap((layer) => (layer.kind === "pipeline" ? flat(layer.layers) : [layer]));
}

type Behaviour = "error" | "throw" | "slow error" | "deaf" | "value" | "slow value";

const behaviours = fc.array(
  fc.constantFrom<Behaviour>("error", "error", "throw", "slow error", "deaf", "value", "slow value"),
  { minLength: 1, maxLength: 6 },
);

/** Behaves so in turn. One that is deaf goes on after its signal has aborted, and ends some time. */
function operationOf(turns: readonly Behaviour[], runtime: FakeRuntime, called: () => number): Operation<unknown> {
  const fail = (): never => {
    throw new Error("down");
  };
  return (call) => {
    const behaviour = turns[called() % turns.length]!;
    const { clock } = runtime;
    if (behaviour === "throw") return fail();
    if (behaviour === "error") return Promise.reject(new Error("down"));
    if (behaviour === "value") return "up";
    if (behaviour === "deaf") return clock.sleep(120).then(fail);
    return clock.sleep(25, call.signal).then(behaviour === "slow value" ? () => "up" : fail);
  };
}

const TOTAL_MS = 300;
const TICK_MS = 50;

describe("whatever policies stand in whatever order around an operation", () => {
  test("it is called no more often than they declare, never once the call has settled, and that is a tick after its deadline at the latest (C0.8, C3.1)", async () => {
    let mostCalls = 0;
    await fc.assert(
      fc.asyncProperty(layers, behaviours, fc.integer({ min: 1, max: 4 }), async (layersOf, turns, callers) => {
        const runtime = fakeRuntime();
        const { policies, held } = build(layersOf, runtime, new RetryBudget({ capacity: 20 }, runtime));
        const policy = new Pipeline([new Timeout({ totalTimeoutMs: TOTAL_MS }, runtime), ...policies], runtime);
        const { signal } = new AbortController();
        const calls: number[] = [];
        const tookMs: number[] = [];
        let turn = 0;
        let afterTheEnd = 0;
        for (let caller = 0; caller < callers; caller++) {
          let settled = false;
          calls.push(0);
          const operation = operationOf(turns, runtime, () => {
            if (settled) afterTheEnd++;
            calls[caller]!++;
            return turn++;
          });
          const startedAt = runtime.clock.now();
          void policy.executeOutcome(operation, { signal }).then(() => {
            settled = true;
            tookMs.push(runtime.clock.now() - startedAt);
          });
          await runtime.clock.advance(7);
        }
        await runtime.clock.advance(5_000);
        expect(tookMs).toHaveLength(callers);
        expect(Math.max(...tookMs)).toBeLessThanOrEqual(TOTAL_MS + TICK_MS);
        expect(afterTheEnd).toBe(0);
        expect(Math.max(...calls)).toBeLessThanOrEqual(bound(layersOf));
        expect(held.map((of) => of())).toEqual(held.map(() => 0));
        mostCalls = Math.max(mostCalls, ...calls);
      }),
      { numRuns: 400 },
    );
    expect(mostCalls).toBeGreaterThan(4);
  });

  test("nested retries make as many calls as the innermost, and the error says how many (C0.2, C0.8)", async () => {
    const attempts = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(attempts, async (nested) => {
        const runtime = fakeRuntime();
        const policy = new Pipeline(
          nested.map((maxAttempts) => new RetryPolicy({ maxAttempts, strategy: "immediate" }, runtime)),
          runtime,
        );
        let calls = 0;
        const outcome = policy.executeOutcome(() => (calls++, Promise.reject(new Error("down"))));
        await runtime.clock.advance(10);
        expect(calls).toBe(nested.at(-1));
        const { error } = (await outcome) as { error: unknown };
        expect(error).toBeInstanceOf(RetryExhaustedError);
        expect((error as RetryExhaustedError).attempts).toBe(calls);
      }),
    );
  });

  test("nested retries that share a budget make no more extra calls than it has (C1.7)", async () => {
    const runtime = fakeRuntime();
    const retryBudget = new RetryBudget({ capacity: 3, ratio: 0, minRetriesPerSecond: 0 }, runtime);
    const retry = (maxAttempts: number): RetryPolicy =>
      new RetryPolicy({ maxAttempts, initialDelayMs: 1, retryBudget }, runtime);
    // The timeout hides from the outer retry that the inner one has given up, so the two would multiply.
    const policy = new Pipeline([retry(5), new Timeout({ attemptTimeoutMs: 20 }, runtime), retry(5)], runtime);
    let calls = 0;
    const outcome = policy.executeOutcome(async ({ signal }) => {
      calls++;
      await runtime.clock.sleep(15, signal);
      throw new Error("down");
    });
    await runtime.clock.advance(1_000);
    expect((await outcome).ok).toBe(false);
    expect(calls).toBe(4);
  });
});
