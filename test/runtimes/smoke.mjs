// Every policy once, as it is used, on real timers: what the tests on the fake clock cannot tell of a runtime that is
// not Node. Imports nothing but the policies, so that the same file runs wherever these do.
import {
  AdaptiveConcurrency,
  Budget,
  Bulkhead,
  Chaos,
  CircuitBreaker,
  Fallback,
  Hedge,
  onEvent,
  pipeline,
  RateLimiter,
  ResourceLock,
  RetryBudget,
  RetryPolicy,
  Timeout,
} from "holdfast/policies";

const never = () => new Promise(() => {});
const later = (ms, value) => new Promise((resolve) => setTimeout(resolve, ms, value));
const down = () => Promise.reject(new Error("down"));

/** What an operation did: its value, or its error as one word. */
const told = (promise) =>
  promise.then(
    (value) => value,
    (error) => `${error.name}: ${error.code}`,
  );

/** For each promise of the policies what came of it, and what it must be. */
const CHECKS = {
  async "retry calls again after a failure"() {
    const retry = new RetryPolicy({ maxAttempts: 3, initialDelayMs: 5, retryBudget: new RetryBudget() });
    const value = await retry.execute(({ attempt }) => (attempt < 3 ? down() : attempt));
    return [
      [value, await told(retry.execute(down))],
      [3, "RetryExhaustedError: RETRY_EXHAUSTED"],
    ];
  },
  async "an abort ends the wait of a retry"() {
    const controller = new AbortController();
    const waiting = new RetryPolicy({ initialDelayMs: 60_000, jitter: "none" }).execute(down, controller);
    setTimeout(() => controller.abort(new Error("enough")), 5);
    return [await waiting.catch((error) => error.message), "enough"];
  },
  async "a breaker opens, and refuses by a value and by an error"() {
    const breaker = new CircuitBreaker({ failureThreshold: 2, recoveryTimeoutMs: 500, successThreshold: 1 });
    for (let i = 0; i < 2; i++) await told(breaker.execute(down));
    const { ok, refused, error } = await breaker.executeOutcome(never);
    const thrown = await told(breaker.execute(never));
    await later(510);
    const probe = await breaker.execute(() => "up again");
    return [
      [ok, refused, error.name, thrown, probe, breaker.state],
      [false, true, "CircuitBreakerOpenError", "CircuitBreakerOpenError: CIRCUIT_OPEN", "up again", "CLOSED"],
    ];
  },
  async "a timeout tells the operation to stop"() {
    let stopped = false;
    const hanging = new Timeout({ attemptTimeoutMs: 10 }).execute(({ signal }) => {
      signal.addEventListener("abort", () => (stopped = true));
      return never();
    });
    return [
      [await told(hanging), stopped],
      ["TimeoutError: TIMEOUT", true],
    ];
  },
  async "a late failure after a timeout goes nowhere"() {
    const late = new Timeout({ attemptTimeoutMs: 5 }).execute(() => later(10).then(down));
    const said = await told(late);
    await later(15);
    return [said, "TimeoutError: TIMEOUT"];
  },
  async "a bulkhead queues, then refuses"() {
    const bulkhead = new Bulkhead({ maxConcurrent: 1, maxQueue: 1 });
    const calls = [1, 2, 3].map((n) => told(bulkhead.execute(() => later(5, n))));
    return [await Promise.all(calls), [1, 2, "BulkheadFullError: BULKHEAD_FULL"]];
  },
  async "an adaptive limit shrinks on overload, and sheds the least important"() {
    const adaptive = new AdaptiveConcurrency({ initialLimit: 10, maxQueue: 1 });
    await told(adaptive.execute(() => Promise.reject(Object.assign(new Error("busy"), { status: 429 }))));
    const { limit } = adaptive.getStats();
    const calls = Array.from({ length: limit }, (_, n) => adaptive.execute(() => later(5, n)));
    const low = told(adaptive.execute(never, { priority: "low" }));
    const critical = told(adaptive.execute(() => "served", { priority: "critical" }));
    await Promise.all(calls);
    return [
      [limit, await low, await critical],
      [7, "OverloadShedError: OVERLOAD_SHED", "served"],
    ];
  },
  async "a lock lets one in at a time"() {
    const lock = new ResourceLock({ name: "smoke" });
    const order = [];
    const use = (n) =>
      lock.withPermit(async () => {
        order.push(n);
        await later(3);
        order.push(-n);
      });
    await Promise.all([use(1), use(2)]);
    return [order, [1, -1, 2, -2]];
  },
  async "a rate limiter makes calls wait or refuses them"() {
    const limits = { requests: { limit: 2, intervalMs: 100 } };
    const patient = new RateLimiter({ limits });
    const startedAt = performance.now();
    await Promise.all([1, 2, 3].map((n) => patient.execute(() => n)));
    const waited = performance.now() - startedAt > 40;
    const impatient = new RateLimiter({ limits, maxWaitMs: 0 });
    const refused = [];
    for (let i = 0; i < 3; i++) refused.push((await impatient.executeOutcome(() => i)).ok);
    return [
      [waited, refused],
      [true, [true, true, false]],
    ];
  },
  async "a fallback serves"() {
    const fallback = new Fallback({ fallback: [down, () => later(1, "cached")] });
    const { value, fallbackUsed } = await fallback.executeOutcome(down);
    return [
      [value, fallbackUsed],
      ["cached", true],
    ];
  },
  async "a hedge wins over a call that hangs"() {
    const hedge = new Hedge({ delayMs: 5, maxExtraShare: 1 });
    return [await hedge.execute(({ attempt }) => (attempt === 1 ? never() : attempt)), 2];
  },
  async "a budget is spent and then refuses"() {
    const budget = new Budget({ limitUsd: 0.3, estimate: 0.1, cost: () => 0.1 });
    const calls = [];
    for (let i = 0; i < 4; i++) calls.push(await told(budget.execute(() => i)));
    return [calls, [0, 1, 2, "BudgetExceededError: BUDGET_EXCEEDED"]];
  },
  async "chaos injects what a pipeline then mends"() {
    const chaos = new Chaos({ enabled: true, plan: [{ fault: () => new Error("503") }, { latencyMs: 200 }, null] });
    const events = [];
    const stop = onEvent(({ type }) => events.push(type));
    const guarded = pipeline(
      new Fallback({ fallback: "stale" }),
      new RetryPolicy({ maxAttempts: 4, initialDelayMs: 1 }),
      new CircuitBreaker(),
      new Bulkhead({ maxConcurrent: 2 }),
      new Timeout({ attemptTimeoutMs: 20 }),
      chaos,
    );
    const value = await guarded.execute(({ attempt }) => attempt);
    stop();
    const scheduled = events.filter((type) => type === "retry.scheduled").length;
    return [
      [value, scheduled, events.includes("timeout")],
      [3, 2, true],
    ];
  },
  async "a wrapped function keeps its name"() {
    const customers = {
      lookUp: async (id) => `customer ${id}`,
    };
    const wrapped = new Timeout({ attemptTimeoutMs: 1000 }).wrap(customers.lookUp);
    return [
      [wrapped.name, await wrapped(7)],
      ["lookUp", "customer 7"],
    ];
  },
  async "every policy can be printed"() {
    const policies = [
      new Budget({ limitCalls: 1 }),
      new Bulkhead({ maxConcurrent: 1 }),
      new Chaos(),
      new CircuitBreaker(),
      new Fallback({ fallback: null }),
      new Hedge({ delayMs: 1 }),
      new RateLimiter({ limits: { requests: { limit: 1, intervalMs: 1 } } }),
      new ResourceLock(),
      new RetryPolicy(),
      new Timeout({ attemptTimeoutMs: 1 }),
    ];
    const all = pipeline(...policies);
    for (const policy of [...policies, all]) console.log(policy);
    const kinds = policies.map((policy) => JSON.parse(JSON.stringify(policy.describe())).kind);
    return [String(all), `pipeline "${kinds.join(" > ")}"`];
  },
};

/** The checks that passed by name, and what was wrong with the others. Rejections that nobody took count as wrong. */
export async function smoke() {
  const passed = [];
  const failed = {};
  const unhandled = (reason) => {
    failed["nothing is left unhandled"] = String(reason);
  };
  globalThis.addEventListener?.("unhandledrejection", (event) => {
    event.preventDefault();
    unhandled(event.reason);
  });
  globalThis.process?.on?.("unhandledRejection", unhandled);
  for (const [name, check] of Object.entries(CHECKS)) {
    try {
      const [found, expected] = (await check()).map((value) => JSON.stringify(value));
      if (found === expected) passed.push(name);
      else failed[name] = `${found} instead of ${expected}`;
    } catch (error) {
      failed[name] = String(error?.stack ?? error);
    }
  }
  // What a check has left behind may still come.
  await later(30);
  return { passed, failed };
}
