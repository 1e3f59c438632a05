import { promiseMistake } from "../core/at-once.ts";
import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import { causesOf, ConfigError, isRefusal } from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import { plainOptions, show } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Invoke,
  type InvokeOutcome,
  type Operation,
  type Outcome,
  PolicyBase,
  type PolicyDescription,
} from "../core/policy.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { Claim, Refusal } from "./rate-claim.ts";
import { readRateSnapshot } from "./rate-headers.ts";
import { type Entered, RateLine } from "./rate-line.ts";
import {
  amount,
  limiterSettings,
  type Meter,
  metersFor,
  NO_ARGUMENTS,
  type RateKind,
  type RateLimiterOptions,
  type RateLimits,
} from "./rate-limits.ts";
import { type HeaderBag, headersOf } from "./retry-after.ts";
import { sidesOf } from "./sharing.ts";

/** How a limiter stands. */
export interface RateLimiterStats {
  name: string;
  /** Calls let through so far. */
  granted: number;
  /** Those of them that had to wait; in a dry run, that would have. */
  waited: number;
  /** Calls refused so far; in a dry run, those that would have been. */
  rejected: number;
  /** Calls waiting now. */
  waiting: number;
  /**
   * What is there to be taken, for each limit. Below 0 where calls cost more than they had said. Of a shared limiter it
   * is what was last heard.
   */
  available: Partial<Record<RateKind, number>>;
}

/**
 * Keeps calls within a rate: so many requests, so many tokens, or both, per interval. A call that finds no room waits
 * its turn, first come, first served, and is refused with `RateLimitedError` where that would take longer than
 * `maxWaitMs` or its deadline. A cost that there can never be room for is refused at once.
 *
 * What is taken before a call is an estimate where `settle` reads the real cost afterwards. Servers that state their
 * limits in headers are listened to. The limiter counts the calls of this process, or with a `sharedState` those of all
 * processes that have a limiter of its name there.
 *
 * @example
 * ```ts
 * import { RateLimiter } from "holdfast/policies";
 *
 * const limiter = new RateLimiter({ name: "search", limits: { requests: { limit: 2, intervalMs: 60_000 } }, maxWaitMs: 0 });
 * const found: boolean[] = [];
 * for (let i = 0; i < 3; i++) found.push((await limiter.executeOutcome(() => "found")).ok);
 * console.log(found); // => [true, true, false]
 * ```
 */
export class RateLimiter extends PolicyBase {
  readonly kind = "rateLimiter";
  readonly name: string;
  readonly #learns: boolean;
  /** Whether it looks at what comes of a call. If not, a call that it has let through is its affair no longer. */
  #looks: boolean;
  readonly #isShared: boolean;
  readonly #runtime: Runtime;
  readonly #line: RateLine;

  constructor(options: RateLimiterOptions, runtime: Runtime = systemRuntime) {
    super();
    const { name, limits, learn, sharedState, ...others } = limiterSettings(options);
    this.name = name;
    this.#learns = learn;
    this.#isShared = sharedState !== undefined;
    this.#runtime = runtime;
    const settings = { name, ...others };
    const meters = metersFor(limits);
    this.#looks = learn || settles(meters);
    this.#line =
      sharedState === undefined
        ? new RateLine(settings, meters, runtime)
        : new (sidesOf(sharedState).SharedRateLine)(sharedState, settings, meters, runtime);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#run(callOperation, operation, call, NO_ARGUMENTS) as Promise<T>;
  }

  override executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#outcome(callOperation, operation, call) as Promise<Outcome<T>>;
  }

  /** Like `execute`, for a function that gives its result at once. It never waits: without room it is refused. */
  executeSync<T>(fn: () => T): T {
    if (this.#isShared)
      throw new ConfigError(
        `Rate limiter "${this.name}" cannot executeSync: with a sharedState a call has to wait for its answer. Use execute.`,
      );
    const claim = this.#line.enter(callFrom(this.#runtime.clock, undefined), NO_ARGUMENTS, 0);
    if (claim instanceof Refusal) throw claim.error;
    let value: T;
    try {
      value = fn();
    } catch (error) {
      this.#failedWith(error, claim as Claim);
      throw error;
    }
    const mistake = promiseMistake(value, `The function of rate limiter "${this.name}"`);
    if (mistake !== null) throw mistake;
    this.#returned(value, claim as Claim);
    return value;
  }

  /** The function under this limiter. A cost that is a function gets its arguments. */
  override wrap<This, A extends unknown[], R>(
    fn: (this: This, ...args: A) => R,
  ): (this: This, ...args: A) => Promise<Awaited<R>> {
    const root = callFrom(this.#runtime.clock, undefined);
    const run = (operation: Operation<unknown>, args: A): Promise<unknown> =>
      this.#run(callOperation, operation, root, args);
    const wrapped = function (this: This, ...args: A): Promise<Awaited<R>> {
      return run(() => fn.apply(this, args), args) as Promise<Awaited<R>>;
    };
    return Object.defineProperty(wrapped, "name", { value: fn.name, configurable: true });
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#run(next, operation, call, NO_ARGUMENTS);
  }

  /** @internal */
  outcomeAround(next: Invoke): InvokeOutcome {
    return (operation, call) => this.#outcome(next, operation, call);
  }

  /** Puts other limits in the place of the present ones. What has been taken stays taken, and who waits keeps its place. */
  update({ limits }: { limits: RateLimits }): void {
    const meters = metersFor(limits);
    this.#looks = this.#learns || settles(meters);
    this.#line.update(meters);
  }

  /** Reads the headers of a response that the limiter has not seen itself, such as one that a client library unpacks. */
  learn(headers: HeaderBag): void {
    const { clock, events } = this.#runtime;
    const snapshot = readRateSnapshot(headers, clock);
    if (snapshot === undefined) return;
    const remaining: Partial<Record<RateKind, number>> = {};
    for (const { kind } of this.#line.meters) {
      const left = (snapshot[kind] ?? (kind === "tokens" ? snapshot.inputTokens : undefined))?.remaining;
      if (left !== undefined) remaining[kind] = left;
    }
    const { retryAfterMs } = snapshot;
    this.#line.learn(remaining, retryAfterMs);
    events.emit?.("limiter.upstream", { policy: this.name, remaining, retryAfterMs });
  }

  getStats(): RateLimiterStats {
    const { name, granted, waited, rejected, waiting, meters } = this.#line;
    const now = this.#runtime.clock.now();
    const available = Object.fromEntries(meters.map(({ kind, allowance }) => [kind, allowance.available(now)]));
    return { name, granted, waited, rejected, waiting, available };
  }

  describe(): PolicyDescription {
    const { meters, maxWaitMs, dryRun } = this.#line;
    const limits = Object.fromEntries(meters.map(({ kind, settings }) => [kind, settings]));
    const options = { limits, maxWaitMs, learn: this.#learns, hasSharedState: this.#isShared, dryRun };
    return { kind: this.kind, name: this.name, options: plainOptions(options) };
  }

  async #outcome(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    try {
      if (call.aborted) throw call.reason;
      const entered = this.#line.enter(call, NO_ARGUMENTS);
      const claim = entered instanceof Promise ? await entered : entered;
      if (claim instanceof Refusal) return claim;
      this.#throwIfAborted(call, claim);
      return { ok: true, value: await this.#carryOut(next, operation, call, claim) };
    } catch (error) {
      return failed(error, false);
    }
  }

  #run(next: Invoke, operation: Operation<unknown>, call: Call, args: readonly unknown[]): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    let entered: Entered | Promise<Entered>;
    try {
      entered = this.#line.enter(call, args);
    } catch (error) {
      // A cost of the user's may throw.
      return Promise.reject(error);
    }
    if (entered instanceof Claim)
      return this.#looks || next !== callOperation
        ? this.#carryOut(next, operation, call, entered)
        : carriedOut(operation, call);
    return this.#carryOutLater(next, operation, call, entered);
  }

  async #carryOutLater(
    next: Invoke,
    operation: Operation<unknown>,
    call: Call,
    entered: Refusal | Promise<Entered>,
  ): Promise<unknown> {
    // A refusal, too, waits here for a microtask: a promise that rejects before anybody listens is costly.
    const claim = await entered;
    if (claim instanceof Refusal) throw claim.error;
    this.#throwIfAborted(call, claim);
    return this.#carryOut(next, operation, call, claim);
  }

  /** The caller may have aborted on the way from the grant to here. */
  #throwIfAborted(call: Call, claim: Claim): void {
    if (!call.aborted) return;
    if (claim.counts) this.#line.takeBack(claim);
    throw call.reason;
  }

  async #carryOut(next: Invoke, operation: Operation<unknown>, call: Call, claim: Claim): Promise<unknown> {
    let value: unknown;
    try {
      value = await next(next === callOperation ? operation : claim.watching(operation), call);
    } catch (error) {
      this.#failedWith(error, claim);
      throw error;
    }
    this.#returned(value, claim);
    return value;
  }

  #returned(value: unknown, claim: Claim): void {
    for (const { kind, settings } of this.#line.meters)
      if (settings.settle !== undefined && claim.counts) this.#settle(kind, settings.settle as Settle, value, claim);
    if (this.#learns) this.#learnFrom(value);
  }

  #failedWith(error: unknown, claim: Claim): void {
    // Something between the limiter and the operation has refused the call: it cost nothing.
    if (!claim.called && isRefusal(error)) return claim.counts ? this.#line.takeBack(claim) : undefined;
    if (this.#learns) for (const link of causesOf(error)) if (this.#learnFrom(link)) return;
  }

  #settle(kind: RateKind, settle: Settle, value: unknown, claim: Claim): void {
    const settled = (actual: number | undefined): void => {
      if (actual === undefined) return;
      if (!amount.allows(actual))
        throw new ConfigError(`rateLimiter.limits.${kind}.settle must give ${amount.says}, got ${show(actual)}.`);
      const more = actual - claim[kind];
      if (more !== 0) this.#line.charge(kind, more, claim);
    };
    callHook(this.#runtime.events, "settle", () => {
      const actual = settle(value);
      return typeof actual === "object" ? Promise.resolve(actual).then(settled) : settled(actual);
    });
  }

  /** Whether there were headers to read. */
  #learnFrom(value: unknown): boolean {
    try {
      const headers = headersOf(value);
      if (headers !== undefined) {
        this.learn(headers);
        return true;
      }
    } catch {
      // Headers that cannot be read say nothing, and must not take the place of the value that carries them.
    }
    return false;
  }
}

const settles = (meters: readonly Meter[]): boolean => meters.some(({ settings }) => settings.settle !== undefined);

/** The operation, without a frame of ours around it. */
function carriedOut(operation: Operation<unknown>, call: Call): Promise<unknown> {
  try {
    const result = operation(call);
    return result instanceof Promise ? result : Promise.resolve(result);
  } catch (error) {
    return Promise.reject(error);
  }
}

type Settle = (value: unknown) => number | undefined | PromiseLike<number | undefined>;
