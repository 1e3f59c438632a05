import { ConfigError } from "../core/errors.ts";
import { checkOptions, numberBetween, oneOf, positiveMs, type Rules, wholeNumber } from "../core/options.ts";

/** What a circuit breaker remembers of past calls. */
export type WindowOptions =
  | { kind: "consecutive" }
  | ({ kind: "count"; /** How many of the last calls are looked at. */ size: number } & RateOptions)
  | ({ kind: "time"; /** How far back calls are looked at. */ sizeMs: number } & RateOptions);

interface RateOptions {
  /** Share of failures in the window, from 0 to 1, that opens. Without it, `failureThreshold` failures in the window do. */
  failureRateThreshold?: number | undefined;
  /** With fewer calls in the window the breaker stays closed. @default the breaker's volumeThreshold */
  minimumCalls?: number | undefined;
}

/** What a window adds up to. */
export interface WindowTotals {
  calls: number;
  failures: number;
  slow: number;
}

/** The last calls, as far as a breaker looks back. Each method costs the same however much traffic there was (C2.8). */
export interface FailureWindow {
  record(failure: boolean, slow: boolean, now: number): void;
  totals(now: number): WindowTotals;
  clear(): void;
}

/** The last `size` calls: a ring of bytes with running sums. */
export class CountWindow implements FailureWindow {
  readonly #ring: Uint8Array;
  readonly #totals: WindowTotals = { calls: 0, failures: 0, slow: 0 };
  #next = 0;

  constructor(size: number) {
    this.#ring = new Uint8Array(size);
  }

  record(failure: boolean, slow: boolean): void {
    const ring = this.#ring;
    const totals = this.#totals;
    if (totals.calls === ring.length) {
      const oldest = ring[this.#next]!;
      totals.failures -= oldest & 1;
      totals.slow -= oldest >> 1;
    } else {
      totals.calls++;
    }
    ring[this.#next] = (failure ? 1 : 0) | (slow ? 2 : 0);
    if (failure) totals.failures++;
    if (slow) totals.slow++;
    this.#next = this.#next + 1 === ring.length ? 0 : this.#next + 1;
  }

  totals(): WindowTotals {
    return this.#totals;
  }

  clear(): void {
    Object.assign(this.#totals, { calls: 0, failures: 0, slow: 0 });
    this.#next = 0;
  }
}

/** The window is cut in this many slices: it forgets in steps of a tenth of its length. */
export const SLICES = 10;

/**
 * The last `sizeMs` milliseconds, in slices with running sums. Slices are dropped by time stamp when the window is
 * next used, so that nothing ticks while idle and nothing stale is counted after it.
 */
export class TimeWindow implements FailureWindow {
  readonly #sliceMs: number;
  readonly #slices = new Uint32Array(SLICES * 3);
  readonly #totals: WindowTotals = { calls: 0, failures: 0, slow: 0 };
  /** The number of the newest slice, counted from the origin of the clock. */
  #newest = 0;

  constructor(sizeMs: number) {
    this.#sliceMs = sizeMs / SLICES;
  }

  record(failure: boolean, slow: boolean, now: number): void {
    this.#advance(now);
    const at = (this.#newest % SLICES) * 3;
    const slices = this.#slices;
    slices[at]!++;
    this.#totals.calls++;
    if (failure) {
      slices[at + 1]!++;
      this.#totals.failures++;
    }
    if (slow) {
      slices[at + 2]!++;
      this.#totals.slow++;
    }
  }

  totals(now: number): WindowTotals {
    this.#advance(now);
    return this.#totals;
  }

  clear(): void {
    this.#slices.fill(0);
    Object.assign(this.#totals, { calls: 0, failures: 0, slow: 0 });
  }

  #advance(now: number): void {
    const slice = Math.floor(now / this.#sliceMs);
    if (slice - this.#newest >= SLICES) this.clear();
    else for (let stale = this.#newest + 1; stale <= slice; stale++) this.#drop((stale % SLICES) * 3);
    this.#newest = slice;
  }

  #drop(at: number): void {
    this.#totals.calls -= this.#slices[at]!;
    this.#totals.failures -= this.#slices[at + 1]!;
    this.#totals.slow -= this.#slices[at + 2]!;
    this.#slices.fill(0, at, at + 3);
  }
}

/** A ring of more calls than this is a mistake: it would cost a megabyte a breaker. */
const LARGEST_COUNT = 1_000_000;

type CountOptions = Extract<WindowOptions, { kind: "count" }>;
type TimeOptions = Extract<WindowOptions, { kind: "time" }>;

const RATE_RULES = {
  kind: oneOf("count", "time"),
  failureRateThreshold: numberBetween(0, 1),
  minimumCalls: wholeNumber(1),
};
const COUNT_RULES: Rules<CountOptions> = { ...RATE_RULES, size: wholeNumber(1) };
const TIME_RULES: Rules<TimeOptions> = { ...RATE_RULES, sizeMs: positiveMs };

/** What a breaker compares its window with. */
interface Thresholds {
  window: WindowOptions;
  failureThreshold: number;
  volumeThreshold: number;
  slowCallMs: number;
}

/** The window that a breaker asks for; null for consecutive failures, which need a count only. */
export function createWindow(settings: Thresholds): FailureWindow | null {
  const options = settings.window;
  switch (options.kind) {
    case "consecutive":
      checkOptions("circuitBreaker.window", options, { kind: oneOf("consecutive") });
      return null;
    case "count": {
      const { size, minimumCalls, failureRateThreshold } = checkOptions("circuitBreaker.window", options, COUNT_RULES);
      if (size === undefined)
        throw new ConfigError('circuitBreaker.window of kind "count" needs size: how many calls it looks back.');
      if (size > LARGEST_COUNT)
        throw new ConfigError(`circuitBreaker.window.size must be at most ${LARGEST_COUNT}, got ${size}.`);
      const { failureThreshold, volumeThreshold, slowCallMs } = settings;
      if (minimumCalls !== undefined) mustFit("window.minimumCalls", minimumCalls, size);
      else mustFit("volumeThreshold", volumeThreshold, size);
      if (failureRateThreshold === undefined && slowCallMs === Infinity)
        mustFit("failureThreshold", failureThreshold, size);
      return new CountWindow(size);
    }
    case "time": {
      const { sizeMs } = checkOptions("circuitBreaker.window", options, TIME_RULES);
      if (sizeMs === undefined)
        throw new ConfigError('circuitBreaker.window of kind "time" needs sizeMs: how far it looks back.');
      return new TimeWindow(sizeMs);
    }
    default:
      throw new ConfigError(
        `circuitBreaker.window.kind must be one of "consecutive", "count", "time", got ${String((options as { kind: unknown }).kind)}.`,
      );
  }
}

function mustFit(option: string, value: number, size: number): void {
  if (value <= size) return;
  throw new ConfigError(
    `circuitBreaker.${option} is ${value}, but the window holds ${size} calls only: the breaker could never open.`,
  );
}
