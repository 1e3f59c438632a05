import type { Clock, Timer } from "./clock.ts";

/** How often pending deadlines are looked at. A timer for each call would cost three times the rest of the call. */
const TICK_MS = 50;

/** Something that expires. Lists link through it, so that adding and removing allocate nothing. */
export interface Deadline {
  expiresAt: number;
  previous: Deadline | null;
  following: Deadline | null;
  expire(now: number): void;
}

/**
 * The deadlines of one clock. Those of equal length form a queue that is in order by itself, so each tick looks only
 * at heads. One timer serves them all: it runs, and keeps the process alive, while any deadline is pending, and ends
 * at the first tick that finds none (C0.4). A deadline fires up to one tick late, never early.
 */
class DeadlineTicker {
  readonly #clock: Clock;
  readonly #queues = new Set<DeadlineQueue>();
  #pending = 0;
  #timer: Timer | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  entered(queue: DeadlineQueue): void {
    if (!queue.listed) {
      queue.listed = true;
      this.#queues.add(queue);
    }
    if (this.#pending++ > 0) return;
    if (this.#timer === null) this.#arm();
    else this.#timer.ref();
  }

  left(): void {
    if (--this.#pending === 0) this.#timer?.unref();
  }

  #arm(): void {
    this.#timer = this.#clock.timer(TICK_MS, this.#tick);
  }

  readonly #tick = (): void => {
    this.#timer = null;
    const now = this.#clock.now();
    for (const queue of this.#queues) {
      queue.expireUntil(now);
      if (queue.isEmpty) queue.listed = !this.#queues.delete(queue);
    }
    // What has just expired may have made a deadline in its turn, and so armed the timer already.
    if (this.#pending > 0 && this.#timer === null) this.#arm();
  };
}

/** Deadlines of one length, first in, first to expire. */
export class DeadlineQueue {
  readonly #ticker: DeadlineTicker;
  readonly #lengthMs: number;
  /** Whether the ticker looks at this queue. */
  listed = false;
  #head: Deadline | null = null;
  #tail: Deadline | null = null;

  constructor(ticker: DeadlineTicker, lengthMs: number) {
    this.#ticker = ticker;
    this.#lengthMs = lengthMs;
  }

  get isEmpty(): boolean {
    return this.#head === null;
  }

  /** `now` is the reading of the clock that the caller has made anyway. */
  add(deadline: Deadline, now: number): void {
    deadline.expiresAt = now + this.#lengthMs;
    deadline.previous = this.#tail;
    if (this.#tail === null) this.#head = deadline;
    else this.#tail.following = deadline;
    this.#tail = deadline;
    this.#ticker.entered(this);
  }

  remove(deadline: Deadline): void {
    if (deadline.previous === null) this.#head = deadline.following;
    else deadline.previous.following = deadline.following;
    if (deadline.following === null) this.#tail = deadline.previous;
    else deadline.following.previous = deadline.previous;
    deadline.previous = deadline.following = null;
    this.#ticker.left();
  }

  expireUntil(now: number): void {
    while (this.#head !== null && this.#head.expiresAt <= now) {
      const deadline = this.#head;
      this.remove(deadline);
      deadline.expire(now);
    }
  }
}

const tickers = new WeakMap<Clock, DeadlineTicker>();

/** A queue for deadlines that lie `lengthMs` ahead, ticking with all others of the clock. */
export function deadlineQueue(clock: Clock, lengthMs: number): DeadlineQueue {
  let ticker = tickers.get(clock);
  if (ticker === undefined) {
    ticker = new DeadlineTicker(clock);
    tickers.set(clock, ticker);
  }
  return new DeadlineQueue(ticker, lengthMs);
}
