import { type Call, type CallOptions, callFrom, type RetryInfo } from "../core/call.ts";
import { isFinal, isRefusal, RetryExhaustedError } from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import {
  aFunction,
  anId,
  checkOptions,
  durationMs,
  foldAlias,
  plainOptions,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import { callOperation, type Invoke, type Operation, PolicyBase, type PolicyDescription } from "../core/policy.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import {
  backoffDelay,
  type BackoffOptions,
  jitterFactorRule,
  jitterRule,
  multiplierRule,
  strategyRule,
} from "./backoff.ts";
import { compileMatcher, type Matcher, matcherRule, type Matches } from "./matcher.ts";
import { retryAfterOf } from "./retry-after.ts";
import { aRetryBudget, type RetryBudget } from "./retry-budget.ts";

export interface RetryOptions extends BackoffOptions {
  /** Names the policy in events and errors. @default "retry" */
  name?: string | undefined;
  /** Every call counts, the first included. @default 3 */
  maxAttempts?: number | undefined;
  /** Another way to say `maxAttempts`: one less. */
  maxRetries?: number | undefined;
  /** Which errors are worth another attempt. @default all, except those that Holdfast never retries */
  retryableErrors?: Matcher | undefined;
  /** Limits retries to a share of the calls of all policies that have it too. @default none */
  retryBudget?: RetryBudget | undefined;
  /** Called before each wait. */
  onRetry?: ((retry: RetryInfo) => void) | undefined;
}

const RULES: Rules<RetryOptions> = {
  name: anId,
  maxAttempts: wholeNumber(1, true),
  maxRetries: wholeNumber(0, true),
  initialDelayMs: durationMs,
  maxDelayMs: durationMs,
  strategy: strategyRule,
  backoffMultiplier: multiplierRule,
  jitter: jitterRule,
  jitterFactor: jitterFactorRule,
  retryableErrors: matcherRule,
  retryBudget: aRetryBudget,
  onRetry: aFunction,
};

const DEFAULTS = { initialDelayMs: 1000, maxDelayMs: 30_000, strategy: "exponential", jitter: "full" } as const;

const NOTHING_SAID: CallOptions = {};

type Settings = RetryOptions & { name: string; maxAttempts: number };

/**
 * Calls again after a failure, with growing, spread waits, until it succeeds, the error is final, the attempts are
 * used up or the deadline would pass. A wait is at least what the server asked for (`Retry-After`), and an abort ends
 * it at once.
 *
 * Throws `RetryExhaustedError` after the last attempt, and an error that is not retryable as it is. A refusal
 * (open circuit, full bulkhead) is repeated only where it says when, and is no attempt: `attempts` counts calls.
 * Without a token in the `retryBudget` it gives up as well.
 *
 * @example
 * ```ts
 * import { RetryPolicy } from "holdfast/policies";
 *
 * const retry = new RetryPolicy({ maxAttempts: 3, initialDelayMs: 10 });
 * const value = await retry.execute(({ attempt }) => {
 *   if (attempt < 3) throw new Error("not yet");
 *   return attempt;
 * });
 * console.log(value); // => 3
 * ```
 */
export class RetryPolicy extends PolicyBase {
  readonly kind = "retry";
  readonly name: string;
  readonly #settings: Settings;
  readonly #retryable: Matches;
  readonly #budget: RetryBudget | undefined;
  readonly #runtime: Runtime;

  constructor(options: RetryOptions = {}, runtime: Runtime = systemRuntime) {
    super();
    const folded = foldAlias(
      "retry",
      checkOptions("retry", options, RULES),
      "maxRetries",
      "maxAttempts",
      (retries) => retries + 1,
    );
    const { name = "retry", maxAttempts = 3, retryableErrors = () => true } = folded;
    this.#settings = { ...DEFAULTS, ...folded, name, maxAttempts };
    this.name = name;
    this.#retryable = compileMatcher(retryableErrors);
    this.#budget = folded.retryBudget;
    this.#runtime = runtime;
  }

  /** The wait after attempt `n`, from 1, in milliseconds: capped, spread, clamped. */
  delayFor(n: number, previousMs = 0): number {
    return backoffDelay(this.#settings, n, previousMs, this.#runtime.random);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#run(callOperation, operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#run(next, operation, call);
  }

  describe(): PolicyDescription {
    const { name, ...options } = this.#settings;
    return { kind: this.kind, name, options: plainOptions(options) };
  }

  async #run(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) throw call.reason;
    this.#budget?.deposit();
    const { priorAttempts = 0, onRetry } = call.options ?? NOTHING_SAID;
    const first = 1 + priorAttempts;
    let error: unknown;
    try {
      // What the caller said is meant for the outermost retry, so it is not handed on.
      return await next(operation, call.attempt === first && onRetry === undefined ? call : call.forAttempt(first));
    } catch (thrown) {
      error = thrown;
    }
    return this.#again(next, operation, call, first, error);
  }

  /** The slow path: attempt `attempt` has failed with `error`. */
  async #again(
    next: Invoke,
    operation: Operation<unknown>,
    call: Call,
    attempt: number,
    error: unknown,
  ): Promise<unknown> {
    const { clock } = this.#runtime;
    let calls = attempt;
    let delayMs = 0;
    for (; ; attempt++) {
      const refused = isRefusal(error);
      if (refused) calls--;
      if (call.aborted || !this.#worthRetrying(error)) throw error;
      const askedMs = retryAfterOf(error, clock);
      if (refused && askedMs === undefined) throw error;
      if (attempt >= this.#settings.maxAttempts) throw this.#exhausted(calls, error, "no attempts are left");
      delayMs = Math.max(this.delayFor(attempt, delayMs), askedMs ?? 0);
      const tooLate = (why: string): unknown => (refused ? error : this.#exhausted(calls, error, why));
      if (clock.now() + delayMs >= call.deadline)
        throw tooLate(`a wait of ${Math.ceil(delayMs)} ms would pass the deadline`);
      if (this.#budget?.take() === false) throw this.#overBudget(calls, error, this.#budget.name);
      this.#runtime.events.emit?.("retry.scheduled", { policy: this.name, attempt, delayMs, error });
      const retry: RetryInfo = { attempt, error, delayMs, refused };
      callHook(this.#runtime.events, "onRetry", this.#settings.onRetry, retry);
      callHook(this.#runtime.events, "onRetry", call.options?.onRetry, retry);
      // Also for a wait of 0: attempts that fail at once must leave other work its turn.
      await clock.sleep(delayMs, call.waitSignal);
      if (call.aborted) throw call.reason;
      if (clock.now() >= call.deadline) throw tooLate("the deadline passed during the wait");
      calls++;
      try {
        return await next(operation, call.forAttempt(attempt + 1));
      } catch (thrown) {
        error = thrown;
      }
    }
  }

  #worthRetrying(error: unknown): boolean {
    return !isFinal(error) && (isRefusal(error) || this.#retryable(error));
  }

  #exhausted(attempts: number, error: unknown, why: string): RetryExhaustedError {
    this.#runtime.events.emit?.("retry.exhausted", { policy: this.name, attempts, error, why });
    return new RetryExhaustedError(this.name, attempts, error, why);
  }

  /** Marked like an exhausted retry: an outer one that went on would make the calls that the budget forbids. */
  #overBudget(attempts: number, error: unknown, budget: string): RetryExhaustedError {
    this.#runtime.events.emit?.("retry.budget_rejected", { policy: this.name, budget, attempts, error });
    return new RetryExhaustedError(this.name, attempts, error, `the retry budget "${budget}" is empty`);
  }
}
