import { followAbort, unfollowAbort } from "../core/aborts.ts";
import type { Call } from "../core/call.ts";
import type { Clock, Timer } from "../core/clock.ts";
import { LeaseLostError, StoreUnavailableError } from "../core/errors.ts";
import { uniqueId } from "../core/random.ts";
import type { Runtime } from "../core/runtime.ts";
import { ANSWER_MS, type SharedChange, type SharedState } from "../core/shared-state.ts";
import { type LockRecord, released, renewed, taken } from "./lock-lease.ts";

/** Who waits asks again after a time between these, unless a lease runs out earlier. */
const POLL_MS = { least: 50, most: 250 };

/** Why a lease is lost by the clock of its holder. */
const LATE = "it could not be renewed in time";

/** What every lease of a lock has alike. */
export interface LeaseTerms {
  readonly lockName: string;
  readonly maxConcurrent: number;
  readonly leaseMs: number;
}

interface Grant {
  readonly id: string;
  readonly holderId: string;
  readonly token: number;
  /** On the clock of this process, before the request was sent. */
  readonly askedAt: number;
}

/** The place in a shared state where the processes that share a lock take their leases. */
export class LeasePlace {
  readonly terms: LeaseTerms;
  readonly runtime: Runtime;
  readonly #state: SharedState;
  readonly #key: string;
  /** Who held the lock when it was last asked for, by the id of the lease. */
  #seen = new Map<string, string>();
  readonly #polling = new Set<() => void>();

  constructor(state: SharedState, terms: LeaseTerms, runtime: Runtime) {
    this.terms = terms;
    this.runtime = runtime;
    this.#state = state;
    this.#key = `lock:${terms.lockName}`;
  }

  /** Who holds the lock in all processes, as far as it is known here. */
  get holders(): string[] {
    return [...this.#seen.values()];
  }

  /**
   * Asks for a lease until it gets one, and gives null at the instant `until`. It asks at least once, and for the
   * first answer it waits until `answerBy`.
   */
  async take(holderId: string, call: Call, until: number, answerBy: number): Promise<HeldLease | null> {
    const { clock, random } = this.runtime;
    const waits = until > clock.now();
    let id = uniqueId();
    let asked: Promise<unknown> = Promise.resolve();
    // Whether there may be anything of ours in the shared state: a place in line, or a lease that nobody told us of.
    let leaves = true;
    try {
      for (let patience = answerBy; ; patience = until) {
        const askedAt = clock.now();
        const answer = this.#update(taken({ ...this.terms, id, holderId, waits }));
        asked = settledQuietly(answer);
        const heard = await answeredBy(clock, answer, Math.min(askedAt + ANSWER_MS, patience), call.waitSignal);
        const now = clock.now();
        if (heard === null && now >= askedAt + ANSWER_MS) throw silentError(this.terms.lockName);
        if (heard === null) return null;
        this.#seen = new Map(heard.holders.map((holder) => [holder.id, holder.holderId]));
        leaves = waits || heard.token !== null;
        if (call.aborted) throw call.reason;
        if (heard.token !== null && now < askedAt + this.terms.leaseMs) {
          leaves = false;
          return new HeldLease(this, { id, holderId, askedAt, token: heard.token });
        }
        if (heard.token !== null) {
          // The answer was so late that what it grants has run out.
          this.giveBack(id);
          id = uniqueId();
        }
        if (now >= until) return null;
        const pauseMs = POLL_MS.least + random() * (POLL_MS.most - POLL_MS.least);
        await this.#pause(call, Math.min(now + Math.min(pauseMs, heard.freeInMs), until));
        if (clock.now() >= until) return null;
      }
    } finally {
      // What is still under way must not come after it.
      if (leaves) void asked.then(() => this.giveBack(id));
    }
  }

  renew(id: string): Promise<boolean> {
    return this.#update(renewed(id, this.terms.leaseMs));
  }

  /** One that is not heard of runs out by itself. Whoever waits in this process then asks at once. */
  giveBack(id: string): void {
    this.#seen.delete(id);
    const gone = settledQuietly(this.#update(released(id)));
    void gone.then(() => this.#polling.forEach((wake) => wake()));
  }

  // A place that throws at once is one that rejects: a release must not throw, nor stop half-way.
  async #update<R>(change: (last: LockRecord | undefined, now: number) => SharedChange<LockRecord, R>): Promise<R> {
    return this.#state.update(this.#key, change);
  }

  async #pause(call: Call, until: number): Promise<void> {
    let wake!: () => void;
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.#polling.add(wake);
    try {
      await answeredBy(this.runtime.clock, woken, until, call.waitSignal);
    } finally {
      this.#polling.delete(wake);
    }
  }
}

/**
 * A lease that is held, renewed at every third of its time. It is lost where the shared state says so, and where it has
 * not been renewed in time by the clock of this process, counted from before the request was sent: that instant comes
 * no later than the one at which others see it run out.
 */
export class HeldLease {
  /** Why it is held no longer, where it was not given back. */
  lost: LeaseLostError | null = null;
  /** Called when it is lost. */
  onLost: ((error: LeaseLostError) => void) | null = null;
  readonly #place: LeasePlace;
  readonly #grant: Grant;
  #until = 0;
  #timer: Timer | null = null;
  #over = false;

  constructor(place: LeasePlace, grant: Grant) {
    this.#place = place;
    this.#grant = grant;
    this.#holdFrom(grant.askedAt);
  }

  get token(): number {
    return this.#grant.token;
  }

  /** After a stall the timers of the holder may come before that of the lease: so whoever asks looks at the clock. */
  look(): void {
    if (!this.#over && this.#place.runtime.clock.now() >= this.#until) this.#lose(LATE);
  }

  /** Also where it is lost: a renewal whose answer came too late may have kept it in the shared state. */
  release(): void {
    this.look();
    this.#end();
    this.#place.giveBack(this.#grant.id);
  }

  #holdFrom(askedAt: number): void {
    const { leaseMs } = this.#place.terms;
    this.#until = askedAt + leaseMs;
    this.#renewAt(askedAt + leaseMs / 3);
  }

  #renewAt(at: number): void {
    const { clock } = this.#place.runtime;
    this.#setTimer(Math.min(at, this.#until), () => {
      if (clock.now() >= this.#until) this.#lose(LATE);
      else void this.#renew();
    });
  }

  async #renew(): Promise<void> {
    const { clock } = this.#place.runtime;
    const askedAt = clock.now();
    this.#setTimer(this.#until, () => this.#lose(LATE));
    let held: boolean;
    try {
      held = await this.#place.renew(this.#grant.id);
    } catch {
      // Away for the moment: asked again until the time is up.
      if (!this.#over) this.#renewAt(clock.now() + this.#place.terms.leaseMs / 10);
      return;
    }
    if (this.#over) return;
    if (held) this.#holdFrom(askedAt);
    else this.#lose("it had run out before it was renewed");
  }

  #lose(why: string): void {
    this.#end();
    const { lockName } = this.#place.terms;
    const { holderId, token } = this.#grant;
    this.lost = new LeaseLostError(undefined, token, { name: lockName, why });
    this.#place.runtime.events.emit?.("lock.lost", { policy: lockName, holder: holderId, token, error: this.lost });
    this.onLost?.(this.lost);
  }

  #end(): void {
    this.#over = true;
    this.#timer?.cancel();
  }

  #setTimer(at: number, fn: () => void): void {
    const { clock } = this.#place.runtime;
    this.#timer?.cancel();
    this.#timer = clock.timer(at - clock.now(), fn);
    // A lease alone keeps no process alive: what is done under it does.
    this.#timer.unref();
  }
}

function silentError(lockName: string): StoreUnavailableError {
  return new StoreUnavailableError(
    `The shared state did not answer within ${ANSWER_MS} ms when lock "${lockName}" was asked for. Nobody can say who holds it, so it was not acquired.`,
  );
}

/** The answer where it comes before the instant `by`, else null. Rejects when the signal aborts first. */
function answeredBy<T>(clock: Clock, answer: Promise<T>, by: number, signal?: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const done = (): void => {
      timer.cancel();
      unfollowAbort(signal, onAbort);
    };
    const onAbort = (): void => {
      done();
      reject(signal!.reason);
    };
    const timer = clock.timer(by - clock.now(), () => {
      done();
      resolve(null);
    });
    followAbort(signal, onAbort);
    answer.finally(done).then(resolve, reject);
  });
}

function settledQuietly(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch(() => {});
}
