import { followAbort, unfollowAbort } from "../core/aborts.ts";
import { Call, type CallOptions, callFrom } from "../core/call.ts";
import type { Timer } from "../core/clock.ts";
import { ConfigError, HoldfastError, isRefusal } from "../core/errors.ts";
import {
  anId,
  checkOptions,
  durationMs,
  numberBetween,
  plainOptions,
  type Rule,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import { callOperation, type Invoke, type Operation, PolicyBase, type PolicyDescription } from "../core/policy.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import type { RateLimiter } from "./rate-limiter.ts";
import { RecentDurations, REMEMBERED } from "./recent-durations.ts";
import { aRetryBudget, type RetryBudget } from "./retry-budget.ts";

export interface HedgeOptions {
  /** Names the policy in events and errors. @default "hedge" */
  name?: string | undefined;
  /** A call that has not settled after this gets a hedge beside it; with `percentile`, until that can be told. */
  delayMs: number;
  /** Waits as long as this share of recent calls took, in percent: with 95 the slowest twentieth is hedged. */
  percentile?: number | undefined;
  /** With fewer recent calls than this, the percentile is not trusted and `delayMs` holds. @default 20 */
  minimumCalls?: number | undefined;
  /** How many hedges one call may have, each `delayMs` after the one before. @default 1 */
  maxHedges?: number | undefined;
  /** Hedges per call that may be started on the long run, up to 1; five more are allowed in a burst. @default 0.1 */
  maxExtraShare?: number | undefined;
  /** Each hedge takes a token of it too: give that of the retry outside, and both share one allowance of extra calls. */
  retryBudget?: RetryBudget | undefined;
  /** Each hedge goes through it too, as the first call has outside: give the limiter that stands there. */
  rateLimiter?: RateLimiter | undefined;
}

/** What a hedge has done so far. */
export interface HedgeStats {
  /** Calls of the policy. */
  calls: number;
  hedges: number;
  /** Calls whose value came from a hedge. */
  hedgesWon: number;
  /** Hedges that were due and not started, because their share or the retry budget was used up. */
  withheld: number;
  /** How long a call that began now would wait for its hedge. */
  delayMs: number;
}

const share: Rule = {
  says: "a number above 0 and at most 1",
  allows: (value) => typeof value === "number" && value > 0 && value <= 1,
};

const remembered: Rule = {
  says: `a whole number from 1 to ${REMEMBERED}`,
  allows: (value) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= REMEMBERED,
};

const RULES: Rules<HedgeOptions> = {
  name: anId,
  delayMs: durationMs,
  percentile: numberBetween(1, 99),
  minimumCalls: remembered,
  maxHedges: wholeNumber(1),
  maxExtraShare: share,
  retryBudget: aRetryBudget,
  rateLimiter: {
    says: "a RateLimiter",
    allows: (value) => (value as RateLimiter | null)?.kind === "rateLimiter",
  },
};

/** How many hedges may be saved up. A new policy has as many, so that its first slow calls are hedged too. */
const BURST = 5;

/** Counting in millionths of a hedge, ten shares of a tenth are one, which they are not in binary fractions. */
const ONE_HEDGE = 1e6;

type Settings = Omit<HedgeOptions, "name"> & { minimumCalls: number; maxHedges: number; maxExtraShare: number };

/**
 * Starts a second call beside one that takes long, and gives whichever value comes first. The others are aborted; what
 * they still bring is observed and reported as `attempt.late`. A failure is no value: it ends the call only when every
 * call that was started has failed, and the error that came first is thrown, as it is. One that fails before its hedge
 * is due gets none: repeating what failed is the work of a retry.
 *
 * The operation may thus run several times at once, so it must be one that may. Its `attempt` is one more for each
 * hedge, and the share of hedges among all calls is capped, so that a slow service is not buried under them.
 *
 * @example
 * ```ts
 * import { Hedge } from "holdfast/policies";
 *
 * const hedge = new Hedge({ delayMs: 20 });
 * const value = await hedge.execute(({ attempt }) => (attempt === 1 ? new Promise(() => {}) : `from call ${attempt}`));
 * console.log(value); // => "from call 2"
 * ```
 */
export class Hedge extends PolicyBase {
  readonly kind = "hedge";
  readonly name: string;
  readonly #settings: Settings;
  readonly #runtime: Runtime;
  readonly #durations: RecentDurations | null;
  readonly #share: number;
  readonly #alone: (operation: Operation<unknown>, call: Call) => Promise<unknown>;
  #savedUp = BURST * ONE_HEDGE;
  #calls = 0;
  #hedges = 0;
  #hedgesWon = 0;
  #withheld = 0;

  constructor(options: HedgeOptions, runtime: Runtime = systemRuntime) {
    super();
    const given = checkOptions("hedge", options, RULES);
    if (given.delayMs === undefined) {
      throw new ConfigError(
        "hedge.delayMs is missing: say after how many milliseconds a call is slow enough for a second one.",
      );
    }
    if (given.minimumCalls !== undefined && given.percentile === undefined)
      throw new ConfigError("hedge.minimumCalls needs percentile, which it is about.");
    const { name = "hedge", delayMs, minimumCalls = 20, maxHedges = 1, maxExtraShare = 0.1, ...others } = given;
    this.name = name;
    this.#settings = { delayMs, minimumCalls, maxHedges, maxExtraShare, ...others };
    this.#durations = given.percentile === undefined ? null : new RecentDurations();
    this.#share = Math.round(maxExtraShare * ONE_HEDGE);
    this.#runtime = runtime;
    this.#alone = this.around(callOperation);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#alone(operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  around(next: Invoke): (operation: Operation<unknown>, call: Call) => Promise<unknown> {
    const nextOfHedge = this.#settings.rateLimiter?.around(next) ?? next;
    return (operation, call) => this.#run(next, nextOfHedge, operation, call);
  }

  getStats(): HedgeStats {
    return {
      calls: this.#calls,
      hedges: this.#hedges,
      hedgesWon: this.#hedgesWon,
      withheld: this.#withheld,
      delayMs: this.#delayMs(),
    };
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: plainOptions(this.#settings) };
  }

  #run(next: Invoke, nextOfHedge: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    this.#calls++;
    this.#savedUp = Math.min(BURST * ONE_HEDGE, this.#savedUp + this.#share);
    return new Promise((resolve, reject) => {
      new Race({
        runtime: this.#runtime,
        name: this.name,
        call,
        delayMs: this.#delayMs(),
        maxHedges: this.#settings.maxHedges,
        start: (contender, hedge) => (hedge ? nextOfHedge : next)(operation, contender),
        mayHedge: () => this.#mayHedge(),
        won: (hedge, tookMs) => {
          if (hedge) this.#hedgesWon++;
          this.#durations?.add(tookMs);
        },
        resolve,
        reject,
      }).begin();
    });
  }

  #delayMs(): number {
    const { percentile, minimumCalls, delayMs } = this.#settings;
    if (this.#durations === null || this.#durations.count < minimumCalls) return delayMs;
    return this.#durations.percentile(percentile!);
  }

  #mayHedge(): boolean {
    if (this.#savedUp < ONE_HEDGE || this.#settings.retryBudget?.take() === false) {
      this.#withheld++;
      return false;
    }
    this.#savedUp -= ONE_HEDGE;
    this.#hedges++;
    return true;
  }
}

/** What a race needs of the policy that it is run for. */
interface RaceSettings {
  readonly runtime: Runtime;
  readonly name: string;
  readonly call: Call;
  readonly delayMs: number;
  readonly maxHedges: number;
  start(contender: Call, hedge: boolean): unknown;
  /** Asked when a hedge is due; a yes is spent. */
  mayHedge(): boolean;
  /** The first value came after `tookMs`. A loser would have taken longer still, so percentiles stay where they are. */
  won(hedge: boolean, tookMs: number): void;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** One call with its hedges, until one of them gives a value, all have failed, or the caller cancels. */
class Race {
  readonly #settings: RaceSettings;
  readonly #startedAt: number;
  readonly #signal: AbortSignal | undefined;
  readonly #running = new Set<Call>();
  readonly #errors: unknown[] = [];
  #started = 0;
  #timer: Timer | null = null;
  #endedAt = -1;

  constructor(settings: RaceSettings) {
    this.#settings = settings;
    this.#startedAt = settings.runtime.clock.now();
    this.#signal = settings.call.waitSignal;
  }

  begin(): void {
    followAbort(this.#signal, this.#cancelled);
    this.#startNext();
  }

  #startNext(): void {
    const { call } = this.#settings;
    const attempt = call.attempt + this.#started++;
    const contender = new Call(call, attempt, call.deadline, true, null, call.options);
    this.#running.add(contender);
    void this.#carryOut(contender);
    this.#arm();
  }

  async #carryOut(contender: Call): Promise<void> {
    let value: unknown;
    try {
      value = await this.#settings.start(contender, this.#isHedge(contender));
    } catch (error) {
      this.#failed(contender, error);
      return;
    }
    this.#returned(contender, value);
  }

  #arm(): void {
    const { runtime, call, delayMs, maxHedges } = this.#settings;
    // A call that throws at once has ended by now.
    if (this.#endedAt >= 0 || this.#started > maxHedges) return;
    if (runtime.clock.now() + delayMs >= call.deadline) return;
    this.#timer = runtime.clock.timer(delayMs, () => {
      if (this.#settings.mayHedge()) this.#startNext();
    });
  }

  #returned(contender: Call, value: unknown): void {
    if (this.#endedAt >= 0) return this.#late({ outcome: "value" });
    this.#settle(contender);
    this.#end(contender.attempt);
    const { won, resolve } = this.#settings;
    won(this.#isHedge(contender), this.#endedAt - this.#startedAt);
    resolve(value);
    if (this.#running.size > 0) {
      this.#abortRest(
        new HoldfastError(
          "HEDGE_LOST",
          `${this.#settings.name} has its value from another call, so this one was told to stop.`,
        ),
      );
    }
  }

  #failed(contender: Call, error: unknown): void {
    if (this.#endedAt >= 0) return this.#late({ outcome: "error", error });
    this.#settle(contender);
    // A hedge that was refused was not made, and says nothing of how the call went.
    if (!this.#isHedge(contender) || !isRefusal(error)) this.#errors.push(error);
    if (this.#running.size > 0) return;
    this.#end(0);
    this.#settings.reject(this.#errors[0]);
  }

  readonly #cancelled = (): void => {
    const { reason } = this.#settings.call;
    this.#end(0);
    this.#settings.reject(reason);
    this.#abortRest(reason);
  };

  #isHedge(contender: Call): boolean {
    return contender.attempt !== this.#settings.call.attempt;
  }

  #settle(contender: Call): void {
    this.#running.delete(contender);
    contender.end();
  }

  #end(wonBy: number): void {
    const { runtime, name, delayMs } = this.#settings;
    this.#endedAt = runtime.clock.now();
    this.#timer?.cancel();
    unfollowAbort(this.#signal, this.#cancelled);
    const hedges = this.#started - 1;
    if (hedges > 0) runtime.events.emit?.("hedge", { policy: name, hedges, wonBy, delayMs, errors: this.#errors });
  }

  #abortRest(reason: unknown): void {
    for (const contender of this.#running) contender.abort(reason);
  }

  #late(what: { outcome: "value" } | { outcome: "error"; error: unknown }): void {
    const { runtime, name } = this.#settings;
    runtime.events.emit?.("attempt.late", { policy: name, lateMs: runtime.clock.now() - this.#endedAt, ...what });
  }
}
