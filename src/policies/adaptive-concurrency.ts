import { promiseMistake } from "../core/at-once.ts";
import { type Call, type CallOptions, callFrom, type Priority } from "../core/call.ts";
import { ConfigError, TimeoutError } from "../core/errors.ts";
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
  refusal,
} from "../core/policy.ts";
import { OverloadShedError, type ShedWhy } from "../core/policy-errors.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { holdUntilSettled } from "../core/slots.ts";
import { AdaptiveLimit } from "./adaptive-limit.ts";
import { type AdaptiveConcurrencyOptions, type AdaptiveSettings, adaptiveSettings } from "./adaptive-options.ts";
import { type OverloadSigns, overloadSigns } from "./overload.ts";
import { type ByPriority, byPriority, PRIORITIES, PrioritySlots } from "./priority-slots.ts";
import { retryAfterOf } from "./retry-after.ts";

/** How an adaptive limit stands. */
export interface AdaptiveConcurrencyStats {
  name: string;
  /** How many operations may be under way now. */
  limit: number;
  /** Operations under way. It may have more than its limit for a while after that has fallen, and in a dry run. */
  active: number;
  /** Calls waiting for a slot. */
  queued: Record<Priority, number>;
  /** Calls refused so far; in a dry run, those that would have been. */
  rejected: Record<Priority, number>;
  /** Signs of overload so far. */
  overloads: number;
}

/** A call that is not let through. */
interface Shed {
  readonly why: ShedWhy;
  readonly priority: Priority;
  readonly waitMs: number;
}

/** The number of a call that is let through, or why it is not. */
type Entered = number | Shed;

/**
 * A bulkhead that finds its limit itself. While calls succeed and need all of it, the limit grows a little with each
 * round of them; as soon as the service shows signs of overload, it falls by a factor. The least important of the
 * calls that are too many are refused first, with `OverloadShedError`.
 *
 * A slot is held until the operation itself has settled, not until a timeout has fired: what still runs is still a
 * load on the service.
 *
 * @example
 * ```ts
 * import { AdaptiveConcurrency } from "holdfast/policies";
 *
 * const model = new AdaptiveConcurrency({ name: "model", initialLimit: 10 });
 * const overloaded = Object.assign(new Error("overloaded"), { status: 529 });
 * await model.execute(() => Promise.reject(overloaded)).catch(() => {});
 * console.log(model.getStats().limit); // => 7
 * ```
 */
export class AdaptiveConcurrency extends PolicyBase {
  readonly kind = "adaptiveConcurrency";
  readonly name: string;
  readonly #settings: AdaptiveSettings;
  readonly #runtime: Runtime;
  readonly #signs: OverloadSigns;
  readonly #limit: AdaptiveLimit;
  readonly #slots: PrioritySlots;
  readonly #rejected: ByPriority = byPriority(() => 0);
  #overloads = 0;

  constructor(options: AdaptiveConcurrencyOptions = {}, runtime: Runtime = systemRuntime) {
    super();
    this.#settings = adaptiveSettings(options);
    this.name = this.#settings.name;
    this.#runtime = runtime;
    this.#signs = overloadSigns(this.#settings.overloadErrors);
    this.#limit = new AdaptiveLimit(this.#settings, runtime.clock);
    this.#slots = new PrioritySlots(this.#limit.current, this.#settings.shares, runtime.clock);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#admit(callOperation, operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  override executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#outcome(callOperation, operation, call) as Promise<Outcome<T>>;
  }

  /** Like `execute`, for a function that gives its result at once. Only where there is no queue. */
  executeSync<T>(fn: () => T): T {
    if (this.#settings.maxQueue > 0)
      throw new ConfigError(
        `adaptiveConcurrency "${this.name}" cannot executeSync: a call may have to wait in its queue. Use execute, or one with maxQueue: 0.`,
      );
    const call = callFrom(this.#runtime.clock, undefined);
    const entered = this.#enterAtOnce("normal") ?? this.#sheds("full", "normal", 0);
    if (typeof entered !== "number") throw this.#error(entered);
    let value: T;
    try {
      value = fn();
    } catch (error) {
      this.#threw(error, entered, call);
      throw error;
    } finally {
      this.#slots.give();
    }
    const mistake = promiseMistake(value, `The function of adaptiveConcurrency "${this.name}"`);
    if (mistake !== null) throw mistake;
    this.#returned(value, entered, call);
    return value;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#admit(next, operation, call);
  }

  /** @internal */
  outcomeAround(next: Invoke): InvokeOutcome {
    return (operation, call) => this.#outcome(next, operation, call);
  }

  getStats(): AdaptiveConcurrencyStats {
    return {
      name: this.name,
      limit: this.#limit.current,
      active: this.#slots.taken,
      queued: this.#slots.queued(),
      rejected: { ...this.#rejected },
      overloads: this.#overloads,
    };
  }

  describe(): PolicyDescription {
    const { name, ...options } = this.#settings;
    return { kind: this.kind, name, options: plainOptions(options) };
  }

  #admit(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    const entered = this.#enter(call);
    return typeof entered === "number"
      ? this.#hold(next, operation, call, entered)
      : this.#admitLater(entered, next, operation, call);
  }

  async #admitLater(
    entering: Shed | Promise<Entered>,
    next: Invoke,
    operation: Operation<unknown>,
    call: Call,
  ): Promise<unknown> {
    // A refusal, too, waits here for a microtask: a promise that rejects before anybody listens is costly.
    const entered = await entering;
    if (typeof entered !== "number") throw this.#error(entered);
    return this.#hold(next, operation, call, entered);
  }

  async #outcome(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    try {
      if (call.aborted) throw call.reason;
      const entering = this.#enter(call);
      const entered = typeof entering === "number" ? entering : await entering;
      if (typeof entered !== "number") return refusal(() => this.#error(entered));
      return { ok: true, value: await this.#hold(next, operation, call, entered) };
    } catch (error) {
      return failed(error, false);
    }
  }

  #hold(next: Invoke, operation: Operation<unknown>, call: Call, entered: number): Promise<unknown> {
    if (next !== callOperation) {
      const observed: Invoke = (held, inner) => this.#observe(next, held, inner, entered);
      return holdUntilSettled(observed, operation, call, () => this.#slots.give());
    }
    // The caller may have aborted on the way from the hand-off of a slot to here.
    if (!call.aborted) return this.#observe(next, operation, call, entered);
    this.#slots.give();
    return Promise.reject(call.reason);
  }

  /** Learns from what `next` brings: not from the operation itself, which a timeout inside may have given up on. */
  async #observe(next: Invoke, operation: Operation<unknown>, call: Call, entered: number): Promise<unknown> {
    try {
      const value = await next(operation, call);
      this.#returned(value, entered, call);
      return value;
    } catch (error) {
      this.#threw(error, entered, call);
      throw error;
    } finally {
      // Where there is nothing but the operation, this frame does for holding the slot as well.
      if (next === callOperation) this.#slots.give();
    }
  }

  #enter(call: Call): Entered | Promise<Entered> {
    const { priority = "normal" } = call;
    if (!PRIORITIES.includes(priority)) return Promise.reject(unknownPriority(priority));
    return this.#enterAtOnce(priority) ?? this.#enterLater(call, priority);
  }

  /** The number of a call that finds a slot, or needs none since this is a dry run. */
  #enterAtOnce(priority: Priority): number | undefined {
    if (!this.#slots.tryTakeFor(priority)) {
      this.#limit.lacked();
      if (!this.#settings.dryRun) return undefined;
      this.#report(priority);
      this.#slots.takeBeyondLimit();
    }
    return this.#limit.begin(this.#slots.taken >= this.#slots.roomFor(priority));
  }

  #enterLater(call: Call, priority: Priority): Shed | Promise<Entered> {
    const { maxQueue } = this.#settings;
    if (this.#slots.waiting >= maxQueue && !this.#slots.evictBelow(priority)) return this.#sheds("full", priority, 0);
    return this.#queue(call, priority);
  }

  async #queue(call: Call, priority: Priority): Promise<Entered> {
    const startedAt = this.#runtime.clock.now();
    const queued = this.#slots.waiting + 1;
    this.#runtime.events.emit?.("adaptive.queued", { policy: this.name, priority, queued, dryRun: false });
    const until = Math.min(startedAt + (this.#settings.queueTimeoutMs ?? Infinity), call.deadline);
    const handedOn = await this.#slots.wait(call, until, priority);
    if (handedOn) return this.#limit.begin(true);
    return this.#sheds(handedOn === null ? "evicted" : "wait", priority, this.#runtime.clock.now() - startedAt);
  }

  /** What would become of a call that finds no slot. All that run beyond what is open to it would be waiting. */
  #report(priority: Priority): void {
    const queued = this.#slots.taken - this.#slots.roomFor(priority);
    if (queued >= this.#settings.maxQueue) this.#sheds("full", priority, 0);
    else
      this.#runtime.events.emit?.("adaptive.queued", { policy: this.name, priority, queued: queued + 1, dryRun: true });
  }

  #sheds(why: ShedWhy, priority: Priority, waitMs: number): Shed {
    const { dryRun } = this.#settings;
    this.#rejected[priority]++;
    this.#runtime.events.emit?.("adaptive.rejected", { policy: this.name, priority, why, waitMs, dryRun });
    return { why, priority, waitMs };
  }

  #returned(value: unknown, entered: number, call: Call): void {
    if (this.#signs.inValue?.(value)) return this.#overloaded(value, entered);
    if (call.aborted) return;
    const before = this.#limit.current;
    this.#limit.succeeded(entered);
    this.#apply(before);
  }

  /** Failures of other kinds say neither that there is too much load nor that more would be borne. */
  #threw(error: unknown, entered: number, call: Call): void {
    // What somebody has cancelled says nothing either, unless it was a timeout that stands outside.
    if (call.aborted && !(call.reason instanceof TimeoutError)) return;
    if (this.#signs.inError(error)) this.#overloaded(error, entered);
  }

  #overloaded(sign: unknown, entered: number): void {
    const before = this.#limit.current;
    this.#overloads++;
    this.#limit.overloaded(entered, retryAfterOf(sign, this.#runtime.clock));
    this.#apply(before);
  }

  /** Lets the slots follow the limit. */
  #apply(from: number): void {
    const to = this.#limit.current;
    if (to === from) return;
    this.#slots.resize(to);
    this.#runtime.events.emit?.("adaptive.limit_changed", { policy: this.name, from, to });
  }

  #error({ why, priority, waitMs }: Shed): OverloadShedError {
    return new OverloadShedError(this.name, why, priority, this.#limit.current, waitMs);
  }
}

function unknownPriority(priority: unknown): ConfigError {
  return new ConfigError(
    `The priority of a call must be one of ${PRIORITIES.map(show).join(", ")}, got ${show(priority)}.`,
  );
}
