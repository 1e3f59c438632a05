import { CircuitBreaker, pipeline, RetryPolicy, Timeout } from "../../dist/policies/index.js";
import { fail, fn, swallow, TIMEOUT_MS, trip } from "./operation.mjs";

const breaker = (name) => new CircuitBreaker({ name, failureThreshold: 5 });
const retry = new RetryPolicy({ maxAttempts: 3 });
const closed = breaker("closed");
const open = breaker("open");
const timeout = new Timeout({ attemptTimeoutMs: TIMEOUT_MS });
const all = pipeline(
  new RetryPolicy({ maxAttempts: 3 }),
  breaker("pipeline"),
  new Timeout({ attemptTimeoutMs: TIMEOUT_MS }),
);
await trip(() => open.execute(fail));
if (open.state !== "OPEN") throw new Error(`the breaker to be measured open is ${open.state}`);

export const ours = {
  retry: () => retry.execute(fn),
  "breaker closed": () => closed.execute(fn),
  "breaker open, thrown": swallow(() => open.execute(fn)),
  "breaker open, as a value": () => open.executeOutcome(fn),
  timeout: () => timeout.execute(fn),
  pipeline: () => all.execute(fn),
};
