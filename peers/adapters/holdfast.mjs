import {
  Bulkhead,
  CircuitBreaker,
  Fallback,
  pipeline,
  RateLimiter,
  RetryPolicy,
  Timeout,
} from "../../dist/policies/index.js";

const runner = (policy) => (operation, options) => policy.execute(operation, options);

export function breaker({ failures = 3, openMs, timeoutMs, probeTimeoutMs, countsAsFailure }) {
  const policy = new CircuitBreaker({
    failureThreshold: failures,
    recoveryTimeoutMs: openMs,
    successThreshold: 1,
    probeTimeoutMs,
    countsAsFailure,
  });
  return runner(timeoutMs ? pipeline(policy, new Timeout({ attemptTimeoutMs: timeoutMs })) : policy);
}

export const retryAfterMs = (error) => error.retryAfterMs;

export const timeWindow = ({ windowMs, percent, minimumCalls }) =>
  runner(
    new CircuitBreaker({
      recoveryTimeoutMs: 60_000,
      window: { kind: "time", sizeMs: windowMs, failureRateThreshold: percent / 100, minimumCalls },
    }),
  );

export const retry = ({ retries, waitMs, asShipped = false }) =>
  runner(
    new RetryPolicy(
      asShipped
        ? { maxRetries: retries, initialDelayMs: waitMs }
        : { maxRetries: retries, initialDelayMs: waitMs, maxDelayMs: waitMs, strategy: "fixed", jitter: "none" },
    ),
  );

export const retryWithin = ({ totalMs, ...series }) => {
  const { retries: maxRetries, waitMs: initialDelayMs } = series;
  const policy = new RetryPolicy({ maxRetries, initialDelayMs, strategy: "fixed", jitter: "none" });
  return runner(pipeline(new Timeout({ totalTimeoutMs: totalMs }), policy));
};

export const queue = ({ concurrency, length }) =>
  runner(new Bulkhead({ maxConcurrent: concurrency, maxQueue: length }));

export const timeout = ({ ms }) => runner(new Timeout({ attemptTimeoutMs: ms }));

export function slots({ concurrency, timeoutMs, timeoutInside }) {
  const limit = new Bulkhead({ maxConcurrent: concurrency, maxQueue: 10 });
  const clock = new Timeout({ attemptTimeoutMs: timeoutMs });
  return runner(timeoutInside ? pipeline(limit, clock) : pipeline(clock, limit));
}

export function limiter({ limit, intervalMs }) {
  const policy = new RateLimiter({ limits: { requests: { limit, intervalMs, algorithm: "sliding-window" } } });
  return (operation, { cost = 1 } = {}) => policy.execute(operation, { cost: { requests: cost } });
}

export const fallback = ({ backup }) => runner(new Fallback({ fallback: backup }));
