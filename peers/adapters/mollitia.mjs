import * as mollitia from "mollitia";

const runner = (...modules) => {
  const circuit = new mollitia.Circuit({ func: (operation, options) => operation(options), options: { modules } });
  return (operation, options = {}) => circuit.execute(operation, options);
};

export const breaker = ({ failures = 3, openMs, timeoutMs, probeTimeoutMs = 0, countsAsFailure }) =>
  runner(
    new mollitia.SlidingCountBreaker({
      slidingWindowSize: failures,
      minimumNumberOfCalls: failures,
      openStateDelay: openMs,
      halfOpenStateMaxDelay: probeTimeoutMs,
      permittedNumberOfCallsInHalfOpenState: 1,
      onError: countsAsFailure,
    }),
    ...(timeoutMs ? [new mollitia.Timeout({ delay: timeoutMs })] : []),
  );

export const timeWindow = ({ windowMs, percent, minimumCalls }) =>
  runner(
    new mollitia.SlidingTimeBreaker({
      slidingWindowSize: windowMs,
      minimumNumberOfCalls: minimumCalls,
      failureRateThreshold: percent,
    }),
  );

const retrying = ({ retries, waitMs, asShipped = false }) =>
  new mollitia.Retry({ attempts: retries, interval: waitMs, ...(asShipped && { mode: "exponential" }) });

export const retry = (options) => runner(retrying(options));

export const retryWithin = ({ totalMs, ...series }) =>
  runner(new mollitia.Timeout({ delay: totalMs }), retrying(series));

export const queue = ({ concurrency, length }) =>
  runner(new mollitia.Bulkhead({ concurrentSize: concurrency, queueSize: length }));

export const timeout = ({ ms }) => runner(new mollitia.Timeout({ delay: ms }));

export function slots({ concurrency, timeoutMs, timeoutInside }) {
  const modules = [
    new mollitia.Bulkhead({ concurrentSize: concurrency, queueSize: 10 }),
    new mollitia.Timeout({ delay: timeoutMs }),
  ];
  return runner(...(timeoutInside ? modules : modules.reverse()));
}

export const limiter = ({ limit, intervalMs }) =>
  runner(new mollitia.Ratelimit({ limitPeriod: intervalMs, limitForPeriod: limit }));

export const without = { retry: "signal", queue: "signal", limiter: "cost" };
