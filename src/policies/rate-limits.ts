import { ConfigError } from "../core/errors.ts";
import {
  aBoolean,
  aFunction,
  anId,
  anObject,
  aSharedState,
  checkOptions,
  either,
  numberBetween,
  oneOf,
  positiveMs,
  type Rule,
  type Rules,
  show,
} from "../core/options.ts";
import type { SharedState } from "../core/shared-state.ts";
import { type Allowance, SlidingWindow, TokenBucket } from "./rate-allowance.ts";

export interface RateLimiterOptions {
  /** Names the limiter in events and errors. @default "rateLimiter" */
  name?: string | undefined;
  /** How many calls, how many tokens, or both. */
  limits: RateLimits;
  /** A call that would have to wait longer is refused at once. With 0 no call ever waits. @default 60000 */
  maxWaitMs?: number | undefined;
  /**
   * Whether the limiter reads the headers of what operations return and throw, takes over what a server says is left,
   * and stops for as long as a server asks for. @default true
   */
  learn?: boolean | undefined;
  /**
   * Where the limiters of this name in all processes take from the same limits, by the time of that place. A call then
   * waits for its answer. Without it the limiter counts the calls of its own process.
   */
  sharedState?: SharedState | undefined;
  /** Counts and reports what would wait or be refused, and lets every call through at once. @default false */
  dryRun?: boolean | undefined;
}

/** What a limiter can limit, named as rate-limit headers name it. */
export type RateKind = "requests" | "tokens";

/** The limits of a limiter: at least one of them. A call needs room in both. */
export interface RateLimits {
  /** How many calls. */
  requests?: RateLimit | undefined;
  /** How many of what calls use up, such as the tokens of a model. */
  tokens?: RateLimit | undefined;
}

export interface RateLimit {
  /** How much may be taken in each interval. */
  limit: number;
  /** @default 60000 */
  intervalMs?: number | undefined;
  /**
   * A token bucket refills steadily, and lets through as much as has gathered, up to `burst`. A sliding window never
   * lets through more than `limit` in any stretch of `intervalMs`. @default "token-bucket"
   */
  algorithm?: "token-bucket" | "sliding-window" | undefined;
  /** How much a token bucket holds, and so lets through at once after a pause. @default the limit */
  burst?: number | undefined;
  /**
   * What a call takes that does not say it itself (`cost` of its options): a number, or a function of the arguments of
   * the wrapped function. @default 1
   */
  cost?: number | ((...args: never[]) => number) | undefined;
  /**
   * Reads from what the operation returned what the call has really cost, also later, by a promise. The difference is
   * then given back or taken. Undefined leaves it as it was.
   */
  settle?: ((value: never) => number | undefined | PromiseLike<number | undefined>) | undefined;
}

/** An amount of zero or more; 2^53 is beyond any limit in use. */
export const amount: Rule = numberBetween(0, 2 ** 53);
const positiveAmount: Rule = {
  says: "a number above 0",
  allows: (value) => amount.allows(value) && (value as number) > 0,
};

const LIMITS_RULES: Rules<RateLimits> = {
  requests: anObject,
  tokens: anObject,
};

const LIMIT_RULES: Rules<RateLimit> = {
  limit: positiveAmount,
  intervalMs: positiveMs,
  algorithm: oneOf("token-bucket", "sliding-window"),
  burst: positiveAmount,
  cost: either(amount, aFunction),
  settle: aFunction,
};

/** The arguments of a call that is not one of a wrapped function. */
export const NO_ARGUMENTS: readonly unknown[] = [];

const KINDS: readonly RateKind[] = ["requests", "tokens"];

/** One limit at work: how much there is of it, and what a call takes. */
export class Meter {
  readonly kind: RateKind;
  readonly settings: RateLimit & { intervalMs: number };
  readonly allowance: Allowance;
  /** The limit in words. */
  readonly words: string;
  /** What the calls that are waiting will take. */
  queued = 0;
  readonly #cost: number | ((...args: unknown[]) => number);

  constructor(kind: RateKind, settings: RateLimit & { intervalMs: number }) {
    const { limit, intervalMs, algorithm, burst = limit, cost = 1 } = settings;
    this.kind = kind;
    this.settings = settings;
    this.words = `${limit} ${kind} per ${intervalMs} ms`;
    this.#cost = cost as number | ((...args: unknown[]) => number);
    this.allowance =
      algorithm === "sliding-window" ? new SlidingWindow(limit, intervalMs) : new TokenBucket(limit, intervalMs, burst);
  }

  /** What a call takes: what it says itself, or what the cost of the limit makes of its arguments. */
  costOf(given: number | undefined, args: readonly unknown[]): number {
    if (given === undefined && typeof this.#cost === "number") return this.#cost;
    const cost = given ?? this.#costFrom(args);
    if (amount.allows(cost)) return cost;
    throw this.#costError(`must be ${amount.says}, got ${show(cost)}`);
  }

  #costFrom(args: readonly unknown[]): number {
    try {
      return (this.#cost as (...args: unknown[]) => number)(...args);
    } catch (error) {
      if (args !== NO_ARGUMENTS || !(error instanceof TypeError)) throw error;
      throw this.#costError(`is not known: its function was given no arguments, and threw "${error.message}"`, error);
    }
  }

  #costError(what: string, cause?: TypeError): ConfigError {
    return new ConfigError(
      `The cost of a call in ${this.kind} ${what}. A cost function sees the arguments of a function wrapped with wrap(); with execute and in a pipeline, give the call its cost: { cost: { ${this.kind}: … } }.`,
      { cause },
    );
  }

  /** How long a call waits that comes after `ahead`; `Infinity` where it takes more than there can ever be at a time. */
  waitMs(cost: number, ahead: number, now: number): number {
    return cost > this.allowance.capacity ? Infinity : this.allowance.waitMs(ahead + cost, now);
  }
}

/** Checks limits and builds a meter for each. Throws `ConfigError`. */
export function metersFor(limits: RateLimits): Meter[] {
  const given = checkOptions("rateLimiter.limits", limits, LIMITS_RULES);
  const meters = KINDS.flatMap((kind) => (given[kind] === undefined ? [] : [meterFor(kind, given[kind])]));
  if (meters.length === 0)
    throw new ConfigError(
      "rateLimiter.limits needs requests, tokens or both, such as { requests: { limit: 60, intervalMs: 60_000 } }.",
    );
  return meters;
}

function meterFor(kind: RateKind, given: RateLimit): Meter {
  const owner = `rateLimiter.limits.${kind}`;
  const checked = checkOptions(owner, given, LIMIT_RULES);
  if (checked.limit === undefined) throw new ConfigError(`${owner}.limit is missing: say how much an interval allows.`);
  if (checked.burst !== undefined && checked.algorithm === "sliding-window")
    throw new ConfigError(`${owner}.burst is for a token bucket. A sliding window never exceeds its limit.`);
  return new Meter(kind, { ...checked, intervalMs: checked.intervalMs ?? 60_000 });
}

const maxWait: Rule = {
  says: "a number of milliseconds, 0 or more, or Infinity",
  allows: (value) => typeof value === "number" && value >= 0,
};

const RULES: Rules<RateLimiterOptions> = {
  name: anId,
  limits: anObject,
  maxWaitMs: maxWait,
  learn: aBoolean,
  sharedState: aSharedState,
  dryRun: aBoolean,
};

/** Checks the options of a limiter, all but its limits, and fills in its defaults. Throws `ConfigError`. */
export function limiterSettings(options: RateLimiterOptions): {
  [K in Exclude<keyof RateLimiterOptions, "sharedState">]-?: NonNullable<RateLimiterOptions[K]>;
} & {
  sharedState: SharedState | undefined;
} {
  const {
    name = "rateLimiter",
    limits,
    maxWaitMs = 60_000,
    learn = true,
    sharedState,
    dryRun = false,
  } = checkOptions("rateLimiter", options, RULES);
  if (limits === undefined) throw new ConfigError("rateLimiter.limits is missing: say how much an interval allows.");
  return { name, limits, maxWaitMs, learn, sharedState, dryRun };
}
