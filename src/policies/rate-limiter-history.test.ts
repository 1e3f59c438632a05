import { getEventListeners } from "node:events";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Pipeline } from "../core/pipeline.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { RateLimit } from "./rate-limits.ts";

/** A call that was let through. `line` is its place among all that came. */
interface Granted {
  line: number;
  at: number;
  requests: number;
  tokens: number;
}

const limit = fc.record({
  limit: fc.integer({ min: 1, max: 8 }),
  intervalMs: fc.constantFrom(50, 100, 400),
  algorithm: fc.constantFrom<NonNullable<RateLimit["algorithm"]>>("token-bucket", "sliding-window"),
});

const given = fc.record({
  limits: fc.record({ requests: limit, tokens: limit }, { requiredKeys: ["requests"] }),
  maxWaitMs: fc.constantFrom(0, 120, Infinity),
});

const steps = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant("call" as const),
        tokens: fc.integer({ min: 0, max: 5 }),
        via: fc.nat(3),
        abortAfter: fc.option(fc.nat(150), { freq: 3 }),
        deadlineMs: fc.option(fc.integer({ min: 1, max: 200 }), { freq: 3 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 90 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("jump" as const), ms: fc.constantFrom(-1e10, 1e10) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("learn" as const), left: fc.nat(3), waitMs: fc.nat(60) }) },
  ),
  { maxLength: 60 },
);

/** The most that a limit may let through in a stretch of `lengthMs`. */
function mostAllowed(
  { limit: most, intervalMs, algorithm }: RateLimit & { intervalMs: number },
  lengthMs: number,
): number {
  return algorithm === "sliding-window" ? most : most + (most * lengthMs) / intervalMs;
}

test("in any order of calls, aborts, deadlines, jumps and words of a server: never too many, in order, all settled (C0.4, C3.1, C3.4)", async () => {
  await fc.assert(
    fc.asyncProperty(given, steps, async (options, all) => {
      const runtime = fakeRuntime();
      const { clock } = runtime;
      const limiter = new RateLimiter(options, runtime);
      const around = new Pipeline([limiter, new Pipeline([], runtime)], runtime);
      const granted: Granted[] = [];
      const wrong: string[] = [];
      const signals: AbortSignal[] = [];
      const unsettled = new Set<number>();
      let closedUntil = 0;

      for (const [line, step] of all.entries()) {
        if (step.do === "pass") await clock.advance(step.ms);
        if (step.do === "jump") clock.jumpWall(step.ms);
        if (step.do === "learn") {
          const { left, waitMs } = step;
          limiter.learn({ "x-ratelimit-remaining-requests": left, "retry-after-ms": waitMs });
          closedUntil = Math.max(closedUntil, clock.now() + waitMs);
          expect(limiter.getStats().available.requests).toBeLessThanOrEqual(left + 1e-6);
        }
        if (step.do !== "call") continue;
        const controller = new AbortController();
        signals.push(controller.signal);
        const { tokens, abortAfter, deadlineMs, via } = step;
        const deadline = clock.now() + (deadlineMs ?? Infinity);
        const operation = (): void => {
          // What is thrown here would be the call's own failure.
          if (clock.now() >= deadline) wrong.push(`call ${line} after its deadline`);
          if (clock.now() < closedUntil - 0.01) wrong.push(`call ${line} while the server wants none`);
          if (controller.signal.aborted) wrong.push(`call ${line} after its abort`);
          granted.push({ line, at: clock.now(), requests: 1, tokens });
        };
        if (via === 3) {
          try {
            limiter.executeSync(() => granted.push({ line, at: clock.now(), requests: 1, tokens: 1 }));
          } catch {
            // Refused: it does not wait.
          }
          continue;
        }
        const call = { signal: controller.signal, deadlineMs: deadlineMs ?? undefined, cost: { tokens } };
        unsettled.add(line);
        const settled =
          via === 0 ? limiter.execute(operation, call) : [limiter, around][via - 1]!.executeOutcome(operation, call);
        settled.then(
          () => unsettled.delete(line),
          () => unsettled.delete(line),
        );
        if (abortAfter === 0) controller.abort();
        else if (abortAfter !== null) clock.timer(abortAfter, () => controller.abort());
      }
      await clock.advance(100_000);

      expect(wrong).toEqual([]);
      expect([...unsettled]).toEqual([]);
      expect(clock.pendingTimers).toBe(0);
      for (const signal of signals) expect(getEventListeners(signal, "abort")).toHaveLength(0);
      expect(limiter.getStats()).toMatchObject({ waiting: 0, granted: granted.length });
      expect(granted.map(({ line }) => line)).toEqual(granted.map(({ line }) => line).sort((a, b) => a - b));
      for (const [kind, rate] of Object.entries(options.limits) as [
        "requests" | "tokens",
        typeof options.limits.requests,
      ][]) {
        for (const [index, { at: from }] of granted.entries()) {
          let sum = 0;
          for (const { at, [kind]: amount } of granted.slice(index)) {
            // A microsecond is what rounding may be off.
            if (rate.algorithm === "sliding-window" && at >= from + rate.intervalMs - 0.01) break;
            sum += amount;
            expect(sum).toBeLessThanOrEqual(mostAllowed(rate, at - from) + 0.01);
          }
        }
      }
    }),
    { numRuns: 400 },
  );
});
