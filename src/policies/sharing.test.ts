import { expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import type { SharedState } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { SqliteSharedState } from "../stores/sqlite-shared-state.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { Budget } from "./budget.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { ResourceLock } from "./resource-lock.ts";
import { sharing } from "./sharing.ts";

const POLICIES: Record<string, (place: SharedState) => CircuitBreaker | Budget | RateLimiter | ResourceLock> = {
  "circuitBreaker.sharedState": (sharedState) => new CircuitBreaker({ sharedState }),
  "budget.sharedState": (sharedState) => new Budget({ limitCalls: 1, sharedState }),
  "rateLimiter.sharedState": (sharedState) => new RateLimiter({ limits: { requests: { limit: 1 } }, sharedState }),
  "lock.lease": (lease) => new ResourceLock({ lease }),
};

test.each(Object.entries(POLICIES))(
  "%s takes a place of the user's own only with the code of sharing (C0.3)",
  async (option, policyWith) => {
    const place = new MemorySharedState({ clock: new FakeClock() });
    const keys: string[] = [];
    const update: SharedState["update"] = (key, change) => {
      keys.push(key);
      return place.update(key, change);
    };
    const bare = { update, close: () => place.close() };
    expect(() => policyWith(bare as SharedState)).toThrow(ConfigError);
    expect(() => policyWith(bare as SharedState)).toThrow(
      `${option} must be a shared state, such as openSharedState() gives; one of your own needs { update, close, sharing }`,
    );
    const policy = policyWith({ ...bare, sharing });
    expect(await policy.execute(() => "done")).toBe("done");
    expect(keys.length).toBeGreaterThan(0);
    expect(policy.describe().options).toMatchObject({ hasSharedState: true });
  },
);

test("every place of ours brings the same code along (C2.9)", () => {
  expect(new MemorySharedState().sharing).toBe(sharing);
  expect(new SqliteSharedState("never-opened.db").sharing).toBe(sharing);
});
