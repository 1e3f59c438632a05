// The peers, each with its own idea of the same work and in its quickest setting.
import * as alfredApi from "@git-stunts/alfred";
import * as cockatielApi from "cockatiel";
import Opossum from "opossum";
import pLimit from "p-limit";
import pRetry from "p-retry";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { fail, fn, swallow, TIMEOUT_MS, trip } from "./operation.mjs";

const { circuitBreaker, ConsecutiveBreaker, SamplingBreaker, ExponentialBackoff, handleAll } = cockatielApi;
const { bulkhead, retry, timeout, wrap } = cockatielApi;
// In cockatiel 4.0.0 and in p-retry the figure counts the attempts after the first.
const cockatielRetry = () => retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff() });
const cockatielBreaker = () => circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(5) });
const cockatielTimeout = () => timeout(TIMEOUT_MS, { strategy: cockatielApi.TimeoutStrategy.Aggressive });
const policies = {
  retry: cockatielRetry(),
  closed: cockatielBreaker(),
  open: cockatielBreaker(),
  windowed: circuitBreaker(handleAll, {
    halfOpenAfter: 60_000,
    breaker: new SamplingBreaker({ threshold: 0.5, duration: 10_000 }),
  }),
  timeout: cockatielTimeout(),
  bulkhead: bulkhead(10, 10),
  pipeline: wrap(cockatielRetry(), cockatielBreaker(), bulkhead(10, 10), cockatielTimeout()),
};
await trip(() => policies.open.execute(fail));

const cockatiel = {
  retry: () => policies.retry.execute(fn),
  "breaker closed": () => policies.closed.execute(fn),
  "breaker closed, time window": () => policies.windowed.execute(fn),
  "breaker open, thrown": swallow(() => policies.open.execute(fn)),
  timeout: () => policies.timeout.execute(fn),
  bulkhead: () => policies.bulkhead.execute(fn),
  pipeline: () => policies.pipeline.execute(fn),
};

const alfredBreaker = (threshold) => alfredApi.circuitBreaker({ threshold, duration: 60_000 });
const alfredClosed = alfredBreaker(5);
const alfredOpen = alfredBreaker(1);
const alfredBulkhead = alfredApi.bulkhead({ limit: 10, queueLimit: 10 });
const alfredLimiter = alfredApi.rateLimit({ rate: 1e9, burst: 1e9 });
const alfredRetries = { retries: 2, delay: 100 };
const alfredPipeline = alfredApi.Policy.retry(alfredRetries)
  .wrap(alfredApi.Policy.circuitBreaker({ threshold: 5, duration: 60_000 }))
  .wrap(alfredApi.Policy.bulkhead({ limit: 10, queueLimit: 10 }))
  .wrap(alfredApi.Policy.timeout(TIMEOUT_MS));
await trip(() => alfredOpen.execute(fail));

const alfred = {
  retry: () => alfredApi.retry(fn, alfredRetries),
  "breaker closed": () => alfredClosed.execute(fn),
  "breaker open, thrown": swallow(() => alfredOpen.execute(fn)),
  timeout: () => alfredApi.timeout(TIMEOUT_MS, fn),
  bulkhead: () => alfredBulkhead.execute(fn),
  "rate limiter": () => alfredLimiter.execute(fn),
  pipeline: () => alfredPipeline.execute(fn),
};

const quiet = { enableSnapshots: false, rollingPercentilesEnabled: false, resetTimeout: 60_000 };
const closed = new Opossum(fn, { ...quiet, timeout: false });
const open = new Opossum(fail, { ...quiet, timeout: false });
const timed = new Opossum(fn, { ...quiet, timeout: TIMEOUT_MS });
await trip(() => open.fire());

const opossum = {
  "breaker closed": () => closed.fire(),
  "breaker closed, time window": () => closed.fire(),
  "breaker open, thrown": swallow(() => open.fire()),
  timeout: () => timed.fire(),
};

const retries = { retries: 2 };
const limit = pLimit(10);
const points = new RateLimiterMemory({ points: 1e9, duration: 1 });
export const peers = {
  alfred,
  cockatiel,
  opossum,
  "p-limit": { bulkhead: () => limit(fn) },
  "p-retry": { retry: () => pRetry(fn, retries) },
  "p-retry + p-limit + opossum": { pipeline: () => pRetry(() => limit(() => timed.fire()), retries) },
  "rate-limiter-flexible": { "rate limiter": () => points.consume("key").then(fn) },
};
