import { followAbort, unfollowAbort } from "../core/aborts.ts";
import type { Timer } from "../core/clock.ts";
import { type LimiterWhy, RateLimitedError } from "../core/policy-errors.ts";
import type { Failed, Operation } from "../core/policy.ts";
import type { Link } from "../core/queue.ts";
import type { Meter } from "./rate-limits.ts";

/** What one call takes. */
export class Claim {
  requests = 0;
  tokens = 0;
  /** When it was granted. */
  takenAt = 0;
  /** Its instant in the time of the place where processes share the limits; null where it was taken from none. */
  sharedAt: number | null = null;
  /** Whether the operation was called; policies inside may refuse to. */
  called = true;
  /** False for a call that only a dry run lets through: it takes nothing, before or after. */
  counts = true;

  /** The operation, which notes that it was called. */
  watching(operation: Operation<unknown>): Operation<unknown> {
    this.called = false;
    return (call) => {
      this.called = true;
      return operation(call);
    };
  }
}

/** A call in line. */
export class Waiter implements Link<Waiter> {
  previous: Waiter | null = null;
  following: Waiter | null = null;
  readonly claim: Claim;
  /** The latest that it will wait for room. */
  readonly latest: number;
  /** Whether it had to wait for room. */
  late: boolean;
  readonly #wake: (granted: boolean) => void;
  readonly #signal: AbortSignal | undefined;
  #onAbort!: () => void;
  #timer: Timer | null = null;
  waiting = true;

  constructor(
    claim: Claim,
    signal: AbortSignal | undefined,
    latest: number,
    late: boolean,
    wake: (granted: boolean) => void,
  ) {
    this.claim = claim;
    this.latest = latest;
    this.late = late;
    this.#signal = signal;
    this.#wake = wake;
  }

  /** What ends the wait before its turn comes: an abort, and a timer where the wait has a limit. */
  endsBy(onAbort: () => void, timer: Timer | null): void {
    this.#timer = timer;
    this.#onAbort = onAbort;
    followAbort(this.#signal, onAbort);
  }

  wake(granted: boolean): void {
    this.waiting = false;
    this.#timer?.cancel();
    unfollowAbort(this.#signal, this.#onAbort);
    this.#wake(granted);
  }
}

/** A refused call as an outcome. The error is built when it is read: most callers only look at `ok`. */
export class Refusal implements Failed {
  readonly ok = false;
  readonly refused = true;
  readonly retryAfterMs: number | undefined;
  readonly #limiter: string;
  readonly #why: LimiterWhy;
  readonly #claim: Claim;
  readonly #meters: readonly Meter[];

  constructor(
    limiter: string,
    why: LimiterWhy,
    claim: Claim,
    meters: readonly Meter[],
    retryAfterMs: number | undefined,
  ) {
    this.#limiter = limiter;
    this.#why = why;
    this.#claim = claim;
    this.#meters = meters;
    this.retryAfterMs = retryAfterMs;
  }

  get error(): RateLimitedError {
    const over = this.#meters.find(({ kind, allowance }) => this.#claim[kind] > allowance.capacity);
    const limits =
      over === undefined
        ? this.#meters.map(({ words }) => words).join(", ")
        : `${this.#claim[over.kind]} ${over.kind}, where there are never more than ${over.allowance.capacity}`;
    return new RateLimitedError(this.#limiter, this.#why, limits, this.retryAfterMs);
  }
}
