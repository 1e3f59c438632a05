import * as alfred from "@git-stunts/alfred";

const runner =
  (policy) =>
  (operation, options = {}) =>
    policy.execute(() => operation(options));

export function breaker({ failures = 3, openMs, timeoutMs, countsAsFailure }) {
  const policy = alfred.circuitBreaker({ threshold: failures, duration: openMs, shouldTrip: countsAsFailure });
  if (timeoutMs === undefined) return runner(policy);
  return (operation) => policy.execute(() => alfred.timeout(timeoutMs, (signal) => operation({ signal })));
}

const seriesOf = ({ retries, waitMs, asShipped }) =>
  asShipped ? { retries, delay: waitMs } : { retries, delay: waitMs, maxDelay: waitMs };

export const retry =
  (options) =>
  (operation, { signal } = {}) =>
    alfred.retry((inner) => operation({ signal: inner }), { ...seriesOf(options), signal });

export const retryWithin =
  ({ totalMs, ...series }) =>
  (operation) =>
    alfred.timeout(totalMs, (signal) => alfred.retry(() => operation({ signal }), { ...seriesOf(series), signal }));

export const queue = ({ concurrency, length }) => runner(alfred.bulkhead({ limit: concurrency, queueLimit: length }));

export const timeout =
  ({ ms }) =>
  (operation) =>
    alfred.timeout(ms, (signal) => operation({ signal }));

export function slots({ concurrency, timeoutMs, timeoutInside }) {
  const limit = alfred.bulkhead({ limit: concurrency, queueLimit: 10 });
  return timeoutInside
    ? (operation) => limit.execute(() => alfred.timeout(timeoutMs, (signal) => operation({ signal })))
    : (operation) => alfred.timeout(timeoutMs, (signal) => limit.execute(() => operation({ signal })));
}

// A bucket of one spaces the calls, and so never lets a burst through beside what refills.
export const limiter = ({ limit, intervalMs }) =>
  runner(
    alfred.rateLimit({
      rate: (Math.max(1, limit - 1) * 1000) / intervalMs,
      burst: 1,
      queueLimit: Number.MAX_SAFE_INTEGER,
    }),
  );

export const fallback = ({ backup }) =>
  runner(alfred.fallback({ execute: (operation) => operation() }, { execute: () => backup() }));

export const without = { queue: "signal", limiter: "cost" };
