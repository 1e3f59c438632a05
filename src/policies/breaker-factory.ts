import { type Runtime, systemRuntime } from "../core/runtime.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import type { CircuitBreakerStats } from "./breaker-state.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import type { FallbackSource } from "./fallback.ts";
import { namedBreakers } from "./named-breakers.ts";

/**
 * The breakers that are shared by name within this process: those made here, and those made with `shared: true`. One
 * name is one breaker.
 *
 * What nobody has asked for within an hour is let go, and earlier where there are more than 10 000 names; but never
 * a breaker that somebody still holds, nor one that is open and waits, or was isolated or disabled by hand.
 *
 * @example
 * ```ts
 * import { CircuitBreakerFactory } from "holdfast/policies";
 *
 * const breaker = CircuitBreakerFactory.create({ name: "search", failureThreshold: 3 });
 * console.log(CircuitBreakerFactory.get("search") === breaker); // => true
 * CircuitBreakerFactory.create({ name: "search", failureThreshold: 4 }); // throws "exists with another failureThreshold"
 * ```
 */
export const CircuitBreakerFactory = {
  /**
   * The breaker of that name, which is made where there is none. With no option but the name it is the one that is
   * there; with other options than it has, a `ConfigError` says which one differs.
   */
  create<const S extends FallbackSource = never>(
    options: CircuitBreakerOptions<S> & { name: string },
    runtime: Runtime = systemRuntime,
  ): CircuitBreaker<S> {
    return new CircuitBreaker<S>({ ...options, shared: true }, runtime);
  },

  /** The breaker of that name; undefined where there is none. */
  get(name: string, runtime: Runtime = systemRuntime): CircuitBreaker<FallbackSource> | undefined {
    return namedBreakers(runtime).get(name) as CircuitBreaker<FallbackSource> | undefined;
  },

  /** The statistics of each, by name. */
  getAllStats(runtime: Runtime = systemRuntime): Record<string, CircuitBreakerStats> {
    return Object.fromEntries(Array.from(namedBreakers(runtime), ([name, { circuit }]) => [name, circuit.getStats()]));
  },

  /** Resets the breaker of that name, or all of them, and says how many that were. */
  reset(name?: string, runtime: Runtime = systemRuntime): number {
    const breakers = Array.from(namedBreakers(runtime)).filter(([each]) => name === undefined || each === name);
    for (const [, { circuit }] of breakers) circuit.reset();
    return breakers.length;
  },

  /** Forgets the breaker of that name, so that the next to ask gets a new one. Whoever holds it can go on with it. */
  delete(name: string, runtime: Runtime = systemRuntime): boolean {
    return namedBreakers(runtime).delete(name);
  },
};
