/**
 * The only file that touches `Date`, `performance` and timers. Everything else asks a {@link Clock}, so that a test
 * can own time and no wall-clock jump can change a timeout, a backoff or a breaker (C0.4).
 */
import { followAbort, unfollowAbort } from "./aborts.ts";

/** The longest delay that `setTimeout` honours; beyond it Node and browsers fire after 1 ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** How many calls of `recent()` may share one reading, so that a loop which never yields still sees time pass. */
const RECENT_READS = 64;

/** A pending timer. It keeps the process alive until it is cancelled or unref'd. */
export interface Timer {
  cancel(): void;
  ref(): void;
  unref(): void;
}

/** Time as Holdfast sees it: durations on a monotonic clock, stored instants on the wall clock. */
export abstract class Clock {
  /** Milliseconds on a monotonic clock with an arbitrary origin: for durations. */
  abstract now(): number;

  /** Milliseconds since the Unix epoch: for instants that are stored or shown. */
  abstract wallNow(): number;

  /** Calls `fn` once, no earlier than `delayMs` from now, however long that is. */
  abstract timer(delayMs: number, fn: () => void): Timer;

  /** Calls `fn` once all that is already due in this turn of the event loop has run. */
  abstract afterTurn(fn: () => void): void;

  /**
   * Like `now()`, but one reading may serve all calls of a turn of the event loop. For decisions where a few
   * microseconds do not matter and the reading would cost more than the rest: refusing at an open breaker.
   */
  recent(): number {
    return this.now();
  }

  /** Resolves after `delayMs`; rejects with the signal's reason, within a microtask, when it aborts first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = (): void => {
        timer.cancel();
        reject(signal!.reason);
      };
      const timer = this.timer(delayMs, () => {
        unfollowAbort(signal, onAbort);
        resolve();
      });
      followAbort(signal, onAbort);
    });
  }
}

class SystemTimer implements Timer {
  readonly #due: number;
  readonly #fn: () => void;
  #handle: ReturnType<typeof setTimeout>;
  #referenced = true;

  constructor(delayMs: number, fn: () => void) {
    this.#due = performance.now() + delayMs;
    this.#fn = fn;
    this.#handle = this.#arm(delayMs);
  }

  // Node may fire a timer up to a millisecond early against performance.now(), and long waits come in parts:
  // both are mended by looking at what is left. No number is no wait.
  #arm(delayMs: number): ReturnType<typeof setTimeout> {
    const handle = setTimeout(
      () => {
        const left = this.#due - performance.now();
        if (left > 0) this.#handle = this.#arm(left);
        else this.#fn();
      },
      Math.min(Math.ceil(delayMs) || 0, LONGEST_TIMER_MS),
    );
    if (!this.#referenced) unref(handle);
    return handle;
  }

  cancel(): void {
    clearTimeout(this.#handle);
  }

  ref(): void {
    this.#referenced = true;
    if (typeof this.#handle === "object") this.#handle.ref();
  }

  unref(): void {
    this.#referenced = false;
    unref(this.#handle);
  }
}

// In a browser a timer handle is a number and there is no process to keep alive.
function unref(handle: ReturnType<typeof setTimeout>): void {
  if (typeof handle === "object") handle.unref();
}

class SystemClock extends Clock {
  #recent = 0;
  #readsLeft = 0;

  now(): number {
    return performance.now();
  }

  wallNow(): number {
    return Date.now();
  }

  timer(delayMs: number, fn: () => void): Timer {
    return new SystemTimer(delayMs, fn);
  }

  afterTurn(fn: () => void): void {
    if (typeof setImmediate === "function") setImmediate(fn);
    else setTimeout(fn, 0);
  }

  override recent(): number {
    if (this.#readsLeft > 0) {
      this.#readsLeft--;
      return this.#recent;
    }
    this.#recent = performance.now();
    // Without setImmediate nothing cheap says that a turn has ended, so each call reads the clock.
    if (typeof setImmediate === "function") {
      this.#readsLeft = RECENT_READS;
      setImmediate(this.#expire);
    }
    return this.#recent;
  }

  readonly #expire = (): void => {
    this.#readsLeft = 0;
  };
}

/** The clock of the machine. */
export const systemClock: Clock = new SystemClock();

/** Whether a value is a `Date`. Here, because no other file may name the class. */
export function isDate(value: unknown): value is Date {
  return value instanceof Date;
}

/** A `Date` for an epoch in milliseconds; NaN gives an invalid date, as `new Date(NaN)` does. */
export function dateFrom(epochMs: number): Date {
  return new Date(epochMs);
}

/** The epoch in milliseconds of an HTTP date or ISO 8601 text, or NaN. */
export function parseDate(text: string): number {
  return Date.parse(text);
}
