import { promiseMistake } from "../core/at-once.ts";
import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import { ConfigError } from "../core/errors.ts";
import { aBoolean, anId, checkOptions, positiveMs, type Rules, wholeNumber } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Failed,
  type Holdable,
  type Invoke,
  type InvokeOutcome,
  type Operation,
  type Outcome,
  PolicyBase,
  type PolicyDescription,
  refusal,
} from "../core/policy.ts";
import { BulkheadFullError } from "../core/policy-errors.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { holdUntilSettled, Slots } from "../core/slots.ts";

export interface BulkheadOptions {
  /** Names the bulkhead in events and errors. @default "bulkhead" */
  name?: string | undefined;
  /** How many operations may be under way at the same time. */
  maxConcurrent: number;
  /** How many calls may wait for a slot. With 0 a call that finds none is refused at once. @default 0 */
  maxQueue?: number | undefined;
  /** How long a call may wait for its slot. @default as long as its deadline allows */
  queueTimeoutMs?: number | undefined;
  /** Counts and reports what would wait or be refused, and lets every call through at once. @default false */
  dryRun?: boolean | undefined;
}

/** How a bulkhead stands. */
export interface BulkheadStats {
  name: string;
  /** Operations under way. Only a dry run can have more than `maxConcurrent`. */
  active: number;
  /** Calls waiting for a slot. */
  queued: number;
  /** Calls refused so far; in a dry run, those that would have been. */
  rejected: number;
  maxConcurrent: number;
  maxQueue: number;
}

const RULES: Rules<BulkheadOptions> = {
  name: anId,
  maxConcurrent: wholeNumber(1),
  maxQueue: wholeNumber(0),
  queueTimeoutMs: positiveMs,
  dryRun: aBoolean,
};

const DEFAULTS = { name: "bulkhead", maxQueue: 0, dryRun: false } as const;

/** In place of the time that a call has waited in vain. */
const ADMITTED = -1;

type Settings = BulkheadOptions & { maxQueue: number; dryRun: boolean };

/**
 * Lets a limited number of operations run at the same time, so that one slow dependency does not take everything with
 * it. Further calls wait in a queue, first come, first served, or are refused with `BulkheadFullError`. Callers that
 * say whose call it is (`key`) take turns, so that one with many calls does not keep the others waiting.
 *
 * A slot is held until the operation itself has settled, not until a timeout has fired that stands inside or outside
 * of the bulkhead: what still runs still uses the dependency.
 *
 * @example
 * ```ts
 * import { Bulkhead } from "holdfast/policies";
 *
 * const bulkhead = new Bulkhead({ name: "ocr", maxConcurrent: 1 });
 * const first = bulkhead.execute(async () => "a page");
 * const second = await bulkhead.executeOutcome(() => "never called");
 * console.log(second.ok); // => false
 * console.log(await first); // => "a page"
 * ```
 */
export class Bulkhead extends PolicyBase {
  readonly kind = "bulkhead";
  readonly name: string;
  readonly #settings: Settings;
  readonly #runtime: Runtime;
  readonly #slots: Slots;
  #rejected = 0;
  /** The refusal of a call that finds the queue full: the same for all. */
  #full: Promise<Failed> | null = null;

  constructor(options: BulkheadOptions, runtime: Runtime = systemRuntime) {
    super();
    const given = checkOptions("bulkhead", options, RULES);
    if (given.maxConcurrent === undefined)
      throw new ConfigError("bulkhead.maxConcurrent is missing: say how many operations may run at the same time.");
    const { name = DEFAULTS.name, maxQueue = DEFAULTS.maxQueue, dryRun = DEFAULTS.dryRun } = given;
    if (maxQueue === 0 && given.queueTimeoutMs !== undefined)
      throw new ConfigError("bulkhead.queueTimeoutMs needs maxQueue, since nothing waits where there is no queue.");
    this.name = name;
    this.#settings = { ...DEFAULTS, ...given, maxQueue, dryRun };
    this.#runtime = runtime;
    this.#slots = new Slots(given.maxConcurrent, runtime.clock);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    const call = callFrom(this.#runtime.clock, options);
    // With a slot free, this is the case that must be fast.
    const settled = this.#slots.tryTake() ? this.#hold(operation, call) : this.#admit(callOperation, operation, call);
    return settled as Promise<T>;
  }

  override executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#outcome(callOperation, operation, call) as Promise<Outcome<T>>;
  }

  /** Like `execute`, for a function that gives its result at once. Only for a bulkhead without a queue. */
  executeSync<T>(fn: () => T): T {
    if (this.#settings.maxQueue > 0)
      throw new ConfigError(
        `bulkhead "${this.name}" cannot executeSync: a call may have to wait in its queue. Use execute, or a bulkhead with maxQueue: 0.`,
      );
    if (!this.#slots.tryTake() && this.#withoutSlot() !== ADMITTED) throw this.#error(0);
    let value: T;
    try {
      value = fn();
    } finally {
      this.#slots.give();
    }
    const mistake = promiseMistake(value, `The function of bulkhead "${this.name}"`);
    if (mistake !== null) throw mistake;
    return value;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#admit(next, operation, call);
  }

  /** @internal */
  outcomeAround(next: Invoke): InvokeOutcome {
    return (operation, call) => this.#outcome(next, operation, call);
  }

  /** @internal */
  get slots(): Holdable {
    return this.#slots;
  }

  getStats(): BulkheadStats {
    const { maxConcurrent, maxQueue } = this.#settings;
    const { taken, waiting } = this.#slots;
    return { name: this.name, active: taken, queued: waiting, rejected: this.#rejected, maxConcurrent, maxQueue };
  }

  describe(): PolicyDescription {
    const { name: _, ...options } = this.#settings;
    return { kind: this.kind, name: this.name, options };
  }

  #admit(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    const entered = this.#enter(call);
    if (entered !== ADMITTED) return this.#admitLater(entered, next, operation, call);
    return next === callOperation ? this.#hold(operation, call) : this.#holdAround(next, operation, call);
  }

  async #admitLater(
    entered: number | Promise<number>,
    next: Invoke,
    operation: Operation<unknown>,
    call: Call,
  ): Promise<unknown> {
    // A refusal, too, waits here for a microtask: a promise that rejects before anybody listens is costly.
    const waitMs = await entered;
    if (waitMs !== ADMITTED) throw this.#error(waitMs);
    return next === callOperation ? this.#hold(operation, call) : this.#holdAround(next, operation, call);
  }

  // Not async: one promise that is already resolved serves every call that finds the queue full.
  #outcome(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    if (call.aborted) return Promise.resolve(failed(call.reason, false));
    const entered = this.#enter(call);
    if (typeof entered === "number" && entered !== ADMITTED)
      return (this.#full ??= Promise.resolve(this.#refusal(entered)));
    return this.#admittedOutcome(entered, next, operation, call);
  }

  async #admittedOutcome(
    entered: number | Promise<number>,
    next: Invoke,
    operation: Operation<unknown>,
    call: Call,
  ): Promise<Outcome<unknown>> {
    try {
      const waitMs = typeof entered === "number" ? entered : await entered;
      if (waitMs !== ADMITTED) return this.#refusal(waitMs);
      const held = next === callOperation ? this.#hold(operation, call) : this.#holdAround(next, operation, call);
      return { ok: true, value: await held };
    } catch (error) {
      return failed(error, false);
    }
  }

  /** The operation with nothing around it, in one frame. */
  async #hold(operation: Operation<unknown>, call: Call): Promise<unknown> {
    try {
      // The caller may have aborted on the way from the hand-off of a slot to here.
      if (call.aborted) throw call.reason;
      return await operation(call);
    } finally {
      this.#slots.give();
    }
  }

  #holdAround(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    return holdUntilSettled(next, operation, call, () => this.#slots.give());
  }

  /** ADMITTED once a slot is the call's; otherwise how long it has waited in vain. */
  #enter(call: Call): number | Promise<number> {
    if (this.#slots.tryTake()) return ADMITTED;
    const { maxQueue, dryRun } = this.#settings;
    return dryRun || this.#slots.waiting >= maxQueue ? this.#withoutSlot() : this.#queue(call);
  }

  /** What becomes of a call that finds neither a slot nor a place in the queue; a dry run only says so. */
  #withoutSlot(): number {
    if (!this.#settings.dryRun) return this.#rejects(0);
    const { maxConcurrent, maxQueue } = this.#settings;
    // All that run beyond the limit would be waiting.
    const queued = this.#slots.taken - maxConcurrent;
    if (queued >= maxQueue) this.#rejects(0);
    else this.#runtime.events.emit?.("bulkhead.queued", { policy: this.name, queued: queued + 1, dryRun: true });
    this.#slots.takeBeyondLimit();
    return ADMITTED;
  }

  async #queue(call: Call): Promise<number> {
    const startedAt = this.#runtime.clock.now();
    const queued = this.#slots.waiting + 1;
    this.#runtime.events.emit?.("bulkhead.queued", { policy: this.name, queued, dryRun: false });
    const until = Math.min(startedAt + (this.#settings.queueTimeoutMs ?? Infinity), call.deadline);
    if (await this.#slots.wait(call, until, call.key)) return ADMITTED;
    return this.#rejects(this.#runtime.clock.now() - startedAt);
  }

  #rejects(waitMs: number): number {
    this.#rejected++;
    this.#runtime.events.emit?.("bulkhead.rejected", { policy: this.name, waitMs, dryRun: this.#settings.dryRun });
    return waitMs;
  }

  #error(waitMs: number): BulkheadFullError {
    return new BulkheadFullError(this.name, this.#settings.maxConcurrent, this.#settings.maxQueue, waitMs);
  }

  #refusal(waitMs: number): Failed {
    return refusal(() => this.#error(waitMs));
  }
}
