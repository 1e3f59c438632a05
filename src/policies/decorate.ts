import type { Policy } from "../core/policy.ts";
import { Bulkhead, type BulkheadOptions } from "./bulkhead.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { Fallback, type FallbackOptions, type FallbackSource, type FallbackValue } from "./fallback.ts";
import { Hedge, type HedgeOptions } from "./hedge.ts";
import { ResourceLock, type ResourceLockOptions } from "./resource-lock.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { RateLimiterOptions } from "./rate-limits.ts";
import { type RetryOptions, RetryPolicy } from "./retry.ts";
import { Timeout, type TimeoutOptions } from "./timeout.ts";

/** Wraps a function, or decorates a method (the TC39 standard decorators). Name and `this` are kept. */
export interface Wrapper<F = never> {
  /** A method that gives a promise keeps its type as it is, generics and overloads too, where no fallback adds to it. */
  <M extends (this: never, ...args: never[]) => [F] extends [never] ? Promise<unknown> : never>(
    method: M,
    context: Pick<ClassMethodDecoratorContext, "kind">,
  ): M;
  <This, A extends unknown[], R>(
    fn: (this: This, ...args: A) => R,
    context?: ClassMethodDecoratorContext<This, (this: This, ...args: A) => R>,
  ): (this: This, ...args: A) => Promise<Awaited<R> | F>;
}

function wrapper<F>(policy: Policy<F>): Wrapper<F> {
  return <This, A extends unknown[], R>(fn: (this: This, ...args: A) => R) => policy.wrap(fn);
}

/**
 * A function or method under a {@link RetryPolicy}.
 *
 * @example
 * ```ts
 * import { retryWithBackoff } from "holdfast/policies";
 *
 * let calls = 0;
 * const load = retryWithBackoff({ maxAttempts: 3, initialDelayMs: 1 })(async (id: string) => {
 *   if (++calls < 2) throw new Error("busy");
 *   return `customer ${id}`;
 * });
 * console.log(await load("17")); // => "customer 17"
 * ```
 */
export function retryWithBackoff(options: RetryOptions = {}): Wrapper {
  return wrapper(new RetryPolicy(options));
}

/** A function or method under a {@link CircuitBreaker}; all instances of a class share the breaker of a method. */
export function circuitBreaker<const S extends FallbackSource = never>(
  options: CircuitBreakerOptions<S> = {},
): Wrapper<FallbackValue<S>> {
  return wrapper(new CircuitBreaker<S>(options));
}

/** A function or method under a {@link Timeout}. */
export function timeout(options: TimeoutOptions): Wrapper {
  return wrapper(new Timeout(options));
}

/** A function or method under a {@link Fallback}. */
export function fallback<const S extends FallbackSource>(options: FallbackOptions<S>): Wrapper<FallbackValue<S>> {
  return wrapper(new Fallback<S>(options));
}

/** A function or method under a {@link Hedge}. A hedge calls it again beside itself, so it must be one that may. */
export function hedge(options: HedgeOptions): Wrapper {
  return wrapper(new Hedge(options));
}

/** A function or method under a {@link Bulkhead}; all instances of a class share the slots of a method. */
export function bulkhead(options: BulkheadOptions): Wrapper {
  return wrapper(new Bulkhead(options));
}

/** A function or method under a {@link ResourceLock}; all instances of a class share the lock of a method. */
export function detectContention(options: ResourceLockOptions = {}): Wrapper {
  return wrapper(new ResourceLock(options));
}

/** A function or method under a {@link RateLimiter}; costs that are functions see its arguments. */
export function rateLimit(options: RateLimiterOptions): Wrapper {
  return wrapper(new RateLimiter(options));
}
