import type { Policy } from "../core/policy.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { Fallback, type FallbackOptions, type FallbackSource, type FallbackValue } from "./fallback.ts";
import { type RetryOptions, RetryPolicy } from "./retry.ts";
import { Timeout, type TimeoutOptions } from "./timeout.ts";

/** Wraps a function, or decorates a method (the TC39 standard decorators). Name and `this` are kept. */
export type Wrapper<F = never> = <This, A extends unknown[], R>(
  fn: (this: This, ...args: A) => R,
  context?: ClassMethodDecoratorContext<This, (this: This, ...args: A) => R>,
) => (this: This, ...args: A) => Promise<Awaited<R> | F>;

function wrapper<F>(policy: Policy<F>): Wrapper<F> {
  return (fn) => policy.wrap(fn);
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
