import { anId, checkOptions, numberBetween, type Rule, type Rules } from "../core/options.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";

export interface RetryBudgetOptions {
  /** Names the budget in events and errors. @default "retryBudget" */
  name?: string | undefined;
  /** Which share of calls may be retried, from 0 to 1. @default 0.1 */
  ratio?: number | undefined;
  /** How many retries a second are allowed beside that, so that rare calls have some too. @default 1 */
  minRetriesPerSecond?: number | undefined;
  /** How many unused retries are kept for later, and how many there are at the beginning. @default 10 */
  capacity?: number | undefined;
}

const RULES: Rules<RetryBudgetOptions> = {
  name: anId,
  ratio: numberBetween(0, 1),
  minRetriesPerSecond: numberBetween(0, 1e6),
  capacity: numberBetween(1, 1e6),
};

/** Counting in millionths of a retry, ten shares of a tenth are one, which they are not in binary fractions. */
const ONE_RETRY = 1e6;

/**
 * How many retries there may be beside the calls: a token bucket that any number of policies share. Each call puts in
 * a share of a token, each second a few more, and a retry takes one. When everything fails, it lets `ratio` of the
 * calls be retried and no more, so that retries do not keep down what is trying to get up again.
 *
 * In any stretch of time there are at most `capacity + ratio · calls + minRetriesPerSecond · seconds` retries. A retry
 * that is cancelled while it waits has taken its token all the same.
 *
 * @example
 * ```ts
 * import { RetryBudget, RetryPolicy } from "holdfast/policies";
 *
 * const retryBudget = new RetryBudget({ capacity: 5, minRetriesPerSecond: 0 });
 * const retry = new RetryPolicy({ retryBudget, strategy: "immediate" });
 * let calls = 0;
 * const down = () => Promise.reject(new Error(`down ${++calls}`));
 * for (let i = 0; i < 100; i++) await retry.execute(down).catch(() => {});
 * // The five kept at the beginning, and a tenth of the calls but the first, which found the bucket full.
 * console.log(calls); // => 114
 * ```
 */
export class RetryBudget {
  readonly name: string;
  readonly ratio: number;
  readonly minRetriesPerSecond: number;
  readonly capacity: number;
  readonly #share: number;
  readonly #full: number;
  readonly #runtime: Runtime;
  #tokens: number;
  #filledAt: number;

  constructor(options: RetryBudgetOptions = {}, runtime: Runtime = systemRuntime) {
    const given = checkOptions("retryBudget", options, RULES);
    this.name = given.name ?? "retryBudget";
    this.ratio = given.ratio ?? 0.1;
    this.minRetriesPerSecond = given.minRetriesPerSecond ?? 1;
    this.capacity = given.capacity ?? 10;
    this.#share = Math.round(this.ratio * ONE_RETRY);
    this.#full = this.#tokens = this.capacity * ONE_RETRY;
    this.#runtime = runtime;
    this.#filledAt = runtime.clock.now();
  }

  /** How many retries are left at this moment. */
  get available(): number {
    this.#fill();
    return this.#tokens / ONE_RETRY;
  }

  /** A call begins. What is over the brim runs off when somebody looks. */
  deposit(): void {
    this.#tokens += this.#share;
  }

  /** Takes a token for a retry, or says that there is none. */
  take(): boolean {
    this.#fill();
    if (this.#tokens < ONE_RETRY) return false;
    this.#tokens -= ONE_RETRY;
    return true;
  }

  // Only those who take look at the time: what calls and time put in may be added in any order.
  #fill(): void {
    const now = this.#runtime.clock.now();
    const filled = this.#tokens + ((now - this.#filledAt) / 1000) * this.minRetriesPerSecond * ONE_RETRY;
    this.#tokens = Math.min(this.#full, filled);
    this.#filledAt = now;
  }
}

/** A retry budget, or what behaves like one. */
export const aRetryBudget: Rule = {
  says: "a RetryBudget",
  allows: (value) =>
    typeof (value as RetryBudget | null)?.take === "function" && typeof (value as RetryBudget).deposit === "function",
};
