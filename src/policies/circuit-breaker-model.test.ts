import fc from "fast-check";
import { expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import type { Policy } from "../core/policy.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Timeout } from "./timeout.ts";

interface Options {
  failureThreshold: number;
  successThreshold: number;
  halfOpenMaxConcurrent: number;
  recoveryTimeoutMs: number;
  probeTimeoutMs: number;
}

type Result = "success" | "failure" | "neutral" | "abort";

/**
 * The breaker as a person would explain it, without a thought for speed: a call remembers the very state that admitted
 * it, and what it brings counts for that state only.
 */
class Model {
  readonly #options: Options;
  kind = "CLOSED";
  failures = 0;
  successes = 0;
  #since = 0;
  #period = Symbol("first");
  #probes = new Map<object, number>();

  constructor(options: Options) {
    this.#options = options;
  }

  /** What a call has to remember, or null where it is refused. */
  begin(now: number): { period: symbol } | null {
    if (this.kind === "OPEN" && now >= this.#since + this.#options.recoveryTimeoutMs) this.become("HALF_OPEN", now);
    if (this.kind === "OPEN" || this.kind === "ISOLATED") return null;
    const call = { period: this.#period };
    if (this.kind === "HALF_OPEN") {
      for (const [probe, began] of this.#probes)
        if (now - began >= this.#options.probeTimeoutMs) this.#probes.delete(probe);
      if (this.#probes.size === this.#options.halfOpenMaxConcurrent) return null;
      this.#probes.set(call, now);
    }
    return call;
  }

  end(call: { period: symbol }, result: Result, now: number): void {
    if (call.period !== this.#period) return;
    if (this.kind === "HALF_OPEN" && !this.#probes.delete(call)) return;
    if (result === "neutral" || result === "abort") return;
    if (this.kind === "CLOSED") {
      this.failures = result === "failure" ? this.failures + 1 : 0;
      if (this.failures >= this.#options.failureThreshold) this.become("OPEN", now);
    } else if (this.kind === "HALF_OPEN") {
      if (result === "failure") this.become("OPEN", now);
      else if (++this.successes === this.#options.successThreshold) this.become("CLOSED", now);
    }
  }

  become(kind: string, now: number): void {
    this.kind = kind;
    this.failures = this.successes = 0;
    this.#since = now;
    this.#period = Symbol(kind);
    this.#probes.clear();
  }
}

const options = fc.record({
  failureThreshold: fc.integer({ min: 1, max: 3 }),
  successThreshold: fc.integer({ min: 1, max: 3 }),
  halfOpenMaxConcurrent: fc.integer({ min: 1, max: 3 }),
  recoveryTimeoutMs: fc.constantFrom(0, 100),
  probeTimeoutMs: fc.constantFrom(60, 250),
});

const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant("begin" as const), via: fc.nat(2) }) },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant("end" as const),
        which: fc.nat(),
        result: fc.constantFrom<Result>("success", "failure", "failure", "neutral", "abort"),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(20, 60, 100) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("jump" as const), ms: fc.constantFrom(-1e9, 1e9) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constantFrom("reset" as const, "isolate" as const, "disable" as const) }),
    },
  ),
  { maxLength: 40 },
);

interface Held {
  remembered: { period: symbol };
  controller: AbortController;
  settle(error: Error | null): void;
  settled: Promise<unknown>;
}

test("in any order of calls, results, aborts, pauses and orders by hand, it does what the model does (C2.2, C2.3, C2.4)", async () => {
  await fc.assert(
    fc.asyncProperty(options, steps, async (given, all) => {
      const runtime = fakeRuntime();
      const { clock } = runtime;
      const [breaker, model] = [new CircuitBreaker(given, runtime), new Model(given)];
      // Each of these goes another way through the breaker's code.
      const linked = pipeline(breaker, new Timeout({ attemptTimeoutMs: 1e9 }, runtime));
      const ways: ((...args: Parameters<Policy["execute"]>) => Promise<unknown>)[] = [
        (operation, call) => breaker.execute(operation, call).catch(() => {}),
        (operation, call) => breaker.executeOutcome(operation, call),
        (operation, call) => linked.executeOutcome(operation, call),
      ];
      const pending: Held[] = [];

      for (const step of all) {
        switch (step.do) {
          case "begin": {
            const remembered = model.begin(clock.now());
            const controller = new AbortController();
            let settle: Held["settle"] | undefined;
            const operation = (): Promise<void> =>
              new Promise((resolve, reject) => {
                settle = (error) => (error === null ? resolve() : reject(error));
              });
            const settled = ways[step.via]!(operation, { signal: controller.signal });
            expect(settle !== undefined).toBe(remembered !== null);
            if (remembered !== null) pending.push({ remembered, controller, settle: settle!, settled });
            else await settled;
            break;
          }
          case "end": {
            const [call] = pending.splice(step.which % Math.max(1, pending.length), 1);
            if (call === undefined) break;
            model.end(call.remembered, step.result, clock.now());
            if (step.result === "abort") call.controller.abort();
            const error = step.result === "neutral" ? new ConfigError("wrong") : new Error("down");
            call.settle(step.result === "success" ? null : error);
            await call.settled;
            break;
          }
          case "pass":
            await clock.advance(step.ms);
            break;
          case "jump":
            clock.jumpWall(step.ms);
            break;
          default:
            breaker[step.do]();
            model.become({ reset: "CLOSED", isolate: "ISOLATED", disable: "DISABLED" }[step.do], clock.now());
        }
        expect(breaker.state).toBe(model.kind);
        if (model.kind === "CLOSED") expect(breaker.getState().failureCount).toBe(model.failures);
        expect(breaker.getState().successCount).toBe(model.successes);
      }
      for (const call of pending) call.settle(null);
      await Promise.all(pending.map(({ settled }) => settled));
      expect(clock.pendingTimers).toBe(0);
    }),
    { numRuns: 400 },
  );
});
