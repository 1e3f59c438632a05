/** Resilience policies: no dependency, no `node:` import; for Node, browsers, workers, Bun and Deno. */
export { Call, type CallOptions, type RetryInfo } from "../core/call.ts";
export { Clock, systemClock, type Timer } from "../core/clock.ts";
export {
  CircuitBreakerOpenError,
  ConfigError,
  FallbackFailedError,
  HoldfastError,
  RefusedError,
  RetryExhaustedError,
  TimeoutError,
} from "../core/errors.ts";
export { Events, type EventListener, type EventTable, type EventType, type HoldfastEvent } from "../core/events.ts";
export { Pipeline, pipeline } from "../core/pipeline.ts";
export type { Failed, Invoke, Operation, Outcome, Policy, PolicyDescription, Served } from "../core/policy.ts";
export { type Random, seededRandom, systemRandom } from "../core/random.ts";
export { onEvent, type Runtime, systemRuntime } from "../core/runtime.ts";
export type { BackoffFunction, BackoffOptions, BackoffStrategy, Jitter } from "./backoff.ts";
export type { CircuitBreakerOptions, CircuitState, RecoveryBackoff } from "./breaker-options.ts";
export type { CircuitBreakerState, CircuitBreakerStats } from "./breaker-state.ts";
export { CircuitBreaker } from "./circuit-breaker.ts";
export { circuitBreaker, fallback, retryWithBackoff, timeout, type Wrapper } from "./decorate.ts";
export type { WindowOptions } from "./failure-window.ts";
export {
  Fallback,
  type FallbackInfo,
  type FallbackOptions,
  type FallbackSource,
  type FallbackValue,
} from "./fallback.ts";
export type { Matcher } from "./matcher.ts";
export { type RetryOptions, RetryPolicy } from "./retry.ts";
export { Timeout, type TimeoutOptions } from "./timeout.ts";
