import { describe, expect, test } from "vitest";
import { Chaos } from "../policies/chaos.ts";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { Fallback } from "../policies/fallback.ts";
import { Hedge } from "../policies/hedge.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { Timeout } from "../policies/timeout.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { Pipeline } from "./pipeline.ts";
import { orderProblems } from "./pipeline-order.ts";
import { type Invoke, type Policy, PolicyBase, type PolicyDescription } from "./policy.ts";

/** A policy that is known by its kind alone. */
class Stub extends PolicyBase {
  readonly kind: string;
  readonly name = "stub";

  constructor(kind: string) {
    super();
    this.kind = kind;
  }

  execute(): Promise<never> {
    return Promise.reject(new Error("Only its place is looked at."));
  }

  around(next: Invoke): Invoke {
    return next;
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: {} };
  }
}

const KINDS: Record<string, (runtime?: FakeRuntime) => Policy<unknown>> = {
  fallback: (runtime) => new Fallback({ fallback: "stale" }, runtime),
  total: (runtime) => new Timeout({ totalTimeoutMs: 1_000 }, runtime),
  retry: (runtime) => new RetryPolicy({ strategy: "immediate" }, runtime),
  breaker: (runtime) => new CircuitBreaker({}, runtime),
  limiter: () => new Stub("rateLimiter"),
  bulkhead: () => new Stub("bulkhead"),
  lock: () => new Stub("lock"),
  adaptive: () => new Stub("adaptiveConcurrency"),
  hedge: (runtime) => new Hedge({ delayMs: 50 }, runtime),
  attempt: (runtime) => new Timeout({ attemptTimeoutMs: 100 }, runtime),
  chaos: (runtime) => new Chaos({}, runtime),
};

const STANDARD = "fallback total retry breaker limiter bulkhead lock hedge attempt chaos";

const build = (order: string, runtime?: FakeRuntime): Policy<unknown>[] =>
  order.split(" ").map((word) => KINDS[word]!(runtime));

const found = (order: string): string[] =>
  orderProblems(build(order)).map(({ outer, inner, why }) => `${outer} around ${inner}: ${why}`);

describe("an order that defeats itself", () => {
  test.each([
    ["retry fallback", 'retry "retry" around fallback "fallback": the fallback turns failures'],
    ["retry hedge attempt fallback", 'retry "retry" around fallback'],
    ["breaker fallback", 'circuitBreaker "circuitBreaker" around fallback "fallback"'],
    ["chaos attempt", 'chaos "chaos" around timeout "timeout"'],
    ["chaos hedge", "what chaos injects does not pass through"],
    ["bulkhead retry attempt", 'bulkhead "stub" around retry "retry": its slot is held'],
    ["adaptive breaker retry", 'adaptiveConcurrency "stub" around retry "retry": its slot is held'],
    ["limiter retry", 'rateLimiter "stub" around retry "retry": it admits a whole series'],
    ["attempt retry", 'timeout "timeout" around retry "retry": attemptTimeoutMs bounds all'],
    ["attempt retry breaker", "attemptTimeoutMs bounds all"],
    ["retry retry total", 'retry "retry" around timeout "timeout": totalTimeoutMs bounds one attempt'],
    ["retry total", 'retry "retry" around timeout "timeout": totalTimeoutMs bounds one attempt'],
  ])("%s is seen, with the two policies and why (C3.10)", (order, said) => {
    expect(found(order)).toHaveLength(1);
    expect(found(order)[0]).toContain(said);
  });

  test("each policy is blamed for the first that it clashes with (C3.10)", () => {
    expect(found("chaos bulkhead retry breaker fallback").map((text) => text.split(":")[0])).toEqual([
      'chaos "chaos" around bulkhead "stub"',
      'bulkhead "stub" around retry "retry"',
      'retry "retry" around fallback "fallback"',
      'circuitBreaker "circuitBreaker" around fallback "fallback"',
    ]);
  });
});

describe("an order with a sense", () => {
  test("the standard order, and whatever is left of it when some policies are missing (C3.10)", () => {
    const words = STANDARD.split(" ");
    for (let chosen = 1; chosen < 2 ** words.length; chosen++) {
      const order = words.filter((_, index) => chosen & (1 << index)).join(" ");
      expect([order, ...found(order)]).toEqual([order]);
    }
  });

  test.each([
    ["breaker retry", "one call for each series may be wanted"],
    ["attempt retry attempt", "the outer one bounds all, the inner one each"],
    ["retry total retry", "the total is that of the inner series"],
    ["lock retry", "a lock may be meant for the whole series"],
    ["total fallback", "the bound is meant for the fallback too"],
    ["hedge retry", "each hedge is a series"],
    ["chaos chaos", "both stand inside everything"],
  ])("%s: %s (C3.10)", (order) => {
    expect(found(order)).toEqual([]);
  });
});

describe("a pipeline warns", () => {
  const setUp = (order: string) => {
    const runtime = fakeRuntime();
    const policy = new Pipeline(build(order, runtime), runtime);
    // Listening begins when the pipeline is there already, as it does in most programs.
    return { runtime, policy, log: record(runtime.events) };
  };
  const down = (): Promise<never> => Promise.reject(new Error("down"));

  test("once, at its first call, and does as it was told (C3.10)", async () => {
    const { policy, log } = setUp("retry fallback");
    expect(log).toEqual([]);
    for (let n = 0; n < 3; n++) expect(await policy.execute(down)).toBe("stale");
    const { why } = orderProblems(policy.policies)[0]!;
    expect(log.filter(({ type }) => type === "pipeline.order")).toMatchObject([
      { policy: "retry > fallback", outer: 'retry "retry"', inner: 'fallback "fallback"', why },
    ]);
  });

  test("also where the first call asks for an outcome, by either way (C3.10)", async () => {
    for (const order of ["retry fallback", "fallback bulkhead retry"]) {
      const { policy, log } = setUp(order);
      for (let n = 0; n < 2; n++) expect(await policy.executeOutcome(() => n)).toEqual({ ok: true, value: n });
      await policy.execute(() => 3);
      expect(log.map(({ type }) => type)).toEqual(["pipeline.order"]);
    }
  });

  test("the outcome still tells of a fallback that served, at the first call and later (C3.5)", async () => {
    const { policy, runtime } = setUp("fallback bulkhead retry");
    for (let n = 0; n < 2; n++) {
      const outcome = policy.executeOutcome(down);
      await runtime.clock.advance(0);
      expect(await outcome).toMatchObject({ ok: true, value: "stale", fallbackUsed: true });
    }
  });

  test("of what stands in a pipeline within it, and that one does not repeat it (C3.10)", async () => {
    const runtime = fakeRuntime();
    const inner = new Pipeline(build("breaker retry", runtime), runtime);
    const wrong = new Pipeline(build("retry fallback", runtime), runtime);
    const outer = new Pipeline([new Stub("bulkhead"), inner, new Pipeline([wrong], runtime)], runtime);
    const log = record(runtime.events);
    for (let n = 0; n < 2; n++) await outer.execute(() => n);
    const pairs = log.map((event) => event.type === "pipeline.order" && [event.outer, event.inner]);
    expect(pairs).toEqual([
      ['bulkhead "stub"', 'retry "retry"'],
      ['circuitBreaker "circuitBreaker"', 'fallback "fallback"'],
      ['retry "retry"', 'fallback "fallback"'],
      ['retry "retry"', 'fallback "fallback"'],
    ]);
  });

  test("of nothing where all is well (C3.10)", async () => {
    const { policy, log } = setUp(STANDARD);
    expect(await policy.execute(() => 1)).toBe(1);
    expect(log).toEqual([]);
  });
});
