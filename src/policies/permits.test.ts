import fc from "fast-check";
import { expect, test } from "vitest";
import type { Policy } from "../core/policy.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import { Bulkhead } from "./bulkhead.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { ResourceLock } from "./resource-lock.ts";

interface Kind {
  /** A policy that lets so many operations run at the same time. */
  build(permits: number, runtime: FakeRuntime): Promise<Policy<unknown>>;
  /** How many of a thousand that come at once are carried out in the end. */
  carriedOut(permits: number, calls: number): number;
}

const KINDS: Record<string, Kind> = {
  "a half-open breaker": {
    async build(permits, runtime) {
      const options = { failureThreshold: 1, recoveryTimeoutMs: 10, halfOpenMaxConcurrent: permits };
      const breaker = new CircuitBreaker({ ...options, successThreshold: 1_000 }, runtime);
      await breaker.executeOutcome(() => Promise.reject(new Error("down")));
      await runtime.clock.advance(10);
      return breaker;
    },
    carriedOut: (permits) => permits,
  },
  "a bulkhead": {
    build: async (permits, runtime) => new Bulkhead({ maxConcurrent: permits }, runtime),
    carriedOut: (permits) => permits,
  },
  "a bulkhead with a queue": {
    build: async (permits, runtime) => new Bulkhead({ maxConcurrent: permits, maxQueue: 1_000 }, runtime),
    carriedOut: (_, calls) => calls,
  },
  "an adaptive limit that stays as it is": {
    build: async (permits, runtime) => new AdaptiveConcurrency({ maxLimit: permits, maxQueue: 1_000 }, runtime),
    carriedOut: (_, calls) => calls,
  },
  "a lock": {
    build: async (permits, runtime) => new ResourceLock({ maxConcurrent: permits }, runtime),
    carriedOut: (_, calls) => calls,
  },
};

test.each(Object.entries(KINDS))(
  "%s lets no more through at a time than it may, whoever comes and goes in whatever order (C2.2, C3.2, C3.3, C3.8)",
  async (_, { build, carriedOut }) => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.constantFrom("late", "at once", "aborted"), { minLength: 1, maxLength: 12 }),
        async (scheduler, permits, comings) => {
          const runtime = fakeRuntime();
          const policy = await build(permits, runtime);
          let running = 0;
          let most = 0;
          let done = 0;
          const calls = comings.map(async (coming, n) => {
            const caller = new AbortController();
            if (coming === "late") await scheduler.schedule(Promise.resolve(), `call ${n} comes`);
            if (coming === "aborted")
              void scheduler.schedule(Promise.resolve(), `call ${n} is aborted`).then(() => caller.abort());
            const operation = async (): Promise<void> => {
              most = Math.max(most, ++running);
              await scheduler.schedule(Promise.resolve(), `call ${n} ends`);
              running--;
              done++;
            };
            return policy.executeOutcome(operation, { signal: caller.signal });
          });
          const all = Promise.all(calls);
          await scheduler.waitFor(all);
          await scheduler.waitIdle();
          expect(most).toBeLessThanOrEqual(permits);
          expect(running).toBe(0);
          const atOnce = comings.every((coming) => coming === "at once");
          if (atOnce) expect(done).toBe(Math.min(comings.length, carriedOut(permits, comings.length)));
          // Nothing is lost on the way: as many as may can still be let through together.
          let inside = 0;
          let open = (): void => {};
          const gate = new Promise<void>((resolve) => (open = resolve));
          const after = Array.from({ length: permits }, () =>
            policy.executeOutcome(() => {
              inside++;
              return gate;
            }),
          );
          await new Promise((resolve) => setImmediate(resolve));
          expect(inside).toBe(permits);
          open();
          await Promise.all(after);
        },
      ),
      { numRuns: 150 },
    );
  },
);
