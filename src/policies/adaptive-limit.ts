import type { Clock } from "../core/clock.ts";

/** How a limit adapts itself. */
export interface LimitSettings {
  readonly initialLimit: number;
  readonly minLimit: number;
  readonly maxLimit: number;
  readonly increase: number;
  readonly backoffRatio: number;
}

/** A server that asks for more time than this keeps the limit from growing no longer: it will say so again. */
const LONGEST_PAUSE_MS = 60_000;

/**
 * A limit that grows by addition and shrinks by a factor, as the congestion window of TCP does (Chiu and Jain,
 * "Analysis of the increase and decrease algorithms for congestion avoidance in computer networks", 1989).
 *
 * - It grows by `increase` after each round, which is as many successes as the limit has calls. A round in which
 *   nobody needed the last slot shows nothing about more than was used, so it does not count (RFC 7661).
 * - It shrinks to `backoffRatio` of itself on a sign of overload. A burst of these comes from one cause, so it shrinks
 *   once for all calls that had begun before: only what was begun under the lower limit can say that it is still too
 *   high, or that it may grow again.
 */
export class AdaptiveLimit {
  current: number;
  readonly #settings: LimitSettings;
  readonly #clock: Clock;
  /** Calls are numbered in the order in which they begin. */
  #begun = 0;
  #begunBeforeShrinking = 0;
  #successes = 0;
  #used = false;
  #pausedUntil = -Infinity;

  constructor(settings: LimitSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.current = settings.initialLimit;
  }

  /** A call begins: the number by which it is known when it ends. `last` says that no slot is left after it. */
  begin(last: boolean): number {
    if (last) this.#used = true;
    return ++this.#begun;
  }

  /** A call has found no slot free. */
  lacked(): void {
    this.#used = true;
  }

  succeeded(call: number): void {
    if (call <= this.#begunBeforeShrinking || ++this.#successes < this.current) return;
    const grows = this.#used && this.#clock.now() >= this.#pausedUntil;
    this.#beginRound();
    if (grows) this.current = Math.min(this.#settings.maxLimit, this.current + this.#settings.increase);
  }

  /** A call has met overload; `retryAfterMs` is how long the server asked to wait, where it did. */
  overloaded(call: number, retryAfterMs: number = 0): void {
    const pausedUntil = this.#clock.now() + Math.min(retryAfterMs, LONGEST_PAUSE_MS);
    this.#pausedUntil = Math.max(this.#pausedUntil, pausedUntil);
    if (call <= this.#begunBeforeShrinking) return;
    this.#begunBeforeShrinking = this.#begun;
    this.#beginRound();
    const { minLimit, backoffRatio } = this.#settings;
    this.current = Math.max(minLimit, Math.floor(this.current * backoffRatio));
  }

  #beginRound(): void {
    this.#successes = 0;
    this.#used = false;
  }
}
