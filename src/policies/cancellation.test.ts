import { getEventListeners } from "node:events";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Clock, type Timer } from "../core/clock.ts";
import { causesOf, HoldfastError } from "../core/errors.ts";
import { Events } from "../core/events.ts";
import { Pipeline } from "../core/pipeline.ts";
import type { Operation, Outcome, Policy } from "../core/policy.ts";
import { seededRandom } from "../core/random.ts";
import type { Runtime } from "../core/runtime.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import { Budget } from "./budget.ts";
import { Bulkhead } from "./bulkhead.ts";
import { Chaos } from "./chaos.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Fallback } from "./fallback.ts";
import { Hedge } from "./hedge.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { ResourceLock } from "./resource-lock.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

/** A clock that goes from one timer to the next, so that a test can stop between any two steps of the microtasks. */
class SteppedClock extends Clock {
  #now = 0;
  readonly #timers = new Set<{ due: number; fn: () => void; referenced: boolean }>();

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#now;
  }

  timer(delayMs: number, fn: () => void): Timer {
    const entry = { due: this.#now + Math.max(0, delayMs), fn, referenced: true };
    this.#timers.add(entry);
    return {
      cancel: () => void this.#timers.delete(entry),
      ref: () => void (entry.referenced = true),
      unref: () => void (entry.referenced = false),
    };
  }

  afterTurn(fn: () => void): void {
    setImmediate(fn);
  }

  get pendingTimers(): number {
    return [...this.#timers].filter(({ referenced }) => referenced).length;
  }

  /** Fires the timer that is due next, and no more; false where there is none. */
  fireNext(): boolean {
    const [next] = [...this.#timers].sort((a, b) => a.due - b.due);
    if (next === undefined) return false;
    this.#timers.delete(next);
    this.#now = Math.max(this.#now, next.due);
    next.fn();
    return true;
  }
}

interface World {
  clock: SteppedClock;
  runtime: Runtime;
}

function world(): World {
  const clock = new SteppedClock();
  return { clock, runtime: { clock, random: seededRandom(7), events: new Events(clock) } };
}

/** Each policy in a state in which a call has to wait for something, where it has one. */
const POLICIES: Record<string, (runtime: Runtime) => Policy<unknown>> = {
  retry: (runtime) => new RetryPolicy({ maxAttempts: 4, initialDelayMs: 30, jitter: "none" }, runtime),
  breaker: (runtime) => new CircuitBreaker({ failureThreshold: 2, recoveryTimeoutMs: 20 }, runtime),
  "attempt timeout": (runtime) => new Timeout({ attemptTimeoutMs: 15 }, runtime),
  "shared timeout": (runtime) => new Timeout({ totalTimeoutMs: 120 }, runtime),
  bulkhead: (runtime) => new Bulkhead({ maxConcurrent: 1, maxQueue: 9, queueTimeoutMs: 500 }, runtime),
  "adaptive concurrency": (runtime) =>
    new AdaptiveConcurrency({ initialLimit: 1, maxLimit: 2, maxQueue: 9, queueTimeoutMs: 500 }, runtime),
  lock: (runtime) => new ResourceLock({ acquireTimeoutMs: 500, contentionThresholdMs: 5 }, runtime),
  limiter: (runtime) => new RateLimiter({ limits: { requests: { limit: 1, intervalMs: 25 } } }, runtime),
  budget: (runtime) => new Budget({ limitTokens: 3, estimate: 2, cost: () => 0, onExhausted: "queue" }, runtime),
  hedge: (runtime) => new Hedge({ delayMs: 8, maxHedges: 2, maxExtraShare: 1 }, runtime),
  fallback: (runtime) => new Fallback({ fallback: [() => Promise.reject(new Down()), 0] }, runtime),
  "slow fallback": (runtime) =>
    new Fallback({ fallback: ({ signal }) => runtime.clock.sleep(12, signal).then(() => 0) }, runtime),
  chaos: (runtime) => new Chaos({ enabled: true, inject: [{ count: 2, latencyMs: 10 }] }, runtime),
};

class Down extends Error {}

const isOurs = (error: unknown): boolean => error instanceof HoldfastError && error.code !== "CONFIG";

type Ending = "value" | "error" | "slow value" | "slow error";

const MICROTASKS = 40;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Two calls go before and one follows whose caller aborts at step `abortAt`: after so many steps of the microtask
 * queue, counted over the whole life of the calls, timers between them. False where that was longer than they lived.
 */
async function live(layers: readonly string[], endings: readonly Ending[], abortAt: number): Promise<boolean> {
  const { clock, runtime } = world();
  const policy = new Pipeline(
    layers.map((layer) => POLICIES[layer]!(runtime)),
    runtime,
  );
  const reason = new Error("the caller has gone");
  const before = new AbortController();
  const caller = new AbortController();
  let turns = 0;
  let calledAfter = 0;
  const operation =
    (watched: boolean): Operation<unknown> =>
    async ({ signal }) => {
      if (watched && caller.signal.aborted) calledAfter++;
      const ending = endings[turns++ % endings.length]!;
      if (ending.startsWith("slow")) await clock.sleep(20, signal);
      if (ending.endsWith("value")) return 1;
      throw new Down();
    };
  for (let i = 0; i < 2; i++) void policy.executeOutcome(operation(false), { signal: before.signal });
  let outcome: Outcome<unknown> | undefined;
  void policy.executeOutcome(operation(true), { signal: caller.signal }).then((value) => (outcome = value));

  let steps = 0;
  /** Nothing but a timer could move the calls on. */
  let atRest = false;
  const abort = async (): Promise<void> => {
    const already = outcome;
    caller.abort(reason);
    await turn();
    expect(outcome).toBeDefined();
    if (already !== undefined || outcome!.ok) return;
    const { error } = outcome!;
    // On the way between two waits it may have failed already, which is then what its caller is told.
    if (atRest) expect(error).toBe(reason);
    else expect(causesOf(error).some((link) => link === reason || link instanceof Down || isOurs(link))).toBe(true);
  };
  do {
    for (let i = 0; i < MICROTASKS; i++) {
      if (steps++ === abortAt) await abort();
      await Promise.resolve();
    }
    await turn();
    atRest = true;
    if (steps++ === abortAt) await abort();
    atRest = false;
  } while (clock.fireNext());
  expect(outcome).toBeDefined();
  expect(calledAfter).toBe(0);
  expect(clock.pendingTimers).toBe(0);
  for (const { signal } of [before, caller]) expect(getEventListeners(signal, "abort")).toHaveLength(0);
  return caller.signal.aborted;
}

const NAMES = Object.keys(POLICIES);
const ENDINGS: Ending[][] = [["slow value"], ["slow error"], ["error", "slow value"]];

test.each(NAMES)(
  "%s: an abort at any step ends the call within a macrotask, calls nothing afterwards and leaves nothing (C1.6, C3.1, C3.2)",
  async (policy) => {
    for (const endings of ENDINGS) {
      let step = 0;
      while (await live([policy], endings, step)) step++;
      expect(step).toBeGreaterThan(MICROTASKS);
    }
  },
);

test("so it does in any pipeline, at any step (C1.6, C3.1, C3.2)", async () => {
  const layers = fc.array(fc.constantFrom(...NAMES), { minLength: 2, maxLength: 5 });
  const endings = fc.array(fc.constantFrom<Ending>("value", "error", "slow value", "slow error"), {
    minLength: 1,
    maxLength: 4,
  });
  const step = fc.oneof(fc.nat(60), fc.nat(600));
  await fc.assert(
    fc.asyncProperty(layers, endings, step, async (some, ends, at) => void (await live(some, ends, at))),
    { numRuns: 600 },
  );
});
