import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import type { Timer } from "../core/clock.ts";
import { causesOf, ConfigError, isRefusal } from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import { plainOptions, show } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Invoke,
  type Operation,
  type Outcome,
  PolicyBase,
  type PolicyDescription,
} from "../core/policy.ts";
import type { LimiterWhy } from "../core/policy-errors.ts";
import { Queue } from "../core/queue.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { SLACK_MS } from "./rate-allowance.ts";
import { Claim, Refusal, Waiter } from "./rate-claim.ts";
import { readRateSnapshot } from "./rate-headers.ts";
import {
  amount,
  limiterSettings,
  type Meter,
  metersFor,
  type RateKind,
  type RateLimiterOptions,
  type RateLimits,
} from "./rate-limits.ts";
import { type HeaderBag, headersOf } from "./retry-after.ts";

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
  /** What is there to be taken, for each limit. Below 0 where calls cost more than they had said. */
  available: Partial<Record<RateKind, number>>;
}

const NO_ARGUMENTS: readonly unknown[] = [];

type Entered = Claim | Refusal;

/**
 * Keeps calls within a rate: so many requests, so many tokens, or both, per interval. A call that finds no room waits
 * its turn, first come, first served, and is refused with `RateLimitedError` where that would take longer than
 * `maxWaitMs` or its deadline. A cost that there can never be room for is refused at once.
 *
 * What is taken before a call is an estimate where `settle` reads the real cost afterwards. Servers that state their
 * limits in headers are listened to. The limiter counts the calls of this process only.
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
  readonly #maxWaitMs: number;
  readonly #learns: boolean;
  readonly #dryRun: boolean;
  readonly #runtime: Runtime;
  #meters: readonly Meter[];
  readonly #line = new Queue<Waiter>();
  #waiting = 0;
  /** Set while somebody waits: when the first in line has room. */
  #timer: Timer | null = null;
  /** Until then a server wants no calls. */
  #closedUntil = -Infinity;
  #granted = 0;
  #waited = 0;
  #rejected = 0;

  constructor(options: RateLimiterOptions, runtime: Runtime = systemRuntime) {
    super();
    const { name, limits, maxWaitMs, learn, dryRun } = limiterSettings(options);
    this.name = name;
    this.#meters = metersFor(limits);
    this.#maxWaitMs = maxWaitMs;
    this.#learns = learn;
    this.#dryRun = dryRun;
    this.#runtime = runtime;
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#run(callOperation, operation, call, NO_ARGUMENTS) as Promise<T>;
  }

  override async executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    const call = callFrom(this.#runtime.clock, options);
    try {
      if (call.aborted) throw call.reason;
      const entered = this.#enter(call, NO_ARGUMENTS);
      const claim = entered instanceof Promise ? await entered : entered;
      if (claim instanceof Refusal) return claim;
      return { ok: true, value: (await this.#carryOut(callOperation, operation, call, claim)) as T };
    } catch (error) {
      return failed(error, false);
    }
  }

  /** Like `execute`, for a function that gives its result at once. It never waits: without room it is refused. */
  executeSync<T>(fn: () => T): T {
    const claim = this.#enter(callFrom(this.#runtime.clock, undefined), NO_ARGUMENTS, 0);
    if (claim instanceof Refusal) throw claim.error;
    let value: T;
    try {
      value = fn();
    } catch (error) {
      this.#failedWith(error, claim as Claim);
      throw error;
    }
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

  /** Puts other limits in the place of the present ones. What has been taken stays taken, and who waits keeps its place. */
  update({ limits }: { limits: RateLimits }): void {
    const now = this.#runtime.clock.now();
    const before = this.#meters;
    this.#meters = metersFor(limits);
    for (const meter of this.#meters) {
      const old = before.find(({ kind }) => kind === meter.kind)?.allowance;
      if (old !== undefined) meter.allowance.take(old.capacity - old.available(now), now);
    }
    for (let waiter = this.#line.first; waiter !== null; waiter = waiter.following)
      for (const meter of this.#meters) meter.queued += waiter.claim[meter.kind];
    this.#pump();
  }

  /** Reads the headers of a response that the limiter has not seen itself, such as one that a client library unpacks. */
  learn(headers: HeaderBag): void {
    const { clock, events } = this.#runtime;
    const snapshot = readRateSnapshot(headers, clock);
    if (snapshot === undefined) return;
    const now = clock.now();
    const { retryAfterMs } = snapshot;
    if (retryAfterMs !== undefined) this.#closedUntil = Math.max(this.#closedUntil, now + retryAfterMs);
    const remaining: Partial<Record<RateKind, number>> = {};
    for (const { kind, allowance } of this.#meters) {
      const left = (snapshot[kind] ?? (kind === "tokens" ? snapshot.inputTokens : undefined))?.remaining;
      if (left === undefined) continue;
      remaining[kind] = left;
      // Never raised: calls under way are taken from ours, and the server may not have counted them yet.
      allowance.take(Math.max(0, allowance.available(now) - left), now);
    }
    events.emit?.("limiter.upstream", { policy: this.name, remaining, retryAfterMs });
  }

  getStats(): RateLimiterStats {
    const now = this.#runtime.clock.now();
    return {
      name: this.name,
      granted: this.#granted,
      waited: this.#waited,
      rejected: this.#rejected,
      waiting: this.#waiting,
      available: Object.fromEntries(this.#meters.map(({ kind, allowance }) => [kind, allowance.available(now)])),
    };
  }

  describe(): PolicyDescription {
    const limits = Object.fromEntries(this.#meters.map(({ kind, settings }) => [kind, settings]));
    const options = { limits, maxWaitMs: this.#maxWaitMs, learn: this.#learns, dryRun: this.#dryRun };
    return { kind: this.kind, name: this.name, options: plainOptions(options) };
  }

  #run(next: Invoke, operation: Operation<unknown>, call: Call, args: readonly unknown[]): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    let entered: Entered | Promise<Entered>;
    try {
      entered = this.#enter(call, args);
    } catch (error) {
      // A cost of the user's may throw.
      return Promise.reject(error);
    }
    if (entered instanceof Claim) return this.#carryOut(next, operation, call, entered);
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
    return this.#carryOut(next, operation, call, claim);
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

  /** The claim once it is granted, or why it is not. */
  #enter(call: Call, args: readonly unknown[], maxWaitMs: number = this.#maxWaitMs): Entered | Promise<Entered> {
    // The timer of those in line may be late, and they come first.
    if (this.#line.first !== null) this.#pump();
    const now = this.#runtime.clock.now();
    const claim = new Claim(now);
    const said = call.cost;
    // What follows is #waitMs in the same loop, for speed.
    let waitMs = Math.max(0, this.#closedUntil - now);
    for (const meter of this.#meters) {
      const cost = meter.costOf(said?.[meter.kind], args);
      claim[meter.kind] = cost;
      waitMs = Math.max(waitMs, meter.waitMs(cost, meter.queued, now));
    }
    if (waitMs <= SLACK_MS) return this.#grant(claim, now);
    const why = waitMs === Infinity ? "capacity" : waitMs > maxWaitMs ? "wait" : undefined;
    if (why !== undefined) return this.#refuse(why, claim, waitMs);
    if (now + waitMs >= call.deadline) return this.#refuse("deadline", claim, waitMs);
    if (!this.#dryRun) return this.#wait(claim, call, now);
    this.#hasWaited(waitMs);
    return this.#grant(claim, now);
  }

  /** How long until there is room in every limit, for the calls in line first where `queued` says so. */
  #waitMs(claim: Claim, now: number, queued: boolean): number {
    let waitMs = Math.max(0, this.#closedUntil - now);
    for (const meter of this.#meters)
      waitMs = Math.max(waitMs, meter.waitMs(claim[meter.kind], queued ? meter.queued : 0, now));
    return waitMs;
  }

  #grant(claim: Claim, now: number): Claim {
    claim.takenAt = now;
    for (const meter of this.#meters) meter.allowance.take(claim[meter.kind], now);
    this.#granted++;
    return claim;
  }

  #refuse(why: LimiterWhy, claim: Claim, waitMs: number): Entered {
    this.#rejected++;
    const retryAfterMs = waitMs === Infinity ? undefined : waitMs;
    const { events } = this.#runtime;
    events.emit?.("limiter.rejected", { policy: this.name, why, retryAfterMs, dryRun: this.#dryRun });
    claim.counts = false;
    return this.#dryRun ? claim : new Refusal(this.name, why, claim, this.#meters, retryAfterMs);
  }

  #hasWaited(waitMs: number): void {
    this.#waited++;
    this.#runtime.events.emit?.("limiter.waited", { policy: this.name, waitMs, dryRun: this.#dryRun });
  }

  async #wait(claim: Claim, call: Call, since: number): Promise<Entered> {
    const until = Math.min(call.deadline, since + this.#maxWaitMs);
    // Whoever makes room only settles this promise: what follows runs in the async context of the waiting call.
    const granted = await new Promise<boolean>((resolve) => {
      this.#queue(new Waiter(claim, call.waitSignal, resolve), until - since);
    });
    const now = this.#runtime.clock.now();
    if (granted && !call.aborted && now < call.deadline) {
      this.#hasWaited(now - since);
      return claim;
    }
    // An abort, or the end of the time, may also come after the grant and before this line.
    if (granted) this.#takeBack(claim);
    if (call.aborted) throw call.reason;
    const waitMs = this.#waitMs(claim, now, true);
    return this.#refuse(waitMs === Infinity ? "capacity" : now < call.deadline ? "wait" : "deadline", claim, waitMs);
  }

  #queue(waiter: Waiter, withinMs: number): void {
    const isFirst = this.#line.first === null;
    this.#line.append(waiter);
    this.#waiting++;
    for (const meter of this.#meters) meter.queued += waiter.claim[meter.kind];
    const giveUp = (): void => {
      const wasFirst = this.#line.first === waiter;
      this.#leave(waiter, false);
      if (wasFirst) this.#pump();
    };
    const timeUp = (): void => {
      // Its turn may come at this very instant.
      this.#pump();
      if (waiter.waiting) giveUp();
    };
    waiter.endsBy(giveUp, withinMs === Infinity ? null : this.#runtime.clock.timer(withinMs, timeUp));
    if (isFirst) this.#pump();
  }

  #leave(waiter: Waiter, granted: boolean): void {
    this.#line.remove(waiter);
    this.#waiting--;
    // Sums of fractions drift; an empty line is empty.
    for (const meter of this.#meters) meter.queued = this.#waiting === 0 ? 0 : meter.queued - waiter.claim[meter.kind];
    waiter.wake(granted);
  }

  /** Lets through who has room, in order, and sets the timer for the next. */
  readonly #pump = (): void => {
    this.#timer?.cancel();
    this.#timer = null;
    const now = this.#runtime.clock.now();
    for (let waiter = this.#line.first; waiter !== null; waiter = this.#line.first) {
      const waitMs = this.#waitMs(waiter.claim, now, false);
      if (waitMs > SLACK_MS && waitMs !== Infinity) {
        this.#timer = this.#runtime.clock.timer(waitMs, this.#pump);
        return;
      }
      // New limits may have made its cost more than there can ever be.
      if (waitMs !== Infinity) this.#grant(waiter.claim, now);
      this.#leave(waiter, waitMs !== Infinity);
    }
  };

  #returned(value: unknown, claim: Claim): void {
    for (const { kind, settings } of this.#meters)
      if (settings.settle !== undefined && claim.counts) this.#settle(kind, settings.settle as Settle, value, claim);
    if (this.#learns) this.#learnFrom(value);
  }

  #failedWith(error: unknown, claim: Claim): void {
    // Something between the limiter and the operation has refused the call: it cost nothing.
    if (!claim.called && isRefusal(error)) return claim.counts ? this.#takeBack(claim) : undefined;
    if (this.#learns) for (const link of causesOf(error)) if (this.#learnFrom(link)) return;
  }

  #takeBack(claim: Claim): void {
    this.#granted--;
    for (const { kind, allowance } of this.#meters) allowance.giveBack(claim[kind], claim.takenAt);
    if (this.#waiting > 0) this.#pump();
  }

  #settle(kind: RateKind, settle: Settle, value: unknown, claim: Claim): void {
    const settled = (actual: number | undefined): void => {
      if (actual === undefined) return;
      if (!amount.allows(actual))
        throw new ConfigError(`rateLimiter.limits.${kind}.settle must give ${amount.says}, got ${show(actual)}.`);
      const more = actual - claim[kind];
      const allowance = this.#meters.find((meter) => meter.kind === kind)?.allowance;
      if (more > 0) allowance?.take(more, this.#runtime.clock.now());
      else allowance?.giveBack(-more, claim.takenAt);
      if (more < 0 && this.#waiting > 0) this.#pump();
    };
    callHook(this.#runtime.events, "settle", () => {
      const actual = settle(value);
      return typeof actual === "object" ? Promise.resolve(actual).then(settled) : settled(actual);
    });
  }

  /** Whether there were headers to read. */
  #learnFrom(value: unknown): boolean {
    try {
      const headers = typeof value === "object" ? headersOf(value) : undefined;
      if (headers === undefined) return false;
      this.learn(headers);
      return true;
    } catch {
      // Headers that cannot be read say nothing, and must not take the place of the value that carries them.
      return false;
    }
  }
}

type Settle = (value: unknown) => number | undefined | PromiseLike<number | undefined>;
