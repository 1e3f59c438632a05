import CircuitBreaker from "opossum";
import { lacks } from "../lacks.mjs";

// The breaker is built around one function, so the operation is handed in as its argument.
const act = (operation, options) => operation(options);
const runner =
  (policy) =>
  (operation, options = {}) =>
    policy.fire(operation, options);

export const breaker = ({ failures = 3, openMs, timeoutMs = false, countsAsFailure }) =>
  runner(
    new CircuitBreaker(act, {
      timeout: timeoutMs,
      resetTimeout: openMs,
      volumeThreshold: failures,
      errorFilter: countsAsFailure && ((error) => !countsAsFailure(error)),
    }),
  );

export const timeWindow = ({ windowMs, percent, minimumCalls }) =>
  runner(
    new CircuitBreaker(act, {
      timeout: false,
      rollingCountTimeout: windowMs,
      volumeThreshold: minimumCalls,
      errorThresholdPercentage: percent,
    }),
  );

export function timeout({ ms }) {
  const policy = new CircuitBreaker(act, { timeout: ms, autoRenewAbortController: true, volumeThreshold: 100 });
  return (operation) => policy.fire(operation, { signal: policy.getSignal() });
}

export const slots = ({ concurrency, timeoutMs }) =>
  runner(new CircuitBreaker(act, { capacity: concurrency, timeout: timeoutMs, volumeThreshold: 100 }));

export const queue = () => lacks("refuses what exceeds `capacity`, has no queue");

export const fallback = ({ backup }) => runner(new CircuitBreaker(act, {}).fallback(() => backup()));

export const without = { slots: "order" };
