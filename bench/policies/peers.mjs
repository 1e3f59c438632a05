// The peers, each with its own idea of the same work and in its quickest setting.
import * as cockatielApi from "cockatiel";
import Opossum from "opossum";
import pRetry from "p-retry";
import { fail, fn, swallow, TIMEOUT_MS, trip } from "./operation.mjs";

const { circuitBreaker, ConsecutiveBreaker, ExponentialBackoff, handleAll, retry, timeout, wrap } = cockatielApi;
// In cockatiel 4.0.0 and in p-retry the figure counts the attempts after the first.
const cockatielRetry = () => retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff() });
const cockatielBreaker = () => circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(5) });
const cockatielTimeout = () => timeout(TIMEOUT_MS, { strategy: cockatielApi.TimeoutStrategy.Aggressive });
const policies = {
  retry: cockatielRetry(),
  closed: cockatielBreaker(),
  open: cockatielBreaker(),
  timeout: cockatielTimeout(),
  pipeline: wrap(cockatielRetry(), cockatielBreaker(), cockatielTimeout()),
};
await trip(() => policies.open.execute(fail));

const cockatiel = {
  retry: () => policies.retry.execute(fn),
  "breaker closed": () => policies.closed.execute(fn),
  "breaker open, thrown": swallow(() => policies.open.execute(fn)),
  timeout: () => policies.timeout.execute(fn),
  pipeline: () => policies.pipeline.execute(fn),
};

const quiet = { enableSnapshots: false, rollingPercentilesEnabled: false, resetTimeout: 60_000 };
const closed = new Opossum(fn, { ...quiet, timeout: false });
const open = new Opossum(fail, { ...quiet, timeout: false });
const timed = new Opossum(fn, { ...quiet, timeout: TIMEOUT_MS });
await trip(() => open.fire());

const opossum = {
  "breaker closed": () => closed.fire(),
  "breaker open, thrown": swallow(() => open.fire()),
  timeout: () => timed.fire(),
};

const retries = { retries: 2 };
export const peers = {
  cockatiel,
  opossum,
  "p-retry": { retry: () => pRetry(fn, retries) },
  "p-retry + opossum": { pipeline: () => pRetry(() => timed.fire(), retries) },
};
