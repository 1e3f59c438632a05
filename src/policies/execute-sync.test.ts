import { describe, expect, expectTypeOf, test, vi } from "vitest";
import {
  CircuitBreakerOpenError,
  ConfigError,
  FallbackFailedError,
  RefusedError,
  RetryExhaustedError,
} from "../core/errors.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { fakeRuntime, record } from "../testing/fake-clock.ts";
import { Budget } from "./budget.ts";
import { Bulkhead } from "./bulkhead.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Fallback } from "./fallback.ts";
import { RateLimiter } from "./rate-limiter.ts";

const down = new Error("down");
const fail = (): never => {
  throw down;
};

/** What goes wrong without anybody waiting for it would end the process. */
async function nothingUnhandled(act: () => void): Promise<void> {
  const unhandled = vi.fn<() => void>();
  process.on("unhandledRejection", unhandled);
  act();
  await new Promise((resolve) => setTimeout(resolve, 5));
  process.off("unhandledRejection", unhandled);
  expect(unhandled).not.toHaveBeenCalled();
}

describe("a circuit breaker", () => {
  test("gives the value or throws at once, counts, opens, refuses and probes as ever (C3.10, C2.2)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 2, recoveryTimeoutMs: 100, successThreshold: 1 }, runtime);
    expect(breaker.executeSync(() => 3)).toBe(3);
    for (let n = 0; n < 2; n++) expect(() => breaker.executeSync(fail)).toThrow(down);
    expect(breaker.state).toBe("OPEN");
    expect(() => breaker.executeSync(() => expect.unreachable())).toThrow(CircuitBreakerOpenError);
    await runtime.clock.advance(100);
    const inside = breaker.executeSync(() => {
      expect(() => breaker.executeSync(() => expect.unreachable())).toThrow("try again");
      return "a probe";
    });
    expect([inside, breaker.state]).toEqual(["a probe", "CLOSED"]);
    expect(breaker.getStats()).toMatchObject({ totalCalls: 4, totalFailures: 2, rejected: 2 });
  });

  test("counts slow calls and returned values, as the others do (C3.10, C2.1)", () => {
    const runtime = fakeRuntime();
    let now = 0;
    runtime.clock.now = () => now;
    const window = { kind: "count", size: 2 } as const;
    const timed = new CircuitBreaker({ window, failureThreshold: 2, slowCallMs: 10 }, runtime);
    timed.executeSync(() => (now += 11));
    expect(timed.state).toBe("OPEN");
    const picky = new CircuitBreaker({ failureThreshold: 1, countsAsFailure: (value) => value === 503 });
    expect(picky.executeSync(() => 503)).toBe(503);
    expect(picky.state).toBe("OPEN");
  });

  test("is served by its fallback when it refuses, and after any failure where it says so (C3.5, C3.10)", () => {
    const breaker = new CircuitBreaker({ failureThreshold: 1, fallback: ({ attempts }) => `stale after ${attempts}` });
    expect(() => breaker.executeSync(fail)).toThrow(down);
    const served = breaker.executeSync((): number => expect.unreachable());
    expectTypeOf(served).toEqualTypeOf<string | number>();
    expect(served).toBe("stale after 0");
    const any = new CircuitBreaker({ fallback: [fail, "second"], fallbackOn: "any" });
    expect(any.executeSync(fail)).toBe("second");
    expect(any.getStats().totalFailures).toBe(1);
    const none = new CircuitBreaker({ fallback: fail, fallbackOn: "any" });
    expect(() => none.executeSync(fail)).toThrow(FallbackFailedError);
  });

  test("refuses a promise, of the function or of the fallback, and counts neither (C3.10)", async () => {
    const breaker = new CircuitBreaker({ name: "crm", failureThreshold: 1, fallback: () => Promise.reject(down) });
    await nothingUnhandled(() => {
      expect(() => breaker.executeSync(() => Promise.reject(down))).toThrow(ConfigError);
      expect(() => breaker.executeSync(() => ({ then: (_: unknown, no: () => void) => no() }))).toThrow(
        'The function of circuit breaker "crm" gave a promise, and executeSync cannot wait for it. Use execute.',
      );
      expect(breaker.getStats()).toMatchObject({ state: "closed", totalCalls: 0 });
      breaker.isolate();
      expect(() => breaker.executeSync(() => 1)).toThrow('The fallback of "crm" gave a promise');
    });
  });

  test("a promise gives the place of a probe back (C2.3, C3.10)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 10, successThreshold: 1 }, runtime);
    expect(() => breaker.executeSync(fail)).toThrow(down);
    await runtime.clock.advance(10);
    expect(() => breaker.executeSync(async () => 1)).toThrow(ConfigError);
    expect(breaker.executeSync(() => 1)).toBe(1);
    expect(breaker.state).toBe("CLOSED");
  });

  test("that shares its state cannot, in no state (C2.9, C3.10)", () => {
    const breaker = new CircuitBreaker({ name: "crm", sharedState: new MemorySharedState() });
    expect(() => breaker.executeSync(() => expect.unreachable())).toThrow('"crm" cannot executeSync');
  });
});

describe("a fallback", () => {
  test("serves at once: a value, what a function gives, or the first link that works (C3.5, C3.10)", () => {
    const of = (source: Parameters<typeof fallbackOf>[0]): unknown => fallbackOf(source).executeSync(fail);
    const fallbackOf = (source: unknown) => new Fallback({ name: "weather", fallback: source as string });
    expect(fallbackOf("stale").executeSync(() => "fresh")).toBe("fresh");
    expect(of("stale")).toBe("stale");
    expect(
      of(({ error, attempts, name }: { error: Error; attempts: number; name: string }) => [
        error.message,
        attempts,
        name,
      ]),
    ).toEqual(["down", 1, "weather"]);
    expect(of([fail, () => "second", () => expect.unreachable()])).toBe("second");
    const exhausted = (): never => {
      throw new RetryExhaustedError("r", 4, down, "why");
    };
    expect(new Fallback({ fallback: ({ attempts }) => attempts }).executeSync(exhausted)).toBe(4);
  });

  test("throws with both reasons where nothing serves, and reports either way (C3.5, C3.10)", () => {
    const runtime = fakeRuntime();
    const events = record(runtime.events);
    const served: unknown[] = [];
    const onFallback = (info: { error: unknown }): number => served.push(info.error);
    expect(new Fallback({ fallback: 1, onFallback }, runtime).executeSync(fail)).toBe(1);
    const second = new Error("second");
    const broken = new Fallback(
      {
        onFallback,
        fallback: () => {
          throw second;
        },
      },
      runtime,
    );
    let error: unknown;
    try {
      broken.executeSync(fail);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(FallbackFailedError);
    expect(error).toMatchObject({ cause: down, errors: [second] });
    expect(events).toMatchObject([
      { type: "fallback", error: down, served: true },
      { type: "fallback", error: down, served: false },
    ]);
    expect(served).toEqual([down]);
  });

  test("refuses a promise, of the function or of a link (C3.10)", async () => {
    await nothingUnhandled(() => {
      const fallback = new Fallback({ name: "weather", fallback: [() => Promise.reject(down), "never"] });
      expect(() => fallback.executeSync(() => Promise.reject(down))).toThrow('The function of fallback "weather" gave');
      expect(() => fallback.executeSync(fail)).toThrow('The fallback of "weather" gave a promise');
    });
  });
});

test.each([
  ["bulkhead", new Bulkhead({ name: "crm", maxConcurrent: 1 })],
  ["rate limiter", new RateLimiter({ name: "crm", limits: { requests: { limit: 2 } }, maxWaitMs: 0 })],
  ["budget", new Budget({ name: "crm", limitCalls: 2 })],
])("a %s refuses a promise, and goes on as after any other call that was made (C3.10)", async (thing, policy) => {
  await nothingUnhandled(() => {
    expect(() => policy.executeSync(() => Promise.reject(down))).toThrow(
      `The function of ${thing} "crm" gave a promise, and executeSync cannot wait for it. Use execute.`,
    );
    expect(policy.executeSync(() => 1)).toBe(1);
  });
  // What was under way when the promise came is over, and the call has taken what calls take.
  if (policy instanceof Bulkhead) expect(policy.getStats().active).toBe(0);
  else expect(() => policy.executeSync(() => 1)).toThrow(RefusedError);
});
