import type { Timer } from "../core/clock.ts";
import { uniqueId } from "../core/random.ts";
import type { SharedState } from "../core/shared-state.ts";
import { type BudgetState, Ledger, type LedgerTerms, type Sums, type Waiter } from "./ledger.ts";
import { type LedgerRecord, type Reading, written } from "./shared-ledger.ts";
import { SharedPlace } from "./shared-place.ts";

/** How long until it is tried again to write down what is not written yet, and until it is asked again for an amount. */
const RETRY_MS = { least: 250, most: 30_000 };
const POLL_MS = { least: 50, most: 1_000 };

/** How many amounts of the line are asked for at once. */
const MOST_AT_ONCE = 100;

/**
 * The side of one process of a budget that several share. Its own sums are its page in the record, written again after
 * each change, one time after the other; what it wants to hold is asked for with the next writing. What it could not
 * write it writes later.
 */
export class LedgerMember extends Ledger {
  readonly #member: string = uniqueId();
  readonly #place: SharedPlace<LedgerRecord>;
  readonly #leaseMs: number;
  #others: Sums = { spent: 0, reserved: 0, unconfirmed: 0 };
  #version = 0;
  #acknowledged = 0;
  #changed = false;
  /** How many wait to hear how the budget stands. */
  #refreshing = 0;
  #writing: Promise<Unanswered | null> | null = null;
  /** How often the shared state has not answered, and how often there was no room, each time in a row. */
  #failures = 0;
  #polls = 0;
  #retry: Timer | null = null;
  #poll: Timer | null = null;
  #renewal: Timer | null = null;

  constructor(state: SharedState, leaseMs: number, ...terms: LedgerTerms) {
    super(...terms);
    const [name, , , runtime] = terms;
    this.#place = new SharedPlace(state, `budget:${name}`, runtime);
    this.#leaseMs = leaseMs;
  }

  /** Asks the shared state how the budget stands. Rejects where it does not answer. */
  override async refresh(): Promise<BudgetState> {
    // One that is on its way may have looked before this was called: then there is another.
    this.#changed = true;
    this.#refreshing++;
    const failed = await this.#write();
    this.#refreshing--;
    if (failed !== null) throw failed.error;
    return this.state;
  }

  protected override get sums(): Sums {
    const { spent, reserved, unconfirmed } = this.#others;
    return {
      spent: spent + this.own.spent,
      reserved: reserved + this.own.reserved,
      unconfirmed: unconfirmed + this.own.unconfirmed,
    };
  }

  protected override entered(): void {
    void this.#write();
  }

  /** What this process holds or has spent has changed. */
  protected override serve(): void {
    this.#changed = true;
    void this.#write();
  }

  #write(): Promise<Unanswered | null> {
    return (this.#writing ??= this.#writeAll());
  }

  async #writeAll(): Promise<Unanswered | null> {
    let failed: Unanswered | null;
    let blocked: boolean;
    do {
      for (const timer of [this.#retry, this.#poll]) timer?.cancel();
      this.#retry = this.#poll = null;
      const asked: Waiter[] = [];
      for (let waiter = this.line.first; waiter !== null && asked.length < MOST_AT_ONCE; waiter = waiter.following)
        asked.push(waiter);
      failed = await this.#writeOnce(asked);
      blocked = asked.some((waiter) => waiter.waits);
      // Who has come meanwhile stands behind those who wait.
      if (blocked) this.#eachInLine((waiter) => this.#decide(waiter, false));
    } while (failed === null && (this.#changed || (!blocked && this.line.first !== null)));
    this.#writing = null;
    if (failed === null) this.#pollOn();
    else this.#giveUp(failed.error);
    return failed;
  }

  /** What was to be written and could not be is kept. */
  async #writeOnce(asked: readonly Waiter[]): Promise<Unanswered | null> {
    const { spent, reserved, unconfirmed } = this.own;
    const { term, limit } = this;
    const page = { version: ++this.#version, term, spent, reserved, unconfirmed };
    const writing = { ...page, member: this.#member, acknowledged: this.#acknowledged, leaseMs: this.#leaseMs, limit };
    const wants = asked.map(({ amount, request: { maxQueue, dryRun } }) => ({
      ...{ amount, patient: maxQueue > 0, forced: dryRun !== null },
    }));
    const changed = this.#changed;
    this.#changed = false;
    let reading: Reading;
    try {
      reading = await this.#place.ask(written(writing, wants), asked.length + this.#refreshing > 0);
    } catch (error) {
      this.#changed ||= changed;
      return { error };
    }
    this.#failures = 0;
    this.#acknowledged = spent;
    this.#others = reading.others;
    if (reading.term !== term) this.#expire(reading.term);
    asked.forEach((waiter, i) => this.#decide(waiter, reading.fates[i] === "fits"));
    this.#renew();
    return null;
  }

  /** Who is in line learns that nobody can say what there is; what is not written yet is written when it can be. */
  #giveUp(error: unknown): void {
    this.#eachInLine((waiter) => {
      this.leave(waiter);
      waiter.wake(Promise.reject(error));
    });
    // What was asked for may be held there: the next writing is without it, or it runs out.
    if (!this.#changed) return;
    const delayMs = Math.min(RETRY_MS.least * 2 ** this.#failures++, RETRY_MS.most);
    this.#retry = this.runtime.clock.timer(delayMs, () => void this.#write());
    this.#retry.unref();
  }

  #eachInLine(each: (waiter: Waiter) => void): void {
    let following: Waiter | null;
    for (let waiter = this.line.first; waiter !== null; waiter = following) {
      following = waiter.following;
      each(waiter);
    }
  }

  #decide(waiter: Waiter, fits: boolean): void {
    const { amount, request } = waiter;
    const held = fits || request.dryRun !== null;
    // Whoever has left has the page written again, without what is held now.
    if (waiter.gone) return;
    if (held) {
      if (!fits) this.wouldRefuse(amount, request.dryRun!);
      this.leave(waiter);
      waiter.wake(this.take(amount));
    } else if (!this.couldCover(amount) || (!waiter.waits && this.waiting >= request.maxQueue)) {
      this.leave(waiter);
      waiter.wake(null);
    } else if (!waiter.waits) {
      this.waits(waiter);
      this.exceeded(amount, "queued");
    }
  }

  /** What this process held has run out, since the record was not written in time; others may hold it now. */
  #expire(term: number): void {
    const amount = this.own.reserved + this.own.unconfirmed;
    this.term = term;
    this.own.reserved = this.own.unconfirmed = 0;
    if (amount > 0) this.runtime.events.emit?.("budget.expired", this.event(amount));
  }

  /** While something is held, the page is written again at every third of its time. */
  #renew(): void {
    this.#renewal?.cancel();
    this.#renewal = null;
    if (this.own.reserved + this.own.unconfirmed === 0) return;
    this.#renewal = this.runtime.clock.timer(this.#leaseMs / 3, () => {
      this.#changed = true;
      void this.#write();
    });
    this.#renewal.unref();
  }

  /** While somebody waits, what others give back is found by asking again. */
  #pollOn(): void {
    if (this.line.first === null) {
      this.#polls = 0;
      return;
    }
    const delayMs = Math.min(POLL_MS.least * 2 ** this.#polls++, POLL_MS.most);
    this.#poll = this.runtime.clock.timer(delayMs, () => void this.#write());
  }
}

interface Unanswered {
  error: unknown;
}
