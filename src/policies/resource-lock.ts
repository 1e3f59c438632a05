/// <reference lib="esnext.disposable" preserve="true" />
import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import { Histogram } from "../core/histogram.ts";
import { ConfigError } from "../core/errors.ts";
import {
  anId,
  aSharedState,
  checkId,
  checkOptions,
  durationMs,
  positiveMs,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
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
import { ContentionDetectedError } from "../core/policy-errors.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import type { SharedState } from "../core/shared-state.ts";
import { holdUntilSettled, Slots } from "../core/slots.ts";
import type { HeldLease, LeasePlace } from "./held-lease.ts";
import { sidesOf } from "./sharing.ts";

export interface ResourceLockOptions {
  /** Names the resource in events and errors. @default "lock" */
  name?: string | undefined;
  /** How many may hold it at the same time. @default 1 */
  maxConcurrent?: number | undefined;
  /** How long to wait for it. Never covers the hold; 0 tries once. @default 30000 */
  acquireTimeoutMs?: number | undefined;
  /** A wait that lasts this long is contention: it is counted, and reported while it goes on. @default 5000 */
  contentionThresholdMs?: number | undefined;
  /** Where processes share the lock. Without it the lock is local. */
  lease?: SharedState | undefined;
  /** How long a permit of a shared lock outlives a process that has died or stalled. @default 10000 */
  leaseMs?: number | undefined;
}

/** The right to use the resource until it is released, by hand or by `using`. */
export interface LockPermit extends Disposable {
  readonly holderId: string;
  /**
   * Of a shared lock, a number above those of all earlier permits: what is written under the lock can be refused by
   * it where a later one has written already. Undefined for a local lock.
   */
  readonly fencingToken: number | undefined;
  /** Aborts with `LeaseLostError` when the permit of a shared lock is lost: somebody else may have the resource then. */
  readonly signal: AbortSignal;
  /** Gives the permit back. Only the first time counts. */
  release(): void;
}

/** What a lock has seen so far. Waits are those that ended in an acquisition or ran out of time. */
export interface LockStats {
  totalAcquisitions: number;
  /** Waits that reached the threshold or ran out of time. */
  contentionCount: number;
  /** The share of those among all that asked for the lock. */
  contentionRate: number;
  timeouts: number;
  avgWaitMs: number;
  /** At most a tenth above the true one. */
  p95WaitMs: number;
  maxWaitMs: number;
  /** Those of this process, in the order in which they acquired it. An id that holds two permits is there twice. */
  currentHolders: string[];
  capacity: number;
}

const RULES: Rules<ResourceLockOptions> = {
  name: anId,
  maxConcurrent: wholeNumber(1),
  acquireTimeoutMs: durationMs,
  contentionThresholdMs: durationMs,
  lease: aSharedState,
  leaseMs: positiveMs,
};

/** The holder where nobody says who it is. */
const UNNAMED = "unnamed";

/** How a lock that was not acquired stood when the time was up. */
interface Contention {
  waitMs: number;
  holders: readonly string[];
}

/**
 * Lets one caller at a time, or `maxConcurrent` of them, use a resource; the others wait in the order in which they
 * came, and give up with `ContentionDetectedError` after `acquireTimeoutMs`. The hold itself has no limit.
 *
 * The lock is local, and knows nothing of other processes, unless it is given a `lease`: then all that have a lock of
 * the same name in the same place share it. It is not reentrant: a holder who asks again waits for itself. As a policy it holds until the operation itself has settled, also when a timeout inside or outside of it
 * fires earlier.
 *
 * @example
 * ```ts
 * import { ResourceLock } from "holdfast/policies";
 *
 * const lock = new ResourceLock({ name: "ledger" });
 * const permit = await lock.acquire("import");
 * console.log(lock.getStats().currentHolders); // => ["import"]
 * permit.release();
 * console.log(await lock.withPermit(() => "booked")); // => "booked"
 * ```
 */
export class ResourceLock extends PolicyBase {
  readonly kind = "lock";
  readonly name: string;
  readonly #acquireTimeoutMs: number;
  readonly #contentionThresholdMs: number;
  readonly #runtime: Runtime;
  readonly #slots: Slots;
  readonly #leases: LeasePlace | null;
  readonly #held = new Set<LockPermit>();
  readonly #waits = new Histogram();
  #asked = 0;
  #acquisitions = 0;
  #contentions = 0;
  #timeouts = 0;

  constructor(options: ResourceLockOptions = {}, runtime: Runtime = systemRuntime) {
    super();
    const given = checkOptions("lock", options, RULES);
    this.name = given.name ?? "lock";
    this.#acquireTimeoutMs = given.acquireTimeoutMs ?? 30_000;
    this.#contentionThresholdMs = given.contentionThresholdMs ?? 5_000;
    this.#runtime = runtime;
    const { maxConcurrent = 1, lease, leaseMs = 10_000 } = given;
    this.#slots = new Slots(maxConcurrent, runtime.clock);
    if (lease === undefined && given.leaseMs !== undefined)
      throw new ConfigError("lock.leaseMs needs lock.lease: only a lock that processes share has a lease.");
    const terms = { lockName: this.name, maxConcurrent, leaseMs };
    this.#leases = lease === undefined ? null : new (sidesOf(lease).LeasePlace)(lease, terms, runtime);
  }

  /** Waits for a permit. `holderId` is who will hold it, in the words of errors, events and statistics. */
  async acquire(holderId: string, options?: CallOptions | Call): Promise<LockPermit> {
    checkId(`the holder of lock "${this.name}"`, holderId);
    const taken = await this.#take(holderId, callFrom(this.#runtime.clock, options));
    if (!(taken instanceof Permit)) throw this.#error(taken);
    return taken;
  }

  /** Calls `fn` while it holds a permit, and releases it whatever comes of it. */
  async withPermit<T>(
    fn: (permit: LockPermit) => T | PromiseLike<T>,
    holderId: string = UNNAMED,
    options?: CallOptions | Call,
  ): Promise<T> {
    const permit = await this.acquire(holderId, options);
    try {
      return await fn(permit);
    } finally {
      permit.release();
    }
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#run(callOperation, operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  override executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#outcome(callOperation, operation, call) as Promise<Outcome<T>>;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#run(next, operation, call);
  }

  /** @internal */
  outcomeAround(next: Invoke): InvokeOutcome {
    return (operation, call) => this.#outcome(next, operation, call);
  }

  getStats(): LockStats {
    return {
      totalAcquisitions: this.#acquisitions,
      contentionCount: this.#contentions,
      contentionRate: this.#asked === 0 ? 0 : this.#contentions / this.#asked,
      timeouts: this.#timeouts,
      avgWaitMs: this.#waits.mean,
      p95WaitMs: this.#waits.quantile(0.95),
      maxWaitMs: this.#waits.max,
      currentHolders: this.#holders(),
      capacity: this.#slots.limit,
    };
  }

  describe(): PolicyDescription {
    return {
      kind: this.kind,
      name: this.name,
      options: {
        maxConcurrent: this.#slots.limit,
        acquireTimeoutMs: this.#acquireTimeoutMs,
        contentionThresholdMs: this.#contentionThresholdMs,
        hasSharedState: this.#leases !== null,
        ...(this.#leases !== null && { leaseMs: this.#leases.terms.leaseMs }),
      },
    };
  }

  async #outcome(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    try {
      const taken = await this.#take(call.key ?? UNNAMED, call);
      if (!(taken instanceof Permit)) return refusal(() => this.#error(taken));
      return { ok: true, value: await this.#hold(taken, next, operation, call) };
    } catch (error) {
      return failed(error, false);
    }
  }

  #run(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    const permit = this.#tryTake(call.key ?? UNNAMED);
    return permit === null ? this.#runLater(next, operation, call) : this.#hold(permit, next, operation, call);
  }

  async #runLater(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    const taken = await this.#wait(call.key ?? UNNAMED, call);
    if (!(taken instanceof Permit)) throw this.#error(taken);
    return this.#hold(taken, next, operation, call);
  }

  #hold(permit: Permit, next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (permit.lease === null) return holdUntilSettled(next, operation, call, () => permit.release());
    const scope = call.scope(Infinity);
    permit.lease.onLost = (error) => scope.abort(error);
    return holdUntilSettled(next, operation, scope, () => {
      scope.end();
      permit.release();
    });
  }

  async #take(holderId: string, call: Call): Promise<Permit | Contention> {
    if (call.aborted) throw call.reason;
    return this.#tryTake(holderId) ?? this.#wait(holderId, call);
  }

  #tryTake(holderId: string): Permit | null {
    this.#asked++;
    // A place that is shared has to be asked first.
    if (this.#leases !== null || !this.#slots.tryTake()) return null;
    this.#waits.record(0);
    return this.#permitFor(holderId, null);
  }

  async #wait(holderId: string, call: Call): Promise<Permit | Contention> {
    const { clock, events } = this.#runtime;
    const startedAt = clock.now();
    let contended = false;
    const contend = (): void => {
      if (contended) return;
      contended = true;
      this.#contentions++;
      const waitMs = clock.now() - startedAt;
      events.emit?.("lock.contended", { policy: this.name, waitMs, holders: this.#allHolders() });
    };
    const threshold = clock.timer(this.#contentionThresholdMs, contend);
    let permit: Permit | null;
    try {
      permit = await this.#obtain(holderId, call, startedAt);
    } finally {
      threshold.cancel();
    }
    const waitMs = clock.now() - startedAt;
    this.#waits.record(waitMs);
    if (permit === null || waitMs >= this.#contentionThresholdMs) contend();
    if (permit !== null) return permit;
    this.#timeouts++;
    const holders = this.#allHolders();
    events.emit?.("lock.timed_out", { policy: this.name, waitMs, holders });
    return { waitMs, holders };
  }

  /** Waits for a slot of this process first and then, with those of other processes, for a lease. Null: not in time. */
  async #obtain(holderId: string, call: Call, startedAt: number): Promise<Permit | null> {
    const until = Math.min(startedAt + this.#acquireTimeoutMs, call.deadline);
    if (this.#leases === null) {
      return (await this.#slots.wait(call, until)) ? this.#permitFor(holderId, null) : null;
    }
    if (!this.#slots.tryTake() && !(await this.#slots.wait(call, until))) return null;
    let lease: HeldLease | null = null;
    try {
      // A single try takes the time of its answer.
      lease = await this.#leases.take(holderId, call, until, this.#acquireTimeoutMs === 0 ? call.deadline : until);
    } finally {
      if (lease === null) this.#slots.give();
    }
    return lease === null ? null : this.#permitFor(holderId, lease);
  }

  #permitFor(holderId: string, lease: HeldLease | null): Permit {
    const permit = new Permit(holderId, lease, this.#held, this.#slots);
    this.#held.add(permit);
    this.#acquisitions++;
    return permit;
  }

  /** Of a shared lock, those of all processes. */
  #allHolders(): string[] {
    return this.#leases === null ? this.#holders() : this.#leases.holders;
  }

  #holders(): string[] {
    return Array.from(this.#held, ({ holderId }) => holderId);
  }

  #error({ waitMs, holders }: Contention): ContentionDetectedError {
    return new ContentionDetectedError(this.name, waitMs, holders);
  }
}

class Permit implements LockPermit {
  readonly holderId: string;
  readonly lease: HeldLease | null;
  readonly #held: Set<LockPermit>;
  readonly #slots: Slots;
  #controller: AbortController | null = null;

  constructor(holderId: string, lease: HeldLease | null, held: Set<LockPermit>, slots: Slots) {
    this.holderId = holderId;
    this.lease = lease;
    this.#held = held;
    this.#slots = slots;
  }

  get fencingToken(): number | undefined {
    return this.lease?.token;
  }

  get signal(): AbortSignal {
    this.lease?.look();
    if (this.#controller !== null) return this.#controller.signal;
    const controller = new AbortController();
    this.#controller = controller;
    if (this.lease !== null) {
      if (this.lease.lost !== null) controller.abort(this.lease.lost);
      else this.lease.onLost = (error) => controller.abort(error);
    }
    return controller.signal;
  }

  release(): void {
    if (!this.#held.delete(this)) return;
    // Given back before the slot, so that the next one here finds it free.
    this.lease?.release();
    this.#slots.give();
  }

  // Called by `using`. Where there is no Symbol.dispose yet, in some browsers, this is a method nobody calls.
  [Symbol.dispose](): void {
    this.release();
  }
}
