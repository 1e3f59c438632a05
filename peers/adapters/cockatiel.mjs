import {
  bulkhead,
  circuitBreaker,
  ConsecutiveBreaker,
  ConstantBackoff,
  ExponentialBackoff,
  fallback as fallingBack,
  handleAll,
  handleWhen,
  retry as retrying,
  SamplingBreaker,
  timeout as timingOut,
  TimeoutStrategy,
  wrap,
} from "cockatiel";

const runner =
  (policy) =>
  (operation, { signal } = {}) =>
    policy.execute(operation, signal);
const aggressive = { strategy: TimeoutStrategy.Aggressive };

export function breaker({ failures = 3, openMs, timeoutMs, countsAsFailure }) {
  const policy = circuitBreaker(countsAsFailure ? handleWhen(countsAsFailure) : handleAll, {
    halfOpenAfter: openMs,
    breaker: new ConsecutiveBreaker(failures),
  });
  return runner(timeoutMs ? wrap(policy, timingOut(timeoutMs, aggressive)) : policy);
}

export const timeWindow = ({ windowMs, percent, minimumCalls }) =>
  runner(
    circuitBreaker(handleAll, {
      halfOpenAfter: 60_000,
      breaker: new SamplingBreaker({
        threshold: Math.min(percent, 99) / 100,
        duration: windowMs,
        minimumRps: minimumCalls / (windowMs / 1000),
      }),
    }),
  );

export const retry = ({ retries, waitMs, asShipped = false }) =>
  runner(
    retrying(handleAll, {
      maxAttempts: retries,
      backoff: asShipped ? new ExponentialBackoff({ initialDelay: waitMs }) : new ConstantBackoff(waitMs),
    }),
  );

export const retryWithin = ({ totalMs, ...series }) => {
  const policy = retrying(handleAll, { maxAttempts: series.retries, backoff: new ConstantBackoff(series.waitMs) });
  return runner(wrap(timingOut(totalMs, aggressive), policy));
};

export const queue = ({ concurrency, length }) => runner(bulkhead(concurrency, length));

export const timeout = ({ ms }) => runner(timingOut(ms, aggressive));

export function slots({ concurrency, timeoutMs, timeoutInside }) {
  const limit = bulkhead(concurrency, 10);
  const clock = timingOut(timeoutMs, aggressive);
  return runner(timeoutInside ? wrap(limit, clock) : wrap(clock, limit));
}

export const fallback = ({ backup }) => runner(fallingBack(handleAll, backup));
