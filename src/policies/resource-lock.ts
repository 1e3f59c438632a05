/// <reference lib="esnext.disposable" preserve="true" />
import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import { Histogram } from "../core/histogram.ts";
import { anId, checkId, checkOptions, durationMs, type Rules, wholeNumber } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Invoke,
  type Operation,
  type Outcome,
  PolicyBase,
  type PolicyDescription,
  refusal,
} from "../core/policy.ts";
import { ContentionDetectedError } from "../core/policy-errors.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { holdUntilSettled, Slots } from "../core/slots.ts";

export interface ResourceLockOptions {
  /** Names the resource in events and errors. @default "lock" */
  name?: string | undefined;
  /** How many may hold it at the same time. @default 1 */
  maxConcurrent?: number | undefined;
  /** How long to wait for it. Never covers the hold; 0 tries once. @default 30000 */
  acquireTimeoutMs?: number | undefined;
  /** A wait that lasts this long is contention: it is counted, and reported while it goes on. @default 5000 */
  contentionThresholdMs?: number | undefined;
}

/** The right to use the resource until it is released, by hand or by `using`. */
export interface LockPermit extends Disposable {
  readonly holderId: string;
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
  /** In the order in which they acquired it. An id that holds two permits is there twice. */
  currentHolders: string[];
  capacity: number;
}

const RULES: Rules<ResourceLockOptions> = {
  name: anId,
  maxConcurrent: wholeNumber(1),
  acquireTimeoutMs: durationMs,
  contentionThresholdMs: durationMs,
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
 * The lock is local: it knows nothing of other processes. It is not reentrant: a holder who asks again waits for
 * itself. As a policy it holds until the operation itself has settled, also when a timeout inside or outside of it
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
    this.#slots = new Slots(given.maxConcurrent ?? 1, runtime.clock);
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

  override async executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    try {
      const call = callFrom(this.#runtime.clock, options);
      const taken = await this.#take(call.key ?? UNNAMED, call);
      if (!(taken instanceof Permit)) return refusal(() => this.#error(taken));
      return { ok: true, value: (await this.#hold(taken, callOperation, operation, call)) as Awaited<T> };
    } catch (error) {
      return failed(error, false);
    }
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#run(next, operation, call);
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
        scope: "local",
      },
    };
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
    return holdUntilSettled(next, operation, call, () => permit.release());
  }

  async #take(holderId: string, call: Call): Promise<Permit | Contention> {
    if (call.aborted) throw call.reason;
    return this.#tryTake(holderId) ?? this.#wait(holderId, call);
  }

  #tryTake(holderId: string): Permit | null {
    this.#asked++;
    if (!this.#slots.tryTake()) return null;
    this.#waits.record(0);
    return this.#permitFor(holderId);
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
      events.emit?.("lock.contended", { policy: this.name, waitMs, holders: this.#holders() });
    };
    const threshold =
      this.#contentionThresholdMs < this.#acquireTimeoutMs ? clock.timer(this.#contentionThresholdMs, contend) : null;
    let taken: boolean;
    try {
      taken = await this.#slots.wait(call, Math.min(startedAt + this.#acquireTimeoutMs, call.deadline));
    } finally {
      threshold?.cancel();
    }
    const waitMs = clock.now() - startedAt;
    this.#waits.record(waitMs);
    if (!taken || waitMs >= this.#contentionThresholdMs) contend();
    if (taken) return this.#permitFor(holderId);
    this.#timeouts++;
    const holders = this.#holders();
    events.emit?.("lock.timed_out", { policy: this.name, waitMs, holders });
    return { waitMs, holders };
  }

  #permitFor(holderId: string): Permit {
    const permit = new Permit(holderId, this.#held, this.#slots);
    this.#held.add(permit);
    this.#acquisitions++;
    return permit;
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
  readonly #held: Set<LockPermit>;
  readonly #slots: Slots;

  constructor(holderId: string, held: Set<LockPermit>, slots: Slots) {
    this.holderId = holderId;
    this.#held = held;
    this.#slots = slots;
  }

  release(): void {
    if (this.#held.delete(this)) this.#slots.give();
  }

  // Called by `using`. Where there is no Symbol.dispose yet, in some browsers, this is a method nobody calls.
  [Symbol.dispose](): void {
    this.release();
  }
}
