import fc from "fast-check";
import { expect, test } from "vitest";
import { Pipeline } from "../core/pipeline.ts";
import type { Policy } from "../core/policy.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { Budget } from "./budget.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import { Bulkhead } from "./bulkhead.ts";
import { Chaos } from "./chaos.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Hedge } from "./hedge.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { ResourceLock } from "./resource-lock.ts";
import { RetryPolicy } from "./retry.ts";
import { RetryBudget } from "./retry-budget.ts";
import { Timeout } from "./timeout.ts";

const YEAR = 365 * 24 * 3_600_000;

/** Every policy that looks at a clock. */
const LAYERS: ((runtime: FakeRuntime) => Policy<unknown>)[] = [
  (runtime) => new RetryPolicy({ initialDelayMs: 30, retryBudget: new RetryBudget({ capacity: 2 }, runtime) }, runtime),
  (runtime) => new CircuitBreaker({ failureThreshold: 2, recoveryTimeoutMs: 60, probeTimeoutMs: 50 }, runtime),
  (runtime) =>
    new CircuitBreaker({ window: { kind: "time", sizeMs: 200 }, slowCallMs: 30, recoveryTimeoutMs: 70 }, runtime),
  (runtime) => new Timeout({ attemptTimeoutMs: 30 }, runtime),
  (runtime) => new Timeout({ totalTimeoutMs: 150 }, runtime),
  (runtime) => new AdaptiveConcurrency({ maxLimit: 1, maxQueue: 2, queueTimeoutMs: 50 }, runtime),
  (runtime) => new Bulkhead({ maxConcurrent: 1, maxQueue: 2, queueTimeoutMs: 50 }, runtime),
  (runtime) => new ResourceLock({ acquireTimeoutMs: 60, contentionThresholdMs: 20 }, runtime),
  (runtime) => new RateLimiter({ limits: { requests: { limit: 2, intervalMs: 60 } }, maxWaitMs: 80 }, runtime),
  (runtime) =>
    new RateLimiter({ limits: { requests: { limit: 2, intervalMs: 60, algorithm: "sliding-window" } } }, runtime),
  (runtime) => new Budget({ limitCalls: 9, onExhausted: "queue" }, runtime),
  (runtime) => new Hedge({ delayMs: 20, maxExtraShare: 1 }, runtime),
  (runtime) => new Hedge({ delayMs: 20, percentile: 50, minimumCalls: 2, maxExtraShare: 1 }, runtime),
  (runtime) => new Chaos({ enabled: true, inject: [{ rate: 0.5, latencyMs: 25 }] }, runtime),
];

interface Step {
  afterMs: number;
  tookMs: number;
  fails: boolean;
  deadlineMs: number | undefined;
  jumpMs: number;
}

/** All that happens, by the monotonic clock. */
async function story(layers: readonly number[], steps: readonly Step[], jumps: boolean): Promise<unknown[]> {
  const runtime = fakeRuntime();
  const { clock } = runtime;
  const log = record(runtime.events);
  const policy = new Pipeline(
    layers.map((layer) => LAYERS[layer]!(runtime)),
    runtime,
  );
  const told: unknown[] = [];
  for (const [i, { afterMs, tookMs, fails, deadlineMs, jumpMs }] of steps.entries()) {
    await clock.advance(afterMs);
    if (jumps) clock.jumpWall(jumpMs);
    const operation = async (): Promise<string> => {
      told.push([i, "called", clock.now()]);
      // Also while the call is under way.
      if (jumps) clock.jumpWall(-jumpMs / 2);
      await clock.sleep(tookMs);
      if (fails) throw new Error("down");
      return "up";
    };
    void policy.executeOutcome(operation, { deadlineMs }).then((outcome) => {
      told.push([i, outcome.ok ? "ok" : String(outcome.error), clock.now()]);
    });
  }
  await clock.advance(2_000);
  return [told, log.map(({ at: _, ...event }) => event)];
}

test("a wall clock that jumps by up to a year, either way, changes nothing that any policy does (C0.4)", async () => {
  const step = fc.record({
    afterMs: fc.constantFrom(0, 3, 40, 90),
    tookMs: fc.constantFrom(0, 10, 45),
    fails: fc.boolean(),
    deadlineMs: fc.constantFrom(undefined, undefined, 70),
    jumpMs: fc.oneof(fc.integer({ min: -YEAR, max: YEAR }), fc.constantFrom(-3_600_000, -50, 50, 3_600_000)),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(LAYERS.length - 1), { minLength: 1, maxLength: 5 }),
      fc.array(step, { minLength: 1, maxLength: 6 }),
      async (layers, steps) => {
        expect(await story(layers, steps, true)).toEqual(await story(layers, steps, false));
      },
    ),
    { numRuns: 200 },
  );
});
