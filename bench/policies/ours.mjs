import { Bulkhead, CircuitBreaker, pipeline, RateLimiter, RetryPolicy, Timeout } from "../../dist/policies/index.js";
import { fail, fn, swallow, TIMEOUT_MS, trip } from "./operation.mjs";

const breaker = (name) => new CircuitBreaker({ name, failureThreshold: 5 });
const retry = new RetryPolicy({ maxAttempts: 3 });
const closed = breaker("closed");
const open = breaker("open");
const windowed = new CircuitBreaker({
  name: "window",
  window: { kind: "time", sizeMs: 10_000, failureRateThreshold: 0.5 },
});
const timeout = new Timeout({ attemptTimeoutMs: TIMEOUT_MS });
const bulkhead = new Bulkhead({ maxConcurrent: 10, maxQueue: 10 });
// The limiters beside it look at no result either.
const limiter = new RateLimiter({ limits: { requests: { limit: 1e9, intervalMs: 1000 } }, learn: false });
const all = pipeline(
  new RetryPolicy({ maxAttempts: 3 }),
  breaker("pipeline"),
  new Bulkhead({ maxConcurrent: 10, maxQueue: 10 }),
  new Timeout({ attemptTimeoutMs: TIMEOUT_MS }),
);
await trip(() => open.execute(fail));
if (open.state !== "OPEN") throw new Error(`the breaker to be measured open is ${open.state}`);

export const ours = {
  retry: () => retry.execute(fn),
  "breaker closed": () => closed.execute(fn),
  "breaker closed, time window": () => windowed.execute(fn),
  "breaker open, thrown": swallow(() => open.execute(fn)),
  "breaker open, as a value": () => open.executeOutcome(fn),
  timeout: () => timeout.execute(fn),
  bulkhead: () => bulkhead.execute(fn),
  "rate limiter": () => limiter.execute(fn),
  pipeline: () => all.execute(fn),
};
