import { getEventListeners } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Call } from "../core/call.ts";
import { Pipeline } from "../core/pipeline.ts";
import type { Policy } from "../core/policy.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import { Chaos } from "./chaos.ts";
import { Budget } from "./budget.ts";
import { Bulkhead } from "./bulkhead.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Fallback } from "./fallback.ts";
import { Hedge } from "./hedge.ts";
import { ResourceLock } from "./resource-lock.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { RetryPolicy } from "./retry.ts";
import { RetryBudget } from "./retry-budget.ts";
import { Timeout } from "./timeout.ts";

/** How to build one layer. */
const LAYERS: ((runtime: FakeRuntime) => Policy<unknown>)[] = [
  (runtime) => new RetryPolicy({ initialDelayMs: 40, maxDelayMs: 90 }, runtime),
  (runtime) => new CircuitBreaker({ failureThreshold: 2, recoveryTimeoutMs: 60, probeTimeoutMs: 50 }, runtime),
  (runtime) => new CircuitBreaker({ failureThreshold: 2, fallback: "open", fallbackOn: "any" }, runtime),
  (runtime) => new Bulkhead({ maxConcurrent: 1, maxQueue: 1, queueTimeoutMs: 70 }, runtime),
  (runtime) => new AdaptiveConcurrency({ initialLimit: 1, maxLimit: 2, maxQueue: 1, queueTimeoutMs: 70 }, runtime),
  (runtime) => new ResourceLock({ acquireTimeoutMs: 80, contentionThresholdMs: 20 }, runtime),
  (runtime) => new Budget({ limitTokens: 5, estimate: 2, cost: () => 0, onExhausted: "queue" }, runtime),
  (runtime) => new RetryPolicy({ initialDelayMs: 20, retryBudget: new RetryBudget({ capacity: 2 }, runtime) }, runtime),
  (runtime) => new Timeout({ attemptTimeoutMs: 30 }, runtime),
  (runtime) => new RateLimiter({ limits: { requests: { limit: 2, intervalMs: 50 } }, maxWaitMs: 60 }, runtime),
  (runtime) => new Timeout({ totalTimeoutMs: 130 }, runtime),
  (runtime) => new Hedge({ delayMs: 25, maxHedges: 2, maxExtraShare: 1 }, runtime),
  (runtime) => new Hedge({ delayMs: 50, percentile: 80, minimumCalls: 2, maxExtraShare: 1 }, runtime),
  (runtime) =>
    new Chaos(
      {
        enabled: true,
        inject: [
          { rate: 0.3, latencyMs: 35 },
          { rate: 0.3, fault: () => "chaos" },
        ],
      },
      runtime,
    ),
  (runtime) => new Fallback({ fallback: [() => Promise.reject(new Error("no cache")), "stale"] }, runtime),
];

type Behaviour = "value" | "error" | "throw" | "slow" | "slow error" | "hang until told" | "read signal";

/** An operation that behaves so in turn. All of them end some time, so that what is left then is a leak. */
function operationOf(behaviours: readonly Behaviour[], runtime: FakeRuntime): (call: Call) => unknown {
  let calls = 0;
  return (call) => {
    const behaviour = behaviours[calls++ % behaviours.length]!;
    switch (behaviour) {
      case "value":
        return behaviour;
      case "error":
        return Promise.reject(new Error(behaviour));
      case "throw":
        throw new Error(behaviour);
      case "slow":
        return runtime.clock.sleep(45);
      case "slow error":
        return runtime.clock.sleep(45).then(() => Promise.reject(new Error(behaviour)));
      case "hang until told":
        return runtime.clock.sleep(400, call.signal);
      case "read signal":
        return call.signal.aborted;
    }
  };
}

const given = fc.record({
  layers: fc.array(fc.nat(LAYERS.length - 1), { maxLength: 5 }),
  behaviours: fc.array(
    fc.constantFrom<Behaviour>("value", "error", "throw", "slow", "slow error", "hang until told", "read signal"),
    { minLength: 1, maxLength: 5 },
  ),
  calls: fc.array(
    fc.record({ after: fc.nat(60), abortAfter: fc.option(fc.nat(120)), deadlineMs: fc.option(fc.nat(200)) }),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
});

test("whatever policies stand around whatever operation, no timer, listener or rejection is left (C0.4, C1.6, C3.1)", async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): number => unhandled.push(reason);
  process.on("unhandledRejection", note);
  try {
    await fc.assert(
      fc.asyncProperty(given, async ({ layers, behaviours, calls }) => {
        const runtime = fakeRuntime();
        const policy = new Pipeline(
          layers.map((layer) => LAYERS[layer]!(runtime)),
          runtime,
        );
        const operation = operationOf(behaviours, runtime);
        const caller = new AbortController();
        const signals: AbortSignal[] = [caller.signal];
        let open = calls.length;
        for (const { after, abortAfter, deadlineMs } of calls) {
          await runtime.clock.advance(after);
          // Some callers share a signal, as the calls of one run do; others cancel.
          const controller = abortAfter === null ? caller : new AbortController();
          signals.push(controller.signal);
          const options = { signal: controller.signal, deadlineMs: deadlineMs ?? undefined };
          void policy.executeOutcome(operation, options).then(() => open--);
          if (abortAfter !== null) runtime.clock.timer(abortAfter, () => controller.abort());
        }
        await runtime.clock.advance(5_000);
        expect(open).toBe(0);
        expect(runtime.clock.pendingTimers).toBe(0);
        for (const signal of signals) expect(getEventListeners(signal, "abort")).toHaveLength(0);
      }),
      { numRuns: 150 },
    );
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", note);
  }
});

test("thirty thousand calls under one signal leave the heap as it was", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const runtime = fakeRuntime();
  const policy = new Pipeline(
    [
      new Timeout({ totalTimeoutMs: 5_000 }, runtime),
      new RetryPolicy({}, runtime),
      new CircuitBreaker({}, runtime),
      new Timeout({ attemptTimeoutMs: 1_000 }, runtime),
    ],
    runtime,
  );
  const { signal } = new AbortController();
  const run = async (calls: number): Promise<number> => {
    for (let i = 0; i < calls; i++) await policy.execute((call) => call.signal.aborted, { signal });
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = await run(5_000);
  const after = await run(30_000);
  expect(after - before).toBeLessThan(1024 * 1024);
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});
