import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError, TimeoutError } from "../core/errors.ts";
import { callOperation } from "../core/policy.ts";
import { pipeline } from "../core/pipeline.ts";
import { seededRandom } from "../core/random.ts";
import { fakeRuntime, record } from "../testing/fake-clock.ts";
import { Chaos, type ChaosEffect, type ChaosInjection, type ChaosOptions } from "./chaos.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

const down = new Error("503 overloaded");
const fault = (): Error => down;
const wrong = (value: unknown): unknown => `not ${String(value)}`;

/** Chaos that is enabled, and what comes of each of some calls: a value, or the message of an error. */
function setUp(options: ChaosOptions) {
  const runtime = fakeRuntime();
  const log = record(runtime.events);
  const chaos = new Chaos({ enabled: true, ...options }, runtime);
  const called: number[] = [];
  const results = async (calls: number): Promise<unknown[]> => {
    const settled: unknown[] = [];
    for (let n = 0; n < calls; n++) {
      const outcome = await chaos.executeOutcome(() => {
        called.push(n);
        return n;
      });
      settled.push(outcome.ok ? outcome.value : (outcome.error as Error).message);
    }
    return settled;
  };
  return { runtime, log, chaos, called, results };
}

describe("is off unless it is enabled", () => {
  const inject = [{ rate: 1, fault }];

  test.each([{ inject }, { inject, enabled: false }, { plan: [{ fault }] }])(
    "%j injects nothing (C3.9)",
    async (options) => {
      const chaos = new Chaos(options);
      for (let n = 0; n < 3; n++) expect(await chaos.execute(() => n)).toBe(n);
      expect(await pipeline(chaos).execute(() => "as ever")).toBe("as ever");
    },
  );

  test("in a pipeline it is then not there at all (C3.9)", () => {
    expect(new Chaos({ inject }).around(callOperation)).toBe(callOperation);
    expect(new Chaos({ inject, enabled: true }).around(callOperation)).not.toBe(callOperation);
  });

  test("nothing but true enables it (C0.3, C3.9)", () => {
    for (const enabled of ["true", 1, null])
      expect(() => new Chaos({ enabled: enabled as unknown as boolean })).toThrow(ConfigError);
  });
});

describe("what it injects", () => {
  test("a fault: the error that the function makes is thrown, and the operation is not called (C3.9)", async () => {
    const { chaos, called, results } = setUp({ plan: [{ fault }] });
    await expect(chaos.execute(() => called.push(0))).rejects.toBe(down);
    expect(called).toEqual([]);
    expect(await results(1)).toEqual([0]);
  });

  test("latency: the call waits first, and an abort ends the wait (C1.6, C3.9)", async () => {
    const { runtime, chaos, called } = setUp({ plan: [{ latencyMs: 300 }, { latencyMs: 300 }] });
    const first = chaos.execute(() => called.push(runtime.clock.now()));
    await runtime.clock.advance(299);
    expect(called).toEqual([]);
    await runtime.clock.advance(1);
    await first;
    expect(called).toEqual([300]);
    const caller = new AbortController();
    const second = chaos.executeOutcome(() => called.push(0), { signal: caller.signal });
    await runtime.clock.advance(10);
    caller.abort("enough");
    expect(await second).toMatchObject({ ok: false, refused: false, error: "enough" });
    expect([called.length, runtime.clock.pendingTimers]).toEqual([1, 0]);
    expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
  });

  test("a wrong result: the operation is called, and its value is replaced (C3.9)", async () => {
    const { called, results } = setUp({ plan: [{ result: wrong }, { result: async () => null }] });
    expect(await results(3)).toEqual(["not 0", null, 2]);
    expect(called).toEqual([0, 1, 2]);
  });

  test("a result that throws is an answer that got lost: the work was done (C3.9)", async () => {
    const { called, results } = setUp({ plan: [{ result: () => Promise.reject(down) }] });
    expect(await results(1)).toEqual([down.message]);
    expect(called).toEqual([0]);
  });

  test("a kill: the function is called before the operation, which follows where it comes back (C3.9)", async () => {
    const order: string[] = [];
    const { chaos, log } = setUp({ plan: [{ kill: () => order.push(`kill after ${log.length} event`) }] });
    await chaos.execute(() => order.push("operation"));
    expect(order).toEqual(["kill after 1 event", "operation"]);
  });

  test("several effects of a call come in the order latency, kill, fault, result (C3.9)", async () => {
    const order: string[] = [];
    const runtime = fakeRuntime();
    const effects: ChaosEffect[] = [
      { result: () => order.push("result") },
      { kill: () => order.push(`kill at ${runtime.clock.now()}`) },
      { latencyMs: 20 },
      { latencyMs: 30 },
    ];
    const inject = effects.map((effect) => ({ count: 1, ...effect }));
    const call = new Chaos({ enabled: true, inject }, runtime).execute(() => order.push("operation"));
    await runtime.clock.advance(50);
    await call;
    expect(order).toEqual(["kill at 50", "operation", "result"]);
    const kill = (): number => order.push("killed");
    await expect(new Chaos({ enabled: true, plan: [{ fault, kill }] }).execute(() => 1)).rejects.toBe(down);
    expect(order.at(-1)).toBe("killed");
  });

  test("every injection is an event that says what befell the call (C3.9, C3.11)", async () => {
    const { log, results } = setUp({ name: "storm", plan: [null, { fault, kill: () => {} }, { result: wrong }] });
    await results(4);
    expect(log.map(({ type, ...rest }) => [type, "injected" in rest && rest.injected])).toEqual([
      ["chaos", ["fault", "kill"]],
      ["chaos", ["result"]],
    ]);
    expect(log[0]).toMatchObject({ policy: "storm" });
  });

  test("a call that was aborted beforehand is not called and uses up no turn (C1.6)", async () => {
    const { chaos, called, results } = setUp({ plan: [{ fault }] });
    const outcome = await chaos.executeOutcome(() => called.push(0), { signal: AbortSignal.abort("enough") });
    expect(outcome).toMatchObject({ ok: false, error: "enough" });
    expect(await results(2)).toEqual([down.message, 1]);
  });
});

describe("which calls it befalls", () => {
  test("by count: the first so many (C3.9)", async () => {
    const { results } = setUp({ inject: [{ count: 2, fault }] });
    expect(await results(4)).toEqual([down.message, down.message, 2, 3]);
  });

  test("by rate: about that share, none at 0 and all at 1 (C3.9)", async () => {
    const share = async (rate: number): Promise<number> => {
      const { results } = setUp({ inject: [{ rate, result: wrong }] });
      return (await results(2_000)).filter((value) => typeof value === "string").length / 2_000;
    };
    expect(await share(0)).toBe(0);
    expect(await share(1)).toBe(1);
    for (const rate of [0.05, 0.3, 0.9]) expect(Math.abs((await share(rate)) - rate)).toBeLessThan(0.04);
  });

  test("none, where it is enabled and told of nothing to inject (C3.9)", async () => {
    expect(await setUp({}).results(2)).toEqual([0, 1]);
  });

  test("by rate: where the draw is below it, and a call that nothing befalls is no event (C3.9, C3.11)", async () => {
    const rate = seededRandom(7)();
    for (const [share, befallen] of [
      [rate, 0],
      [rate + 1e-9, 1],
    ] as const) {
      const { log, results } = setUp({ seed: 7, inject: [{ rate: share, result: wrong }] });
      await results(1);
      expect(log).toHaveLength(befallen);
    }
  });

  test("by rate and count: that share, until so many were befallen (C3.9)", async () => {
    const { results } = setUp({ inject: [{ rate: 0.5, count: 3, result: wrong }] });
    const values = await results(100);
    expect(values.filter((value) => typeof value === "string")).toHaveLength(3);
    expect(values.slice(0, 3).every((value) => typeof value === "string")).toBe(false);
  });

  test("by plan: call by call, and after its end none (C3.9)", async () => {
    const { results } = setUp({ plan: [null, { fault }, null, { result: wrong }] });
    expect(await results(6)).toEqual([0, down.message, 2, "not 3", 4, 5]);
  });

  test("the same seed befalls the same calls, another one others (C3.9)", async () => {
    const hit = async (seed: number | undefined): Promise<unknown[]> =>
      setUp({ seed, inject: [{ rate: 0.5, result: wrong }] }).results(64);
    expect(await hit(7)).toEqual(await hit(7));
    expect(await hit(7)).not.toEqual(await hit(8));
    expect(await hit(undefined)).toEqual(await hit(undefined));
  });

  test("calls are drawn in the order in which they begin, however they end (C3.9)", async () => {
    const { runtime, chaos } = setUp({ plan: [{ latencyMs: 50, result: () => "first" }, { result: () => "second" }] });
    const both = Promise.all([chaos.execute(() => ""), chaos.execute(() => "")]);
    await runtime.clock.advance(50);
    expect(await both).toEqual(["first", "second"]);
  });

  test("each injection is drawn as a model says, whatever the others have left (C3.9)", async () => {
    const injection = fc.record({ rate: fc.constantFrom(0, 0.2, 0.5, 1), count: fc.constantFrom(0, 1, 3, Infinity) });
    await fc.assert(
      fc.asyncProperty(fc.array(injection, { maxLength: 4 }), fc.nat(1_000), async (drawn, seed) => {
        const mark = (index: number) => (value: unknown) => `${String(value)}${index}`;
        const inject = drawn.map((how, index): ChaosInjection => ({ ...how, result: mark(index) }));
        const values = await setUp({ seed, inject }).results(12);
        const random = seededRandom(seed);
        const left = drawn.map(({ count }) => count);
        const expected = Array.from({ length: 12 }, (_, n) => {
          const hit = drawn.map(({ rate }, index) => random() < rate && left[index]!-- > 0);
          return hit.includes(true) ? `${n}${hit.flatMap((is, index) => (is ? [index] : [])).join("")}` : n;
        });
        expect(values).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });
});

test("a retry and a timeout around it meet what it injects as if the service did it (C3.9, C3.10)", async () => {
  const runtime = fakeRuntime();
  const guarded = pipeline(
    new RetryPolicy({ maxAttempts: 3, strategy: "immediate" }, runtime),
    new Timeout({ attemptTimeoutMs: 50 }, runtime),
    new Chaos({ enabled: true, plan: [{ fault }, { latencyMs: 500 }] }, runtime),
  );
  const log = record(runtime.events);
  const call = guarded.execute(({ attempt }) => attempt);
  await runtime.clock.advance(100);
  expect(await call).toBe(3);
  const causes = log.flatMap((event) => (event.type === "retry.scheduled" ? [event.error] : []));
  expect(causes[0]).toBe(down);
  expect(causes[1]).toBeInstanceOf(TimeoutError);
  expect(runtime.clock.pendingTimers).toBe(0);
});

test("describe gives the options in effect, functions by their names (C3.12)", () => {
  expect(new Chaos({ inject: [{ rate: 0.1, fault }] }).describe()).toEqual({
    kind: "chaos",
    name: "chaos",
    options: { enabled: false, seed: 1, inject: [{ rate: 0.1, fault: "the function fault" }] },
  });
});

test("options are checked when it is built, also while it is off (C0.3)", () => {
  const wrongOptions: [Record<string, unknown>, string][] = [
    [{ inject: [], plan: [] }, "not both"],
    [{ inject: {} }, "chaos.inject must be an array"],
    [{ inject: [{ fault }] }, "chaos.inject[0] needs rate or count"],
    [{ inject: [{ rate: 1.5, fault }] }, "chaos.inject[0].rate must be"],
    [{ inject: [{ count: 1.5, fault }] }, "chaos.inject[0].count must be"],
    [{ inject: [{ count: 1, fault: down }] }, "chaos.inject[0].fault must be a function"],
    [{ plan: [null, { delayMs: 1 }] }, 'chaos.plan[1] has no option "delayMs"'],
    [{ plan: [{ latencyMs: -1 }] }, "chaos.plan[0].latencyMs must be"],
    [{ plan: [{ rate: 1, fault }] }, 'chaos.plan[0] has no option "rate"'],
    [{ seed: -1 }, "chaos.seed must be"],
    [{ rate: 1 }, 'chaos has no option "rate"'],
  ];
  for (const [options, said] of wrongOptions) {
    expect(() => new Chaos(options)).toThrow(ConfigError);
    expect(() => new Chaos(options)).toThrow(said);
  }
});
