import type { Priority } from "./call.ts";
import { RefusedError } from "./errors.ts";

/** What a budget counts. */
export type BudgetUnit = "usd" | "tokens" | "calls";

/** How a budget stood when it did not cover a call, in its unit. */
export interface BudgetShortfall {
  requested: number;
  spent: number;
  /** Reserved by calls under way, with what is unconfirmed. */
  reserved: number;
  limit: number;
}

/** The budget does not cover the call, which was not made. Never retried: asking again spends nothing back. */
export class BudgetExceededError extends RefusedError {
  readonly budgetName: string;
  readonly unit: BudgetUnit;
  readonly requested: number;
  readonly spent: number;
  readonly reserved: number;
  readonly limit: number;
  /** `spent` where the budget is one of money. */
  readonly spentUsd: number | undefined;
  /** `limit` where the budget is one of money. */
  readonly budgetUsd: number | undefined;

  constructor(budgetName: string, unit: BudgetUnit, { requested, spent, reserved, limit }: BudgetShortfall) {
    const word = unit === "usd" ? "USD" : unit;
    super(
      "BUDGET_EXCEEDED",
      `Budget "${budgetName}" does not cover ${requested} ${word}: ${spent} of ${limit} ${word} are spent and ${reserved} are held for calls under way or unconfirmed. Raise the limit, or ask for less.`,
    );
    this.budgetName = budgetName;
    this.unit = unit;
    this.requested = requested;
    this.spent = spent;
    this.reserved = reserved;
    this.limit = limit;
    this.spentUsd = unit === "usd" ? spent : undefined;
    this.budgetUsd = unit === "usd" ? limit : undefined;
  }
  protected override get className(): string {
    return "BudgetExceededError";
  }
}

/** Every slot of the bulkhead is taken, and no place in its queue was free, or no slot came in time. */
export class BulkheadFullError extends RefusedError {
  readonly bulkheadName: string;
  /** How long the call had waited in the queue; 0 where it found no place there. */
  readonly waitMs: number;

  constructor(bulkheadName: string, maxConcurrent: number, maxQueue: number, waitMs: number) {
    const queue = maxQueue === 0 ? "there is no queue" : `so are all ${maxQueue} places in its queue`;
    super(
      "BULKHEAD_FULL",
      waitMs > 0
        ? `Bulkhead "${bulkheadName}" had none of its ${maxConcurrent} slots free within ${Math.ceil(waitMs)} ms. Send less, or raise its limits.`
        : `Bulkhead "${bulkheadName}" is full: all ${maxConcurrent} slots are taken, and ${queue}. Send less, or raise its limits.`,
    );
    this.bulkheadName = bulkheadName;
    this.waitMs = waitMs;
  }
  protected override get className(): string {
    return "BulkheadFullError";
  }
}

/**
 * Why adaptive concurrency refuses a call: nothing was free and there was no place in the queue, a more important call
 * has taken its place there, or no slot came in time.
 */
export type ShedWhy = "full" | "evicted" | "wait";

/** The load is more than the service bears at the moment, and others are as important as this call or more so. */
export class OverloadShedError extends RefusedError {
  readonly limiterName: string;
  readonly why: ShedWhy;
  readonly priority: Priority;
  /** How many operations may be under way at the same time now. */
  readonly limit: number;
  /** How long the call had waited in the queue; 0 where it found no place there. */
  readonly waitMs: number;

  constructor(limiterName: string, why: ShedWhy, priority: Priority, limit: number, waitMs: number) {
    const said = {
      full: "has neither a slot nor a place in its queue for it",
      evicted: "has given its place in the queue to a more important one",
      wait: `had no slot for it within ${Math.ceil(waitMs)} ms`,
    };
    super(
      "OVERLOAD_SHED",
      `A call of priority "${priority}" is shed: adaptive concurrency "${limiterName}", whose limit is ${limit} now, ${said[why]}. Send less, or come back later.`,
    );
    this.limiterName = limiterName;
    this.why = why;
    this.priority = priority;
    this.limit = limit;
    this.waitMs = waitMs;
  }
  protected override get className(): string {
    return "OverloadShedError";
  }
}

/** A lock was not acquired in time. `holders` had it then; an id that held two permits is there twice. */
export class ContentionDetectedError extends RefusedError {
  readonly resource: string;
  readonly waitMs: number;
  readonly holders: readonly string[];

  constructor(resource: string, waitMs: number, holders: readonly string[]) {
    super(
      "CONTENTION",
      // Between two holders, for a microtask or two, it is nobody's yet.
      `Lock "${resource}" was not acquired within ${Math.ceil(waitMs)} ms. It is held by ${holders.map((holder) => JSON.stringify(holder)).join(", ") || "the next in line"}. Come back later, or wait longer for it.`,
    );
    this.resource = resource;
    this.waitMs = waitMs;
    this.holders = holders;
  }
  protected override get className(): string {
    return "ContentionDetectedError";
  }
}

/** Why a rate limiter refuses a call: it takes more than can ever be there, or it would have to wait too long. */
export type LimiterWhy = "capacity" | "wait" | "deadline";

/** There is no room for the call within its time, or, where it takes too much, ever: then without `retryAfterMs`. */
export class RateLimitedError extends RefusedError {
  readonly limiterName: string;
  readonly why: LimiterWhy;

  /** `limits` says in words which limits there are, or what the call takes that there can never be. */
  constructor(limiterName: string, why: LimiterWhy, limits: string, retryAfterMs: number | undefined) {
    const wait = `${Math.ceil(retryAfterMs ?? 0)} ms`;
    super(
      "RATE_LIMITED",
      why === "capacity"
        ? `Rate limiter "${limiterName}" can never let this call through: it takes ${limits}. Ask for less, or raise the limit.`
        : `Rate limiter "${limiterName}" (${limits}) has no room for this call before ${wait} have passed, which is ${why === "deadline" ? "after its deadline" : "longer than it may wait"}. Try again then.`,
      { retryAfterMs },
    );
    this.limiterName = limiterName;
    this.why = why;
  }
  protected override get className(): string {
    return "RateLimitedError";
  }
}
