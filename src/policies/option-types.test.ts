import { test } from "vitest";
import { pipeline } from "../core/pipeline.ts";
import { Budget } from "./budget.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import { Bulkhead } from "./bulkhead.ts";
import { Chaos } from "./chaos.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import {
  bulkhead,
  circuitBreaker,
  detectContention,
  fallback,
  hedge,
  rateLimit,
  retryWithBackoff,
  timeout,
} from "./decorate.ts";
import { Fallback } from "./fallback.ts";
import { Hedge } from "./hedge.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { ResourceLock } from "./resource-lock.ts";
import { RetryPolicy } from "./retry.ts";
import { RetryBudget } from "./retry-budget.ts";
import { Timeout } from "./timeout.ts";

// What is checked here is checked by the compiler: each function below is compiled and never called.

const requests = { limit: 1 };

test("an option that no policy knows does not compile (C0.3)", () => {
  void (() => {
    // @ts-expect-error
    new RetryPolicy({ attempts: 3 });
    // @ts-expect-error
    new CircuitBreaker({ threshold: 3 });
    // @ts-expect-error
    new Timeout({ attemptTimeoutMs: 1, totalTimeout: 1 });
    // @ts-expect-error
    new Bulkhead({ maxConcurrent: 1, queueSize: 1 });
    // @ts-expect-error
    new AdaptiveConcurrency({ maxConcurrent: 1 });
    // @ts-expect-error
    new AdaptiveConcurrency({ shares: { urgent: 1 } });
    // @ts-expect-error
    void new AdaptiveConcurrency().execute(() => 1, { priority: "urgent" });
    // @ts-expect-error
    new ResourceLock({ timeoutMs: 1 });
    // @ts-expect-error
    new RateLimiter({ limits: { requests }, maxWait: 1 });
    // @ts-expect-error
    new RateLimiter({ limits: { calls: requests } });
    // @ts-expect-error
    new RateLimiter({ limits: { requests: { limit: 1, windowMs: 1 } } });
    // @ts-expect-error
    new Budget({ limitEur: 1 });
    // @ts-expect-error
    new Hedge({ delayMs: 1, hedges: 1 });
    // @ts-expect-error
    new Fallback({ fallback: 1, fallbacks: [] });
    // @ts-expect-error
    new Chaos({ enabled: true, inject: [{ latency: 1 }] });
    // @ts-expect-error
    new RetryBudget({ rate: 1 });
    // @ts-expect-error
    void new RetryPolicy().execute(() => 1, { timeoutMs: 1 });
    // @ts-expect-error
    void pipeline(new RetryPolicy()).executeOutcome(() => 1, { abort: new AbortController().signal });
  });
});

test("an option of another type does not compile (C0.3)", () => {
  void (() => {
    // @ts-expect-error
    new RetryPolicy({ maxAttempts: "3" });
    // @ts-expect-error
    new RetryPolicy({ jitter: true });
    // @ts-expect-error
    new RetryPolicy({ strategy: "quadratic" });
    // @ts-expect-error
    new RetryPolicy({ retryableErrors: 500 });
    // @ts-expect-error
    new RetryPolicy({ retryBudget: { ratio: 0.1 } });
    // @ts-expect-error
    new CircuitBreaker({ failureThreshold: null });
    // @ts-expect-error
    new CircuitBreaker({ fallbackOn: "closed" });
    // @ts-expect-error
    new CircuitBreaker({ onStateChange: "log" });
    // @ts-expect-error
    new Timeout({ attemptTimeoutMs: 5n });
    // @ts-expect-error
    new Bulkhead({ maxConcurrent: 1, dryRun: "yes" });
    // @ts-expect-error
    new ResourceLock({ maxConcurrent: "1" });
    // @ts-expect-error
    new RateLimiter({ limits: { requests: { limit: 1, algorithm: "leaky-bucket" } } });
    // @ts-expect-error
    new Budget({ limitUsd: 1, onExhausted: "wait" });
    // @ts-expect-error
    new Hedge({ delayMs: 1, percentile: "95" });
    // @ts-expect-error
    new Chaos({ enabled: 1 });
    // @ts-expect-error
    void new RetryPolicy().execute(() => 1, { signal: "stop" });
    // @ts-expect-error what stands in a pipeline is a policy
    pipeline(new RetryPolicy(), () => 1);
  });
});

test("an option that must be there is missed (C0.3)", () => {
  void (() => {
    // @ts-expect-error
    new Timeout();
    // @ts-expect-error
    new Bulkhead({});
    // @ts-expect-error
    new RateLimiter({});
    // @ts-expect-error
    new RateLimiter({ limits: { requests: {} } });
    // @ts-expect-error
    new Hedge({});
    // @ts-expect-error
    new Fallback({});
  });
});

test("a window has the options of its kind and no other (C2.1)", () => {
  void (() => {
    new CircuitBreaker({ window: { kind: "consecutive" } });
    new CircuitBreaker({ window: { kind: "count", size: 5, failureRateThreshold: 0.5 } });
    new CircuitBreaker({ window: { kind: "time", sizeMs: 5, minimumCalls: 2 } });
    // @ts-expect-error a window of calls has a size
    new CircuitBreaker({ window: { kind: "count", sizeMs: 5 } });
    // @ts-expect-error a window of time has a size in milliseconds
    new CircuitBreaker({ window: { kind: "time", size: 5 } });
    // @ts-expect-error it must say its size
    new CircuitBreaker({ window: { kind: "count" } });
    // @ts-expect-error failures in a row have no rate
    new CircuitBreaker({ window: { kind: "consecutive", failureRateThreshold: 0.5 } });
    // @ts-expect-error there is no such kind
    new CircuitBreaker({ window: { kind: "sliding", size: 5 } });
  });
});

test("wrappers take the options of their classes (C1.8)", () => {
  void (() => {
    // @ts-expect-error
    retryWithBackoff({ attempts: 1 });
    // @ts-expect-error
    circuitBreaker({ window: { kind: "count" } });
    // @ts-expect-error
    timeout({ ms: 1 });
    // @ts-expect-error
    fallback({});
    // @ts-expect-error
    hedge({});
    // @ts-expect-error
    bulkhead({ maxQueue: 1 });
    // @ts-expect-error
    detectContention({ timeout: 1 });
    // @ts-expect-error
    rateLimit({ limit: 1 });
    // @ts-expect-error what is wrapped is a function
    retryWithBackoff()("find");
  });
});

test("an option may be undefined, as one that was read from somewhere may be", () => {
  void (() => {
    new RetryPolicy({ maxAttempts: undefined, retryBudget: undefined });
    new CircuitBreaker({ name: undefined, window: undefined, fallbackOn: undefined });
    new Bulkhead({ maxConcurrent: 1, maxQueue: undefined });
    void new RetryPolicy().execute(() => 1, { signal: undefined, deadlineMs: undefined });
  });
});
