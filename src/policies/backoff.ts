import { aFunction, either, numberBetween, oneOf, type Rule } from "../core/options.ts";
import type { Random } from "../core/random.ts";

/** How waits grow with the number of the attempt. */
export type BackoffStrategy =
  "immediate" | "fixed" | "linear" | "exponential" | "fibonacci" | "decorrelated" | BackoffFunction;

/** The wait after attempt `n` (from 1) in milliseconds, before cap and jitter; `previousMs` is the wait before it. */
export type BackoffFunction = (n: number, previousMs: number) => number;

/** How waits are spread, so that clients which failed together do not come back together. */
export type Jitter = "full" | "equal" | "none";

export interface BackoffOptions {
  /** The unit of the waits. @default 1000 */
  initialDelayMs?: number | undefined;
  /** No wait is longer, jitter included. @default 30000 */
  maxDelayMs?: number | undefined;
  /**
   * For a base b, a multiplier m and n = 1 after the first attempt: `immediate` 0, `fixed` b, `linear` b·n·m,
   * `exponential` b·m^(n-1), `fibonacci` b·F(n), `decorrelated` a random wait between b and three times the one
   * before, or a function. @default "exponential"
   */
  strategy?: BackoffStrategy | undefined;
  /** The multiplier m. @default 2 for exponential, 1 for linear */
  backoffMultiplier?: number | undefined;
  /** `full`: anywhere from 0 to the wait; `equal`: the upper half; `none`: exactly the wait. @default "full" */
  jitter?: Jitter | undefined;
  /** Instead of `jitter`: plus or minus this share of the wait, from 0 to 1. */
  jitterFactor?: number | undefined;
}

const strategies = oneOf("immediate", "fixed", "linear", "exponential", "fibonacci", "decorrelated");

/** The rules of the options that are not durations. */
export const strategyRule: Rule = either(strategies, aFunction);
export const jitterRule: Rule = oneOf("full", "equal", "none");
export const jitterFactorRule: Rule = numberBetween(0, 1);
export const multiplierRule: Rule = numberBetween(0, 1e6);

/** The wait before cap and jitter. Any `n` gives a number: sums that overflow end at `Infinity` and are capped later. */
function rawDelay(
  strategy: BackoffStrategy,
  b: number,
  multiplier: number | undefined,
  n: number,
  previousMs: number,
  random: Random,
): number {
  if (typeof strategy === "function") return strategy(n, previousMs);
  // Nothing times a sum that has overflowed would be NaN.
  if (b === 0) return 0;
  switch (strategy) {
    case "immediate":
      return 0;
    case "fixed":
      return b;
    case "linear":
      return b * n * (multiplier ?? 1);
    case "exponential":
      return b * (multiplier ?? 2) ** (n - 1);
    case "fibonacci":
      return b * fibonacci(n);
    case "decorrelated":
      // Brooker, "Exponential Backoff and Jitter" (2015): sleep = min(cap, random_between(base, sleep * 3)).
      return b + random() * Math.max(0, (n === 1 ? b : previousMs) * 3 - b);
  }
}

// Binet's formula drifts and F(79) passes 2^53, where waits are long since capped: adding is exact until then.
function fibonacci(n: number): number {
  let [a, b] = [0, 1];
  for (let i = 1; i < n && b < Infinity; i++) [a, b] = [b, a + b];
  return b;
}

/** Adds jitter to a capped wait. Decorrelated waits are random already. */
function spread(delayMs: number, options: BackoffOptions, random: Random): number {
  if (options.jitterFactor !== undefined) return delayMs * (1 + (random() * 2 - 1) * options.jitterFactor);
  if (options.strategy === "decorrelated") return delayMs;
  switch (options.jitter ?? "full") {
    case "full":
      return delayMs * random();
    case "equal":
      return delayMs * (0.5 + random() / 2);
    case "none":
      return delayMs;
  }
}

/** The wait after attempt `n`, from 1: capped, then spread, then clamped to [0, maxDelayMs] (C1.2). */
export function backoffDelay(options: BackoffOptions, n: number, previousMs: number, random: Random): number {
  const cap = options.maxDelayMs ?? 30_000;
  const raw = rawDelay(
    options.strategy ?? "exponential",
    options.initialDelayMs ?? 1000,
    options.backoffMultiplier,
    n,
    previousMs,
    random,
  );
  // A user's function may return anything. The longest wait is the one reading of it that does no harm.
  const least = Math.min(raw, cap);
  const capped = Number.isNaN(least) ? cap : least;
  return Math.max(0, Math.min(spread(capped, options, random), cap));
}
