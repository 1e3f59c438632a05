import { checkOptions, numberBetween, positiveMs, type Rules } from "../core/options.ts";

/** How a breaker learns which failure rate is normal for its service, and how sure it must be that this one is not. */
export interface AdaptiveOptions {
  /**
   * The failure rate, from 0 to 1, that is bad for any service. For one whose normal rate is above a third of it, three
   * times the normal rate is. @default 0.2
   */
  badRate?: number | undefined;
  /** At a steady failure rate it opens by mistake once in this many calls at most, on average. @default 1000000 */
  callsPerFalseOpening?: number | undefined;
  /** How far back it remembers: what was seen this long ago counts a third. @default 3600000 */
  memoryMs?: number | undefined;
}

/** The options with every default in its place. */
export type AdaptiveSettings = { readonly [K in keyof AdaptiveOptions]-?: number };

const RULES: Rules<AdaptiveOptions> = {
  badRate: numberBetween(0.01, 0.99),
  callsPerFalseOpening: numberBetween(100, 1e15),
  memoryMs: positiveMs,
};

/** What `adaptive` asks for; undefined where it is off. Throws `ConfigError`. */
export function adaptiveSettings(given: boolean | AdaptiveOptions): AdaptiveSettings | undefined {
  if (given === false) return undefined;
  const { badRate, callsPerFalseOpening, memoryMs } = checkOptions(
    "circuitBreaker.adaptive",
    given === true ? {} : given,
    RULES,
  );
  return {
    badRate: badRate ?? 0.2,
    callsPerFalseOpening: callsPerFalseOpening ?? 1_000_000,
    memoryMs: memoryMs ?? 3_600_000,
  };
}

/** The normal rate is taken to be above what was seen by this many standard errors: with few calls, far above. */
const STANDARD_ERRORS = 3;

/** A bad rate is this many times the normal one at least, so that the two can be told apart in a few calls. */
const TIMES_NORMAL = 3;

/** No service is taken to be so good that two or three failures would prove it bad: the ratio of the rates ends here. */
const MOST_TIMES_NORMAL = 10;

/**
 * Learns the failure rate of a service, and notices when it rises. Constant memory, no timer.
 *
 * Calls are judged by a cumulative sum (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954). After each
 * call the evidence S that the rate is the bad one, q, and no longer the normal one, p, becomes
 *
 *     S = max(0, S + ln(q / p))              after a failure
 *     S = max(0, S + ln((1 - q) / (1 - p)))  after a success, which lowers it
 *
 * and the rate has risen when S reaches h = ln(callsPerFalseOpening). While the true rate is p or less, that takes
 * e^h calls or more on average (G. Lorden, "Procedures for reacting to a change in distribution", Annals of
 * Mathematical Statistics 42, 1971, theorem 2), if calls fail independently of each other. After a rise to r it takes
 * about h / (r ln(q / p) + (1 - r) ln((1 - q) / (1 - p))) calls. Between the two lies the rate at which this is
 * infinite: a rise to less than that is mostly taken for chance, and becomes normal.
 *
 * - p is the upper end of the Wilson score interval (E. B. Wilson, 1927) of 3 standard errors around the rate seen
 *   so far, and never below q / 10. The weight of what was seen fades by e^(-t / memoryMs).
 * - q is `badRate`, or 3 p where that is more. While q is 1 or more nothing can be told: in the first twenty calls or
 *   so, and where the service normally fails more than about a third of its calls.
 *
 * A call is learnt from once S is back at 0: what may already belong to a rise does not become normal meanwhile.
 */
export class FailureBaseline {
  readonly #settings: AdaptiveSettings;
  readonly #enough: number;
  /** Faded sums of what has been learnt. */
  #calls = 0;
  #failures = 0;
  #fadedAt = 0;
  /** S, and the calls since it was last 0. */
  #evidence = 0;
  #suspectCalls = 0;
  #suspectFailures = 0;

  constructor(settings: AdaptiveSettings) {
    this.#settings = settings;
    this.#enough = Math.log(settings.callsPerFalseOpening);
  }

  /** The failure rate that is normal, as far as it is known. */
  get rate(): number {
    return this.#calls === 0 ? 0 : this.#failures / this.#calls;
  }

  /** Takes note of a call. Whether there is evidence enough that the service fails more than it did. */
  record(failure: boolean, now: number): boolean {
    this.#suspectCalls++;
    if (failure) this.#suspectFailures++;
    if (failure || this.#evidence > 0) this.#weigh(failure);
    if (this.#evidence === 0) this.#learn(now);
    return this.#evidence >= this.#enough;
  }

  /** Forgets what is suspicious, and keeps what is normal. */
  acquit(): void {
    this.#evidence = this.#suspectCalls = this.#suspectFailures = 0;
  }

  /** Forgets everything. */
  clear(): void {
    this.acquit();
    this.#calls = this.#failures = 0;
  }

  #weigh(failure: boolean): void {
    const { badRate } = this.#settings;
    const normal = Math.max(upperBound(this.#failures, this.#calls), badRate / MOST_TIMES_NORMAL);
    const bad = Math.max(badRate, TIMES_NORMAL * normal);
    const step = failure ? Math.log(bad / normal) : Math.log((1 - bad) / (1 - normal));
    this.#evidence = bad < 1 ? Math.max(0, this.#evidence + step) : 0;
  }

  #learn(now: number): void {
    const left = Math.exp((this.#fadedAt - now) / this.#settings.memoryMs);
    this.#calls = this.#calls * left + this.#suspectCalls;
    this.#failures = this.#failures * left + this.#suspectFailures;
    this.#fadedAt = now;
    this.#suspectCalls = this.#suspectFailures = 0;
  }
}

/** The upper end of the Wilson score interval of a rate; 1 where nothing has been seen. */
function upperBound(failures: number, calls: number): number {
  const z = STANDARD_ERRORS;
  const spread = z * Math.sqrt((failures * (calls - failures)) / Math.max(calls, 1) + (z * z) / 4);
  return (failures + (z * z) / 2 + spread) / (calls + z * z);
}
