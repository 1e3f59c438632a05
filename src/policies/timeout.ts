import { Call, type CallOptions, callFrom } from "../core/call.ts";
import type { Timer } from "../core/clock.ts";
import { type Deadline, deadlineQueue, type DeadlineQueue } from "../core/deadlines.ts";
import { ConfigError, TimeoutError } from "../core/errors.ts";
import { anId, checkOptions, positiveMs, type Rules } from "../core/options.ts";
import {
  callOperation,
  type Guard,
  type Holdable,
  type Invoke,
  type Operation,
  type Policy,
  PolicyBase,
  type PolicyDescription,
  REFUSED,
} from "../core/policy.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";

export interface TimeoutOptions {
  /** Names the policy in events and errors. @default "timeout" */
  name?: string | undefined;
  /** Bounds what is inside: one attempt, where the policy stands inside a retry. */
  attemptTimeoutMs?: number | undefined;
  /** The same bound under the name it has outside a retry, where it covers attempts, waits and queueing. */
  totalTimeoutMs?: number | undefined;
}

const RULES: Rules<TimeoutOptions> = { name: anId, attemptTimeoutMs: positiveMs, totalTimeoutMs: positiveMs };

/** From here on a shared timer, which may be 50 ms late, serves; below it each call has an exact one. */
const SHARED_FROM_MS = 100;

/**
 * Bounds how long a call may take. When the time is up it aborts the operation's signal and throws `TimeoutError`;
 * the operation itself may still finish, and its late result is observed and reported as `attempt.late`, never an
 * unhandled rejection. What stands inside sees the deadline and starts nothing that cannot end before it.
 *
 * Limits of 100 ms and more are kept by one shared timer and may fire up to 50 ms late, never early.
 *
 * @example
 * ```ts
 * import { Timeout } from "holdfast/policies";
 *
 * const timeout = new Timeout({ attemptTimeoutMs: 20 });
 * await timeout.execute(() => new Promise(() => {})); // throws "did not settle within 20 ms"
 * ```
 */
export class Timeout extends PolicyBase {
  readonly kind = "timeout";
  readonly name: string;
  readonly timeoutMs: number;
  readonly #options: TimeoutOptions;
  readonly #runtime: Runtime;
  readonly #queue: DeadlineQueue | null;

  constructor(options: TimeoutOptions, runtime: Runtime = systemRuntime) {
    super();
    this.#options = checkOptions("timeout", options, RULES);
    const { name = "timeout", attemptTimeoutMs, totalTimeoutMs } = this.#options;
    const timeoutMs = attemptTimeoutMs ?? totalTimeoutMs;
    if (timeoutMs === undefined || (attemptTimeoutMs !== undefined && totalTimeoutMs !== undefined)) {
      throw new ConfigError(
        "timeout needs attemptTimeoutMs or totalTimeoutMs, and one of them only: use two Timeout policies, the total one outside the retry.",
      );
    }
    this.name = name;
    this.timeoutMs = timeoutMs;
    this.#runtime = runtime;
    this.#queue = timeoutMs < SHARED_FROM_MS ? null : deadlineQueue(runtime.clock, timeoutMs);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#run(callOperation, operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#run(next, operation, call);
  }

  describe(): PolicyDescription {
    const { name: _, ...options } = this.#options;
    return { kind: this.kind, name: this.name, options };
  }

  /** @internal */
  aroundWith(next: Invoke, guard: Guard | null, holder: Policy<unknown> | null): Invoke {
    const slots = holder?.slots ?? null;
    const held = holder?.around(this.around(next));
    return (operation, call) => {
      if (call.aborted) return Promise.reject(call.reason);
      const permit = guard === null ? 0 : guard.enter();
      if (permit === REFUSED) return guard!.refuse(call);
      if (slots !== null && !slots.tryTake()) return this.#runHeld(held!, operation, call, guard, permit);
      return this.#runAdmitted(next, operation, call, guard, permit, slots);
    };
  }

  #run(next: Invoke, operation: Operation<unknown>, parent: Call): Promise<unknown> {
    if (parent.aborted) return Promise.reject(parent.reason);
    return this.#runAdmitted(next, operation, parent, null, 0, null);
  }

  /** No slot is free: the call goes through the policy that has them, and this one is the guard's frame only. */
  async #runHeld(
    held: Invoke,
    operation: Operation<unknown>,
    call: Call,
    guard: Guard | null,
    permit: number,
  ): Promise<unknown> {
    const startedAt = this.#runtime.clock.now();
    let value: unknown;
    try {
      value = await held(operation, call);
    } catch (error) {
      guard?.failedWith(error, permit, startedAt, call);
      throw error;
    }
    guard?.returned(value, permit, startedAt);
    return value;
  }

  #runAdmitted(
    next: Invoke,
    operation: Operation<unknown>,
    parent: Call,
    guard: Guard | null,
    permit: number,
    slots: Holdable | null,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call = new TimedCall(parent, this, this.#runtime, this.#queue, guard, permit, slots, resolve, reject);
      let result: unknown;
      try {
        result = next(operation, call);
        // A promise of another make may settle twice, and an entry may leave the list of deadlines once only.
        if (!(result instanceof Promise) && isThenable(result)) result = Promise.resolve(result);
      } catch (error) {
        call.failed(error);
        return;
      }
      if (!(result instanceof Promise)) call.returned(result);
      else
        result.then(
          (value: unknown) => call.returned(value),
          (error: unknown) => call.failed(error),
        );
    });
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === "function";
}

/** A call with a time limit: itself the entry in the list of deadlines, so that a call allocates one object. */
class TimedCall extends Call implements Deadline {
  expiresAt = 0;
  previous: Deadline | null = null;
  following: Deadline | null = null;
  readonly #policy: Timeout;
  readonly #runtime: Runtime;
  readonly #queue: DeadlineQueue | null;
  readonly #timer: Timer | null = null;
  readonly #guard: Guard | null;
  readonly #permit: number;
  readonly #slots: Holdable | null;
  readonly #startedAt: number;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: unknown) => void;
  #expiredAt = -1;

  constructor(
    parent: Call,
    policy: Timeout,
    runtime: Runtime,
    queue: DeadlineQueue | null,
    guard: Guard | null,
    permit: number,
    slots: Holdable | null,
    resolve: (value: unknown) => void,
    reject: (error: unknown) => void,
  ) {
    const now = runtime.clock.now();
    super(parent, parent.attempt, Math.min(parent.deadline, now + policy.timeoutMs), true, null, parent.options);
    this.#policy = policy;
    this.#runtime = runtime;
    this.#queue = queue;
    this.#guard = guard;
    this.#permit = permit;
    this.#slots = slots;
    this.#startedAt = now;
    this.#resolve = resolve;
    this.#reject = reject;
    if (queue !== null) queue.add(this, now);
    else this.#timer = runtime.clock.timer(policy.timeoutMs, () => this.expire(runtime.clock.now()));
  }

  expire(now: number): void {
    this.#expiredAt = now;
    const { name, timeoutMs } = this.#policy;
    this.#runtime.events.emit?.("timeout", { policy: name, timeoutMs });
    const error = new TimeoutError(name, timeoutMs);
    this.#guard?.failedWith(error, this.#permit, this.#startedAt, this.parent!);
    this.#reject(error);
    this.abort(error);
  }

  returned(value: unknown): void {
    this.#slots?.give();
    if (!this.#inTime()) return this.#late({ outcome: "value" });
    this.#guard?.returned(value, this.#permit, this.#startedAt);
    this.#resolve(value);
  }

  failed(error: unknown): void {
    this.#slots?.give();
    if (!this.#inTime()) return this.#late({ outcome: "error", error });
    this.#guard?.failedWith(error, this.#permit, this.#startedAt, this.parent!);
    this.#reject(error);
  }

  #inTime(): boolean {
    if (this.#expiredAt >= 0) return false;
    if (this.#queue !== null) this.#queue.remove(this);
    else this.#timer!.cancel();
    this.end();
    return true;
  }

  #late(what: { outcome: "value" } | { outcome: "error"; error: unknown }): void {
    const lateMs = this.#runtime.clock.now() - this.#expiredAt;
    this.#runtime.events.emit?.("attempt.late", { policy: this.#policy.name, lateMs, ...what });
  }
}
