import { AsyncLocalStorage } from "node:async_hooks";
import { expect, test } from "vitest";
import type { Policy } from "../core/policy.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { Budget } from "./budget.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import { Bulkhead } from "./bulkhead.ts";
import { Chaos } from "./chaos.ts";
import { Fallback } from "./fallback.ts";
import { Hedge } from "./hedge.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { ResourceLock } from "./resource-lock.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

const tenant = new AsyncLocalStorage<string>();

/** Each policy in which a call waits, for a time or for what another gives back. */
const WAITING: Record<string, (runtime: FakeRuntime) => Policy<unknown>> = {
  retry: (runtime) => new RetryPolicy({ initialDelayMs: 10 }, runtime),
  bulkhead: (runtime) => new Bulkhead({ maxConcurrent: 1, maxQueue: 9 }, runtime),
  "adaptive concurrency": (runtime) => new AdaptiveConcurrency({ maxLimit: 1, maxQueue: 9 }, runtime),
  "bulkhead with a limit of its queue": (runtime) =>
    new Bulkhead({ maxConcurrent: 1, maxQueue: 9, queueTimeoutMs: 9_000 }, runtime),
  lock: (runtime) => new ResourceLock({}, runtime),
  limiter: (runtime) => new RateLimiter({ limits: { requests: { limit: 1, intervalMs: 10 } } }, runtime),
  budget: (runtime) => new Budget({ limitTokens: 1, estimate: 1, cost: () => 0, onExhausted: "queue" }, runtime),
  // Its hedges start from a timer, and only those of the machine keep the context: hedge.test.ts has them.
  hedge: (runtime) => new Hedge({ delayMs: 50, maxExtraShare: 1 }, runtime),
  chaos: (runtime) => new Chaos({ enabled: true, inject: [{ rate: 1, latencyMs: 5 }] }, runtime),
  fallback: (runtime) => new Fallback({ fallback: () => tenant.getStore() }, runtime),
  timeout: (runtime) => new Timeout({ attemptTimeoutMs: 500 }, runtime),
};

test.each(Object.entries(WAITING))(
  "%s: each operation runs in the async context of its own caller, whoever let it through (C3.2)",
  async (name, build) => {
    const runtime = fakeRuntime();
    const policy = build(runtime);
    const seen: string[] = [];
    const tenants = ["a", "b", "c", "d"];
    const settled = tenants.map((of) =>
      tenant.run(of, async () => {
        let calls = 0;
        const value = await policy.execute(async () => {
          seen.push(`${of} runs as ${tenant.getStore()}`);
          await runtime.clock.sleep(10);
          if ((name === "retry" && ++calls < 3) || name === "fallback") throw new Error("down");
          return tenant.getStore();
        });
        expect(value).toBe(of);
        expect(tenant.getStore()).toBe(of);
      }),
    );
    await runtime.clock.advance(20_000);
    await Promise.all(settled);
    expect(new Set(seen)).toEqual(new Set(tenants.map((of) => `${of} runs as ${of}`)));
  },
);
