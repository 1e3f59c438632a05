import { followAbort, unfollowAbort } from "../core/aborts.ts";
import type { Call } from "../core/call.ts";
import { ConfigError, HoldfastError } from "../core/errors.ts";
import type { BudgetDecision } from "../core/events.ts";
import { show } from "../core/options.ts";
import type { BudgetShortfall, BudgetUnit } from "../core/policy-errors.ts";
import { type Link, Queue } from "../core/queue.ts";
import type { Runtime } from "../core/runtime.ts";

/** Where a budget stands, in its unit. */
export interface BudgetState {
  name: string;
  unit: BudgetUnit;
  limit: number;
  /** Charged for good. */
  spent: number;
  /** Held for calls under way. */
  reserved: number;
  /** Held because nobody knows whether it was spent: a call timed out, or its stream was cut. */
  unconfirmed: number;
  /** What may still be reserved. */
  remaining: number;
  /** How many calls wait for others to give something back. */
  waiting: number;
  /** How many reservations were refused, or would have been in a dry run. */
  refused: number;
}

/** The amount above which a sum of nano-USD, or its way through a double and back, might lose one. */
export const MOST_USD = 1_000_000;

const NANO_USD = 1e9;

/** How an amount is asked for. */
export interface Request {
  /** How many may wait where there is no room; with 0 nobody does. */
  maxQueue: number;
  /** In a dry run it is held in any case, and this is what would have become of it. */
  dryRun: BudgetDecision | null;
}

/** An amount in line. */
export class Waiter implements Link<Waiter> {
  previous: Waiter | null = null;
  following: Waiter | null = null;
  readonly amount: number;
  readonly request: Request;
  /** Ends the wait: with a reservation, with null where it is refused, or with an error. */
  readonly wake: (outcome: Reservation | null | Promise<never>) => void;
  /** Whether it has been told to wait for others to give something back. */
  waits = false;
  gone = false;

  constructor(amount: number, request: Request, wake: Waiter["wake"]) {
    this.amount = amount;
    this.request = request;
    this.wake = wake;
  }
}

/** With `dryRun` it only watches: what is spent beyond the limit is no alarm. */
export type LedgerTerms = [name: string, unit: BudgetUnit, limit: number, runtime: Runtime, dryRun: boolean];

/** What there is of a budget, in its integers. */
export interface Sums {
  spent: number;
  reserved: number;
  unconfirmed: number;
}

/**
 * The books of one budget. Every amount in here is an integer: nano-USD for money, so that a tenth and two tenths of
 * a dollar are three tenths. What is spent, reserved and unconfirmed never passes the limit, unless a call turns out
 * to have cost more than was reserved for it: that is charged in full, since it is true.
 */
export class Ledger {
  readonly name: string;
  readonly unit: BudgetUnit;
  readonly limit: number;
  readonly runtime: Runtime;
  readonly #dryRun: boolean;
  /** A reservation of an earlier term holds nothing any more. */
  term = 0;
  /** Of this process. */
  protected readonly own: Sums = { spent: 0, reserved: 0, unconfirmed: 0 };
  protected readonly line: Queue<Waiter> = new Queue<Waiter>();
  #refused = 0;
  #waiting = 0;

  constructor(...[name, unit, limit, runtime, dryRun]: LedgerTerms) {
    this.name = name;
    this.unit = unit;
    this.limit = this.whole(limit);
    this.runtime = runtime;
    this.#dryRun = dryRun;
  }

  get state(): BudgetState {
    return {
      name: this.name,
      unit: this.unit,
      limit: this.inUnit(this.limit),
      spent: this.inUnit(this.sums.spent),
      reserved: this.inUnit(this.sums.reserved),
      unconfirmed: this.inUnit(this.sums.unconfirmed),
      remaining: this.#remaining,
      waiting: this.#waiting,
      refused: this.#refused,
    };
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** An amount of the unit as an integer. Nothing that costs anything becomes 0. */
  whole(amount: number): number {
    if (typeof amount !== "number" || !(amount >= 0 && amount <= Number.MAX_SAFE_INTEGER))
      throw new ConfigError(`An amount of budget "${this.name}" must be a number, 0 or more, got ${show(amount)}.`);
    if (this.unit === "usd") {
      if (amount <= MOST_USD) return amount === 0 ? 0 : Math.max(1, Math.round(amount * NANO_USD));
      throw new ConfigError(`An amount of budget "${this.name}" must be at most ${MOST_USD} USD, got ${amount}.`);
    }
    if (Number.isInteger(amount)) return amount;
    throw new ConfigError(`An amount of budget "${this.name}" must be a whole number of ${this.unit}, got ${amount}.`);
  }

  /** An integer of the books as an amount of the unit. */
  inUnit(whole: number): number {
    return this.unit === "usd" ? whole / NANO_USD : whole;
  }

  /** Whether there is room for it, and nobody waits who came before. Exceeded means strictly over. */
  covers(whole: number): boolean {
    return this.line.first === null && whole <= this.free;
  }

  /** Whether it would fit if all calls under way gave back what they hold. */
  couldCover(whole: number): boolean {
    return whole <= this.free + this.sums.reserved;
  }

  /** Takes it, also where it does not fit: whoever calls this has looked, or only watches. */
  take(whole: number): Reservation {
    this.own.reserved += whole;
    this.runtime.events.emit?.("budget.reserved", this.event(whole));
    return new Reservation(this, whole);
  }

  /** Waits in line for it. Null where it can no longer be had, or not before the deadline. Rejects with an abort. */
  async wait(whole: number, call: Call, request: Request): Promise<Reservation | null> {
    const { clock } = this.runtime;
    if (clock.now() >= call.deadline) return null;
    // Whoever gives something back only settles this promise: what follows runs in the async context of the waiter.
    const reservation = await new Promise<Reservation | null>((resolve) =>
      this.#enqueue(whole, call, request, resolve),
    );
    if (!call.aborted) return reservation;
    // An abort may also come after the amount was handed on and before this line.
    reservation?.release();
    throw call.reason;
  }

  refuse(): void {
    this.#refused++;
  }

  /** In a dry run, what would have been refused or kept waiting. */
  wouldRefuse(whole: number, decision: BudgetDecision): void {
    this.refuse();
    this.exceeded(whole, decision, true);
  }

  /** How the budget stands now. One that is not shared always knows. */
  async refresh(): Promise<BudgetState> {
    return this.state;
  }

  shortfall(whole: number): BudgetShortfall {
    return {
      requested: this.inUnit(whole),
      spent: this.inUnit(this.sums.spent),
      reserved: this.inUnit(this.sums.reserved + this.sums.unconfirmed),
      limit: this.inUnit(this.limit),
    };
  }

  exceeded(whole: number, decision: BudgetDecision, dryRun = false): void {
    this.runtime.events.emit?.("budget.exceeded", { ...this.event(whole), decision, dryRun });
  }

  /** @internal What a reservation held changes into what it has cost. */
  settle(reserved: number, unconfirmed: number, spent: number, stillUnconfirmed: number, total: number): void {
    this.own.reserved -= reserved;
    this.own.unconfirmed += stillUnconfirmed - unconfirmed;
    this.own.spent += spent;
    this.runtime.events.emit?.("budget.settled", {
      ...this.event(total),
      unconfirmed: this.inUnit(stillUnconfirmed),
    });
    if (spent > 0 && this.sums.spent > this.limit) this.exceeded(total, "overspent", this.#dryRun);
    this.serve();
  }

  /** @internal */
  release(reserved: number, unconfirmed: number): void {
    this.own.reserved -= reserved;
    this.own.unconfirmed -= unconfirmed;
    this.runtime.events.emit?.("budget.released", this.event(reserved + unconfirmed));
    this.serve();
  }

  /** Of all that share the budget, as far as is known. */
  protected get sums(): Sums {
    return this.own;
  }

  protected get free(): number {
    const { spent, reserved, unconfirmed } = this.sums;
    return this.limit - spent - reserved - unconfirmed;
  }

  get #remaining(): number {
    return this.inUnit(Math.max(0, this.free));
  }

  protected event(whole: number): { policy: string; unit: BudgetUnit; remaining: number; amount: number } {
    return { policy: this.name, unit: this.unit, amount: this.inUnit(whole), remaining: this.#remaining };
  }

  // While the first in line has to wait, something is reserved that will be given back; where nothing is, it either
  // fits or never will. So nobody waits for ever.
  protected serve(): void {
    for (let waiter = this.line.first; waiter !== null; waiter = this.line.first) {
      const fits = waiter.amount <= this.free;
      if (!fits && this.couldCover(waiter.amount)) return;
      this.leave(waiter);
      waiter.wake(fits ? this.take(waiter.amount) : null);
    }
  }

  /** Somebody has come into line. */
  protected entered(waiter: Waiter): void {
    this.waits(waiter);
  }

  protected waits(waiter: Waiter): void {
    waiter.waits = true;
    this.#waiting++;
  }

  #enqueue(whole: number, call: Call, request: Request, resolve: Waiter["wake"]): void {
    const { clock } = this.runtime;
    const signal = call.waitSignal;
    const giveUp = (): void => {
      this.leave(waiter);
      waiter.wake(null);
      // Behind one that wanted much there may be some who want little.
      this.serve();
    };
    const timer = call.deadline === Infinity ? null : clock.timer(call.deadline - clock.now(), giveUp);
    const waiter = new Waiter(whole, request, (outcome) => {
      timer?.cancel();
      unfollowAbort(signal, giveUp);
      resolve(outcome);
    });
    followAbort(signal, giveUp);
    this.line.append(waiter);
    this.entered(waiter);
  }

  protected leave(waiter: Waiter): void {
    this.line.remove(waiter);
    if (waiter.waits) this.#waiting--;
    waiter.waits = false;
    waiter.gone = true;
  }
}

/**
 * A part of a budget that is held for one call. `settle` charges what the call has cost and gives back the rest,
 * `release` gives back all. Leaving a `using` block releases what was not settled.
 */
export class Reservation {
  /** What was reserved, in the unit of the budget. */
  readonly amount: number;
  readonly #ledger: Ledger;
  readonly #whole: number;
  readonly #term: number;
  /** `seen` is charged already, and `rest` held until somebody knows better. */
  #state: { kind: "open" } | { kind: "unconfirmed"; seen: number; rest: number } | { kind: "closed" } = OPEN;

  /** @internal */
  constructor(ledger: Ledger, whole: number) {
    this.#ledger = ledger;
    this.#whole = whole;
    this.#term = ledger.term;
    this.amount = ledger.inUnit(whole);
  }

  /**
   * Charges `actual`, in all. With `unconfirmed` the call may have cost more than was seen, so the rest of the
   * reservation stays held; `settle` may then be called again, as a stream goes on or when the truth is known.
   */
  settle(actual: number, { unconfirmed = false }: { unconfirmed?: boolean } = {}): void {
    const state = this.#state;
    if (state.kind === "closed")
      throw new HoldfastError(
        "RESERVATION_CLOSED",
        `A reservation of ${this.amount} in budget "${this.#ledger.name}" was settled or released before, so ${actual} cannot be charged to it. Settle once, or with { unconfirmed: true } until the last time.`,
      );
    const seen = this.#ledger.whole(actual);
    const held = this.#held;
    const rest = unconfirmed && held ? Math.max(0, this.#whole - seen) : 0;
    this.#state = unconfirmed ? { kind: "unconfirmed", seen, rest } : CLOSED;
    if (state.kind === "open") this.#ledger.settle(held ? this.#whole : 0, 0, seen, rest, seen);
    else this.#ledger.settle(0, held ? state.rest : 0, seen - state.seen, rest, seen);
  }

  /** Gives back what is still held. What was charged before stays charged. Does nothing the second time. */
  release(): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#state = CLOSED;
    if (!this.#held) return;
    if (state.kind === "open") this.#ledger.release(this.#whole, 0);
    else this.#ledger.release(0, state.rest);
  }

  /** False for one that has run out: it is charged what it has cost, and has nothing to give back. */
  get #held(): boolean {
    return this.#term === this.#ledger.term;
  }

  /** What is unconfirmed stays held. */
  [Symbol.dispose](): void {
    if (this.#state.kind === "open") this.release();
  }
}

const OPEN = { kind: "open" } as const;
const CLOSED = { kind: "closed" } as const;
