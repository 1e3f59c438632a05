import { Call, type CallOptions, callFrom } from "../core/call.ts";
import { causesOf, codeOf, ConfigError, isRefusal } from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import {
  aBoolean,
  aFunction,
  anId,
  checkOptions,
  either,
  numberBetween,
  oneOf,
  plainOptions,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
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
import { BudgetExceededError, type BudgetShortfall } from "../core/policy-errors.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { type BudgetState, Ledger, MOST_USD, type Reservation } from "./ledger.ts";
import { compileMatcher, type Matcher, matcherRule, type Matches } from "./matcher.ts";

export interface BudgetOptions {
  /** Names the budget in events and errors. @default "budget" */
  name?: string | undefined;
  /** A budget of money, in US dollars, kept to the nano-dollar. */
  limitUsd?: number | undefined;
  /** A budget of tokens. */
  limitTokens?: number | undefined;
  /** A budget of calls. */
  limitCalls?: number | undefined;
  /**
   * What a call is going to cost at most, in the unit of the limit: it is reserved before the call. Needed where the
   * budget stands around a call, except for one of calls. @default 1 call
   */
  estimate?: number | ((call: Call) => number) | undefined;
  /** What a call has cost, read from its result; undefined where the result does not tell. @default the estimate */
  cost?: ((value: unknown) => number | undefined) | undefined;
  /** What a failed call has cost, read from its error. @default nothing, except that a call made is a call */
  costOfFailure?: ((error: unknown) => number | undefined) | undefined;
  /**
   * Which failures leave open what the call has cost: the rest of its reservation is held as unconfirmed.
   * @default timeouts and aborts
   */
  unconfirmedErrors?: Matcher | undefined;
  /**
   * What becomes of a call that the budget does not cover: refused; made with `degraded` set, if the budget covers
   * what `estimate` then says; or kept waiting until enough is given back. @default "deny"
   */
  onExhausted?: "deny" | "degrade" | "queue" | undefined;
  /** How many calls may wait; one more is refused. @default 1000 */
  maxQueue?: number | undefined;
  /** Counts and reports what it would refuse, and lets everything through. @default false */
  dryRun?: boolean | undefined;
}

const RULES: Rules<BudgetOptions> = {
  name: anId,
  limitUsd: numberBetween(0, MOST_USD),
  limitTokens: wholeNumber(0),
  limitCalls: wholeNumber(0),
  estimate: either(numberBetween(0, Number.MAX_SAFE_INTEGER), aFunction),
  cost: aFunction,
  costOfFailure: aFunction,
  unconfirmedErrors: matcherRule,
  onExhausted: oneOf("deny", "degrade", "queue"),
  maxQueue: wholeNumber(0),
  dryRun: aBoolean,
};

const UNITS = [
  ["limitUsd", "usd"],
  ["limitTokens", "tokens"],
  ["limitCalls", "calls"],
] as const;

type Settings = BudgetOptions & { onExhausted: "deny" | "degrade" | "queue"; maxQueue: number; dryRun: boolean };

const DECISIONS = { deny: "denied", degrade: "degraded", queue: "queued" } as const;

/** A call that has what it needs, or what it lacked. */
type Admission = { call: Call; reservation: Reservation } | BudgetShortfall;

/**
 * Bounds what calls may spend together: money, tokens or calls. Each call reserves its estimate first and settles what
 * it has really cost afterwards, so that calls at the same time cannot overspend together. A limit may be reached, not
 * passed, and 0 is a limit. Stands inside a retry, so that each attempt pays, and outside the attempt timeout.
 *
 * After a timeout or an abort nobody knows what the call has cost: what was seen is charged, and the rest of its
 * reservation stays held as unconfirmed. Any other failure gives the reservation back. A call that cost more than its
 * estimate is charged in full, which is the one way past the limit: let estimates be upper bounds.
 *
 * Throws `BudgetExceededError`, which no retry repeats. Other ways to meet the end of the money: `onExhausted`.
 *
 * @example
 * ```ts
 * import { Budget } from "holdfast/policies";
 *
 * const budget = new Budget({
 *   limitUsd: 1,
 *   estimate: 0.4,
 *   cost: (reply) => (reply as { costUsd: number }).costUsd,
 * });
 * await budget.execute(async () => ({ text: "hello", costUsd: 0.1 }));
 * console.log(budget.getState().remaining); // => 0.9
 * const reservation = budget.reserve(0.9);
 * budget.reserve(0.1); // throws "does not cover 0.1 USD"
 * reservation.settle(0.25);
 * console.log(budget.getState().spent); // => 0.35
 * ```
 */
export class Budget extends PolicyBase {
  readonly kind = "budget";
  readonly name: string;
  readonly #settings: Settings;
  readonly #unconfirmed: Matches | undefined;
  readonly #ledger: Ledger;
  readonly #runtime: Runtime;

  constructor(options: BudgetOptions, runtime: Runtime = systemRuntime) {
    super();
    const given = checkOptions("budget", options, RULES);
    const [limited, another] = UNITS.filter(([option]) => given[option] !== undefined);
    if (limited === undefined || another !== undefined)
      throw new ConfigError(
        "budget needs one of limitUsd, limitTokens and limitCalls: use two budgets for two limits.",
      );
    const [option, unit] = limited;
    const limit = given[option] ?? 0;
    if (given.onExhausted === "degrade" && typeof given.estimate !== "function")
      throw new ConfigError(
        'budget.onExhausted "degrade" needs an estimate that is a function: it says, by call.degraded, what the cheaper target costs.',
      );
    if (given.maxQueue !== undefined && given.onExhausted !== "queue")
      throw new ConfigError('budget.maxQueue needs onExhausted "queue".');
    this.name = given.name ?? "budget";
    const { onExhausted = "deny", maxQueue = 1000, dryRun = false, ...others } = given;
    this.#settings = { ...others, onExhausted, maxQueue, dryRun };
    if (unit === "calls") this.#settings.estimate ??= 1;
    this.#unconfirmed = given.unconfirmedErrors === undefined ? undefined : compileMatcher(given.unconfirmedErrors);
    this.#ledger = new Ledger(this.name, unit, limit, runtime);
    if (typeof given.estimate === "number") this.#ledger.whole(given.estimate);
    this.#runtime = runtime;
  }

  /** Holds `amount`, in the unit of the limit, or throws `BudgetExceededError`. Never waits. */
  reserve(amount: number): Reservation {
    const admission = this.#take(this.#ledger.whole(amount)) ?? this.#refusal(this.#ledger.whole(amount));
    if (!isShortfall(admission)) return admission;
    throw this.#error(admission);
  }

  /** Like `reserve`, but waits in line until the amount is given back, or can no longer be. */
  async reserveWhenFree(amount: number, options?: CallOptions | Call): Promise<Reservation> {
    const call = callFrom(this.#runtime.clock, options);
    if (call.aborted) throw call.reason;
    const whole = this.#ledger.whole(amount);
    const admission = this.#take(whole) ?? (await this.#wait(whole, call));
    if (!isShortfall(admission)) return admission;
    throw this.#error(admission);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#run(callOperation, operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  override async executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    const call = callFrom(this.#runtime.clock, options);
    if (call.aborted) return failed(call.reason, false);
    try {
      const admitted = this.#admit(call);
      const admission = admitted instanceof Promise ? await admitted : admitted;
      if (isShortfall(admission)) return refusal(() => this.#error(admission));
      return { ok: true, value: (await this.#spend(callOperation, operation, admission)) as T };
    } catch (error) {
      return failed(error, false);
    }
  }

  /** For an operation that returns its value at once, under a budget that never waits. */
  executeSync<T>(operation: (call: Call) => T, options?: CallOptions | Call): T {
    const call = callFrom(this.#runtime.clock, options);
    if (call.aborted) throw call.reason;
    const admission = this.#settings.onExhausted === "queue" ? null : this.#admit(call);
    if (admission === null || admission instanceof Promise)
      throw new ConfigError(`Budget "${this.name}" queues, and executeSync cannot wait. Use execute.`);
    if (isShortfall(admission)) throw this.#error(admission);
    let value: T;
    try {
      value = operation(admission.call);
    } catch (error) {
      this.#settleFailure(error, admission.reservation, admission.call);
      throw error;
    }
    this.#settleValue(value, admission.reservation);
    return value;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#run(next, operation, call);
  }

  getState(): BudgetState {
    return this.#ledger.state;
  }

  describe(): PolicyDescription {
    const { name: _, ...options } = this.#settings;
    return { kind: this.kind, name: this.name, options: plainOptions(options) };
  }

  async #run(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) throw call.reason;
    const admitted = this.#admit(call);
    const admission = admitted instanceof Promise ? await admitted : admitted;
    if (isShortfall(admission)) throw this.#error(admission);
    return this.#spend(next, operation, admission);
  }

  async #spend(
    next: Invoke,
    operation: Operation<unknown>,
    { call, reservation }: { call: Call; reservation: Reservation },
  ): Promise<unknown> {
    let value: unknown;
    try {
      value = await next(operation, call);
    } catch (error) {
      this.#settleFailure(error, reservation, call);
      throw error;
    }
    this.#settleValue(value, reservation);
    return value;
  }

  #admit(call: Call): Admission | Promise<Admission> {
    const whole = this.#estimate(call);
    const reservation = this.#take(whole);
    if (reservation !== null) return { call, reservation };
    const { onExhausted } = this.#settings;
    if (onExhausted === "queue") return this.#wait(whole, call).then((got) => admission(call, got));
    if (onExhausted === "deny") return this.#refusal(whole);
    const cheaper = new DegradedCall(call);
    const less = this.#estimate(cheaper);
    const held = this.#take(less);
    if (held === null) return this.#refusal(less);
    this.#ledger.exceeded(whole, "degraded");
    return { call: cheaper, reservation: held };
  }

  /** The amount where there is room for it, or where this is a dry run. */
  #take(whole: number): Reservation | null {
    if (!this.#ledger.covers(whole)) {
      if (!this.#settings.dryRun) return null;
      this.#ledger.refuse();
      this.#ledger.exceeded(whole, DECISIONS[this.#settings.onExhausted], true);
    }
    return this.#ledger.take(whole);
  }

  async #wait(whole: number, call: Call): Promise<Reservation | BudgetShortfall> {
    const ledger = this.#ledger;
    // What would not fit beside all that is spent already is not worth a wait.
    if (!ledger.couldCover(whole) || ledger.waiting >= this.#settings.maxQueue) return this.#refusal(whole);
    ledger.exceeded(whole, "queued");
    return (await ledger.wait(whole, call)) ?? this.#refusal(whole);
  }

  #refusal(whole: number): BudgetShortfall {
    this.#ledger.refuse();
    this.#ledger.exceeded(whole, "denied");
    return this.#ledger.shortfall(whole);
  }

  #error(shortfall: BudgetShortfall): BudgetExceededError {
    return new BudgetExceededError(this.name, this.#ledger.unit, shortfall);
  }

  #estimate(call: Call): number {
    const { estimate } = this.#settings;
    if (estimate === undefined)
      throw new ConfigError(
        `Budget "${this.name}" stands around a call and has no estimate, so it does not know what to reserve. Give it one, or use reserve().`,
      );
    return this.#ledger.whole(typeof estimate === "number" ? estimate : estimate(call));
  }

  #settleValue(value: unknown, reservation: Reservation): void {
    const { cost } = this.#settings;
    reservation.settle(cost === undefined ? reservation.amount : this.#told("cost", cost, value, reservation.amount));
  }

  #settleFailure(error: unknown, reservation: Reservation, call: Call): void {
    const { costOfFailure } = this.#settings;
    if (isRefusal(error)) return reservation.release();
    const unsaid = this.#ledger.unit === "calls" ? reservation.amount : 0;
    const seen = costOfFailure === undefined ? unsaid : this.#told("costOfFailure", costOfFailure, error, unsaid);
    const unconfirmed = this.#unconfirmed?.(error) ?? (call.aborted || hasTimedOut(error));
    if (seen === 0 && !unconfirmed) reservation.release();
    else reservation.settle(seen, { unconfirmed });
  }

  /** What a function of the user's says. One that throws or says nonsense is reported and changes no result (C0.6). */
  #told(name: string, tell: (of: unknown) => number | undefined, of: unknown, unsaid: number): number {
    let amount = unsaid;
    callHook(this.#runtime.events, name, () => {
      const told = tell(of) ?? unsaid;
      this.#ledger.whole(told);
      amount = told;
    });
    return amount;
  }
}

/** The call as the cheaper target sees it. */
class DegradedCall extends Call {
  constructor(parent: Call) {
    super(parent, parent.attempt, parent.deadline, false, null, parent.options);
  }

  override get degraded(): boolean {
    return true;
  }
}

function admission(call: Call, got: Reservation | BudgetShortfall): Admission {
  return isShortfall(got) ? got : { call, reservation: got };
}

function isShortfall(answer: Reservation | Admission): answer is BudgetShortfall {
  return "requested" in answer;
}

function hasTimedOut(error: unknown): boolean {
  return causesOf(error).some((link) => codeOf(link) === "TIMEOUT");
}
