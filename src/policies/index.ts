/** Resilience policies: no dependency, no `node:` import; for Node, browsers, workers, Bun and Deno. */
export { Call, type CallCost, type CallOptions, type Priority, type RetryInfo } from "../core/call.ts";
export { Clock, systemClock, type Timer } from "../core/clock.ts";
export {
  CircuitBreakerOpenError,
  ConfigError,
  FallbackFailedError,
  HoldfastError,
  LeaseLostError,
  RefusedError,
  RetryExhaustedError,
  StoreUnavailableError,
  TimeoutError,
} from "../core/errors.ts";
export {
  type BudgetDecision,
  Events,
  type EventListener,
  type EventTable,
  type EventType,
  type HoldfastEvent,
} from "../core/events.ts";
export { Pipeline, pipeline } from "../core/pipeline.ts";
export type { Failed, Invoke, Operation, Outcome, Policy, PolicyDescription, Served } from "../core/policy.ts";
export type { SharedChange, SharedState, Sharing } from "../core/shared-state.ts";
export {
  BudgetExceededError,
  type BudgetShortfall,
  type BudgetUnit,
  BulkheadFullError,
  ContentionDetectedError,
  type LimiterWhy,
  OverloadShedError,
  RateLimitedError,
  type ShedWhy,
} from "../core/policy-errors.ts";
export { type Random, seededRandom, systemRandom } from "../core/random.ts";
export { onEvent, type Runtime, systemRuntime } from "../core/runtime.ts";
export { AdaptiveConcurrency, type AdaptiveConcurrencyStats } from "./adaptive-concurrency.ts";
export type { AdaptiveConcurrencyOptions, PriorityShares } from "./adaptive-options.ts";
export type { BackoffFunction, BackoffOptions, BackoffStrategy, Jitter } from "./backoff.ts";
export { Budget, type ReserveOptions } from "./budget.ts";
export type { BudgetOptions } from "./budget-options.ts";
export { CircuitBreakerFactory } from "./breaker-factory.ts";
export type { CircuitBreakerOptions, CircuitState, RecoveryBackoff } from "./breaker-options.ts";
export type { CircuitBreakerState, CircuitBreakerStats, FleetStanding } from "./breaker-state.ts";
export { Bulkhead, type BulkheadOptions, type BulkheadStats } from "./bulkhead.ts";
export { Chaos, type ChaosEffect, type ChaosInjection, type ChaosOptions } from "./chaos.ts";
export { CircuitBreaker } from "./circuit-breaker.ts";
export {
  bulkhead,
  circuitBreaker,
  detectContention,
  fallback,
  hedge,
  rateLimit,
  retryWithBackoff,
  timeout,
  type Wrapper,
} from "./decorate.ts";
export type { AdaptiveOptions } from "./failure-baseline.ts";
export type { WindowOptions } from "./failure-window.ts";
export {
  Fallback,
  type FallbackInfo,
  type FallbackOptions,
  type FallbackSource,
  type FallbackValue,
} from "./fallback.ts";
export { Hedge, type HedgeOptions, type HedgeStats } from "./hedge.ts";
export type { BudgetState, Reservation } from "./ledger.ts";
export type { Matcher } from "./matcher.ts";
export { getResourceLock } from "./named-locks.ts";
export { type LockPermit, type LockStats, ResourceLock, type ResourceLockOptions } from "./resource-lock.ts";
export { type RateSnapshot, readRateSnapshot, type UpstreamLimit } from "./rate-headers.ts";
export { RateLimiter, type RateLimiterStats } from "./rate-limiter.ts";
export type { RateKind, RateLimit, RateLimiterOptions, RateLimits } from "./rate-limits.ts";
export { type RetryOptions, RetryPolicy } from "./retry.ts";
export { RetryBudget, type RetryBudgetOptions } from "./retry-budget.ts";
export { sharing } from "./sharing.ts";
export { Timeout, type TimeoutOptions } from "./timeout.ts";
