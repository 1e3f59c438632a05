import { promiseMistake } from "../core/at-once.ts";
import { Call, type CallOptions, callFrom } from "../core/call.ts";
import { causesOf, codeOf, ConfigError, isRefusal } from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import { plainOptions } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Invoke,
  type InvokeOutcome,
  type Operation,
  type Outcome,
  PolicyBase,
  type PolicyDescription,
  refusal,
} from "../core/policy.ts";
import { BudgetExceededError, type BudgetShortfall } from "../core/policy-errors.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { type BudgetOptions, type BudgetSettings, budgetSettings } from "./budget-options.ts";
import { type BudgetState, Ledger, type LedgerTerms, type Request, type Reservation } from "./ledger.ts";
import { compileMatcher, type Matches } from "./matcher.ts";
import { sidesOf } from "./sharing.ts";

/** What a caller may say about one reservation. */
export interface ReserveOptions extends CallOptions {
  /** Whether to wait in line where the budget does not cover the amount. @default true */
  wait?: boolean | undefined;
}

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
 * The books are those of this process, or with a `sharedState` those of all processes that have a budget of its name
 * there; what it cannot ask then rejects with `StoreUnavailableError`.
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
  readonly #settings: BudgetSettings;
  readonly #unconfirmed: Matches | undefined;
  readonly #ledger: Ledger;
  readonly #runtime: Runtime;
  readonly #isShared: boolean;

  constructor(options: BudgetOptions, runtime: Runtime = systemRuntime) {
    super();
    const { name, unit, limit, settings } = budgetSettings(options);
    this.name = name;
    this.#settings = settings;
    const { sharedState, reservationLeaseMs, unconfirmedErrors, estimate } = settings;
    this.#unconfirmed = unconfirmedErrors === undefined ? undefined : compileMatcher(unconfirmedErrors);
    const terms: LedgerTerms = [name, unit, limit, runtime, settings.dryRun];
    this.#ledger =
      sharedState === undefined
        ? new Ledger(...terms)
        : new (sidesOf(sharedState).LedgerMember)(sharedState, reservationLeaseMs, ...terms);
    if (typeof estimate === "number") this.#ledger.whole(estimate);
    this.#runtime = runtime;
    this.#isShared = sharedState !== undefined;
  }

  /** Holds `amount`, in the unit of the limit, or throws `BudgetExceededError`. Never waits. */
  reserve(amount: number): Reservation {
    if (this.#isShared)
      throw new ConfigError(
        `Budget "${this.name}" cannot reserve at once: with a sharedState it has to ask. Use await reserveWhenFree(amount, { wait: false }).`,
      );
    const admission = this.#take(this.#ledger.whole(amount)) ?? this.#refusal(this.#ledger.whole(amount));
    if (!isShortfall(admission)) return admission;
    throw this.#error(admission);
  }

  /**
   * Like `reserve`, but waits in line until the amount is given back, or can no longer be. With `wait: false` it is
   * refused instead. Of a shared budget it rejects with `StoreUnavailableError` where nobody can say what there is.
   */
  async reserveWhenFree(amount: number, options?: ReserveOptions | Call): Promise<Reservation> {
    const call = callFrom(this.#runtime.clock, options);
    if (call.aborted) throw call.reason;
    const whole = this.#ledger.whole(amount);
    const waits = options instanceof Call || options?.wait !== false;
    const admission = this.#isShared
      ? ((await this.#ask(whole, call, waits)) ?? this.#refusal(whole))
      : (this.#take(whole) ?? (waits ? await this.#wait(whole, call) : this.#refusal(whole)));
    if (!isShortfall(admission)) return admission;
    throw this.#error(admission);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#run(callOperation, operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  override executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T>> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#outcome(callOperation, operation, call) as Promise<Outcome<T>>;
  }

  /** For an operation that returns its value at once, under a budget that never waits. */
  executeSync<T>(operation: (call: Call) => T, options?: CallOptions | Call): T {
    const call = callFrom(this.#runtime.clock, options);
    if (call.aborted) throw call.reason;
    if (this.#isShared)
      throw new ConfigError(
        `Budget "${this.name}" cannot executeSync: with a sharedState it has to ask before a call. Use execute.`,
      );
    const admission = this.#settings.onExhausted === "queue" ? null : this.#admit(call);
    if (admission === null || admission instanceof Promise)
      throw new ConfigError(`Budget "${this.name}" queues, and executeSync cannot wait. Use execute.`);
    if (isShortfall(admission)) throw this.#error(admission);
    let value: T;
    try {
      value = operation(admission.call);
      const mistake = promiseMistake(value, `The function of budget "${this.name}"`);
      if (mistake !== null) throw mistake;
    } catch (error) {
      this.#settleFailure(error, admission.reservation, admission.call);
      throw error;
    }
    this.#settleValue(value, admission.reservation, admission.call);
    return value;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#run(next, operation, call);
  }

  /** @internal */
  outcomeAround(next: Invoke): InvokeOutcome {
    return (operation, call) => this.#outcome(next, operation, call);
  }

  /** Where the budget stands: of a shared one, with what was last heard of the other processes. */
  getState(): BudgetState {
    return this.#ledger.state;
  }

  /** Where the budget stands now. A shared one is asked, and rejects with `StoreUnavailableError` where it is away. */
  refresh(): Promise<BudgetState> {
    return this.#ledger.refresh();
  }

  describe(): PolicyDescription {
    const { sharedState: _, reservationLeaseMs, ...options } = this.#settings;
    const shared = this.#isShared ? { hasSharedState: true, reservationLeaseMs } : { hasSharedState: false };
    return { kind: this.kind, name: this.name, options: plainOptions({ ...options, ...shared }) };
  }

  async #outcome(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    if (call.aborted) return failed(call.reason, false);
    try {
      const admitted = this.#admit(call);
      const admission = admitted instanceof Promise ? await admitted : admitted;
      if (isShortfall(admission)) return refusal(() => this.#error(admission));
      return { ok: true, value: await this.#spend(next, operation, admission) };
    } catch (error) {
      return failed(error, false);
    }
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
    // The caller may have aborted on the way from the hand-off of an amount to here.
    if (call.aborted) {
      reservation.release();
      throw call.reason;
    }
    let value: unknown;
    try {
      value = await next(operation, call);
    } catch (error) {
      this.#settleFailure(error, reservation, call);
      throw error;
    }
    this.#settleValue(value, reservation, call);
    return value;
  }

  #admit(call: Call): Admission | Promise<Admission> {
    if (this.#isShared) return this.#admitShared(call);
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

  async #admitShared(call: Call): Promise<Admission> {
    const { onExhausted } = this.#settings;
    const whole = this.#estimate(call);
    const reservation = await this.#ask(whole, call, onExhausted === "queue");
    if (reservation !== null) return { call, reservation };
    if (onExhausted !== "degrade") return this.#refusal(whole);
    const cheaper = new DegradedCall(call);
    const less = this.#estimate(cheaper);
    const held = await this.#ask(less, call, false);
    if (held === null) return this.#refusal(less);
    this.#ledger.exceeded(whole, "degraded");
    return { call: cheaper, reservation: held };
  }

  #ask(whole: number, call: Call, waits: boolean): Promise<Reservation | null> {
    return this.#ledger.wait(whole, call, this.#request(waits));
  }

  #request(waits: boolean): Request {
    const { onExhausted, maxQueue, dryRun } = this.#settings;
    return { maxQueue: waits ? maxQueue : 0, dryRun: dryRun ? DECISIONS[onExhausted] : null };
  }

  /** The amount where there is room for it, or where this is a dry run. */
  #take(whole: number): Reservation | null {
    if (!this.#ledger.covers(whole)) {
      if (!this.#settings.dryRun) return null;
      this.#ledger.wouldRefuse(whole, DECISIONS[this.#settings.onExhausted]);
    }
    return this.#ledger.take(whole);
  }

  async #wait(whole: number, call: Call): Promise<Reservation | BudgetShortfall> {
    const ledger = this.#ledger;
    const request = this.#request(true);
    // What would not fit beside all that is spent already is not worth a wait.
    if (!ledger.couldCover(whole) || ledger.waiting >= request.maxQueue) return this.#refusal(whole);
    ledger.exceeded(whole, "queued");
    return (await ledger.wait(whole, call, request)) ?? this.#refusal(whole);
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

  #settleValue(value: unknown, reservation: Reservation, call: Call): void {
    const { cost } = this.#settings;
    const amount = cost === undefined ? reservation.amount : this.#told("cost", cost, value, reservation.amount);
    reservation.settle(amount);
    call.options?.onSpent?.(amount);
  }

  #settleFailure(error: unknown, reservation: Reservation, call: Call): void {
    const { costOfFailure } = this.#settings;
    if (isRefusal(error)) return reservation.release();
    const unsaid = this.#ledger.unit === "calls" ? reservation.amount : 0;
    const seen = costOfFailure === undefined ? unsaid : this.#told("costOfFailure", costOfFailure, error, unsaid);
    const unconfirmed = this.#unconfirmed?.(error) ?? (call.aborted || hasTimedOut(error));
    if (seen === 0 && !unconfirmed) reservation.release();
    else reservation.settle(seen, { unconfirmed });
    // What is unconfirmed may have been spent, and whoever keeps a record of it must not count on the contrary.
    call.options?.onSpent?.(unconfirmed ? Math.max(seen, reservation.amount) : seen);
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
