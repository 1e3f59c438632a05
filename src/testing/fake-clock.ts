import { Clock, systemClock, type Timer } from "../core/clock.ts";
import { ConfigError } from "../core/errors.ts";
import { Events, type HoldfastEvent } from "../core/events.ts";
import { type Random, seededRandom } from "../core/random.ts";
import type { Runtime } from "../core/runtime.ts";

/** The first instant of 2026 in UTC: where the wall clock of a test stands unless it says otherwise. */
const START_AT = 1_767_225_600_000;

/**
 * A clock that stands still until a test moves it. Monotonic time begins at 0; wall time passes with it, and can be
 * made to jump on its own, as the clock of a machine does when it is corrected.
 *
 * @example
 * ```ts
 * import { FakeClock } from "holdfast/testing";
 *
 * const clock = new FakeClock();
 * const log: number[] = [];
 * void clock.sleep(60_000).then(() => log.push(clock.now()));
 * await clock.advance(59_999);
 * console.log(log); // => []
 * await clock.advance(1);
 * console.log(log); // => [60000]
 * ```
 */
export class FakeClock extends Clock {
  #now = 0;
  #wallOffset: number;
  #turnsPending = 0;
  readonly #timers = new Set<FakeTimer>();

  constructor(startAt: number = START_AT) {
    super();
    this.#wallOffset = startAt;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#wallOffset + this.#now;
  }

  timer(delayMs: number, fn: () => void): Timer {
    const timer = new FakeTimer(this.#now + Math.max(0, delayMs), fn, this.#timers);
    this.#timers.add(timer);
    return timer;
  }

  /** Runs at the end of the real turn of the event loop: no time of this clock passes. */
  afterTurn(fn: () => void): void {
    this.#turnsPending++;
    systemClock.afterTurn(() => {
      this.#turnsPending--;
      fn();
    });
  }

  /** How many timers would keep a real process alive: those neither fired, cancelled nor unref'd. */
  get pendingTimers(): number {
    let count = 0;
    for (const timer of this.#timers) if (timer.referenced) count++;
    return count;
  }

  /**
   * Lets time pass, and calls what falls due in the order in which it does. Around each timer, promises settle and
   * what waits for the end of a turn runs, so that a timer which these start is still met on the way. Work of the
   * real world, such as a child process or a file, is not waited for.
   */
  async advance(ms: number): Promise<void> {
    if (!(ms >= 0)) throw new ConfigError(`FakeClock.advance takes a number of milliseconds, 0 or more, got ${ms}.`);
    const end = this.#now + ms;
    await this.#settle();
    for (let timer = this.#firstUntil(end); timer !== undefined; timer = this.#firstUntil(end)) {
      this.#timers.delete(timer);
      this.#now = Math.max(this.#now, timer.due);
      timer.fn();
      await this.#settle();
    }
    this.#now = Math.max(this.#now, end);
  }

  /** Moves the wall clock alone, forward or back: durations must not notice (C0.4). */
  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  /** Timers that fall due together go in the order in which they were made, which is that of the set. */
  #firstUntil(end: number): FakeTimer | undefined {
    let first: FakeTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.due <= end && (first === undefined || timer.due < first.due)) first = timer;
    }
    return first;
  }

  async #settle(): Promise<void> {
    do await new Promise<void>((resolve) => systemClock.afterTurn(resolve));
    while (this.#turnsPending > 0);
  }
}

class FakeTimer implements Timer {
  readonly due: number;
  readonly fn: () => void;
  referenced = true;
  readonly #pending: Set<FakeTimer>;

  constructor(due: number, fn: () => void, pending: Set<FakeTimer>) {
    this.due = due;
    this.fn = fn;
    this.#pending = pending;
  }

  cancel(): void {
    this.#pending.delete(this);
  }

  ref(): void {
    this.referenced = true;
  }

  unref(): void {
    this.referenced = false;
  }
}

/** A runtime whose time is a {@link FakeClock}. */
export interface FakeRuntime extends Runtime {
  readonly clock: FakeClock;
}

/** A runtime for one test: a clock of its own, the same random numbers each time, and events that nobody else sees. */
export function fakeRuntime(options: { seed?: number; startAt?: number } = {}): FakeRuntime {
  const clock = new FakeClock(options.startAt);
  const random: Random = seededRandom(options.seed ?? 1);
  return { clock, random, events: new Events(clock) };
}

/** The events from now on, in an array that grows with each of them. */
export function record(events: Events): HoldfastEvent[] {
  const log: HoldfastEvent[] = [];
  events.on((event) => log.push(event));
  return log;
}
