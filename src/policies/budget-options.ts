import { ConfigError } from "../core/errors.ts";
import type { Call } from "../core/call.ts";
import {
  aBoolean,
  aFunction,
  anId,
  aSharedState,
  checkOptions,
  either,
  numberBetween,
  oneOf,
  positiveMs,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import type { BudgetUnit } from "../core/policy-errors.ts";
import type { SharedState } from "../core/shared-state.ts";
import { MOST_USD } from "./ledger.ts";
import { type Matcher, matcherRule } from "./matcher.ts";

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
  /** Where the budgets of this name in all processes keep one set of books. All need the same limit. */
  sharedState?: SharedState | undefined;
  /**
   * With `sharedState`: how long what a process holds outlives it, should it die. It is renewed at every third of that
   * time. @default 60000
   */
  reservationLeaseMs?: number | undefined;
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
  sharedState: aSharedState,
  reservationLeaseMs: positiveMs,
  dryRun: aBoolean,
};

const UNITS = [
  ["limitUsd", "usd"],
  ["limitTokens", "tokens"],
  ["limitCalls", "calls"],
] as const;

export type BudgetSettings = Omit<BudgetOptions, "name"> & {
  onExhausted: "deny" | "degrade" | "queue";
  maxQueue: number;
  reservationLeaseMs: number;
  dryRun: boolean;
};

/** Checks the options of a budget and fills in its defaults. Throws `ConfigError`. */
export function budgetSettings(options: BudgetOptions): {
  name: string;
  unit: BudgetUnit;
  limit: number;
  settings: BudgetSettings;
} {
  const given = checkOptions("budget", options, RULES);
  const [limited, another] = UNITS.filter(([option]) => given[option] !== undefined);
  if (limited === undefined || another !== undefined)
    throw new ConfigError("budget needs one of limitUsd, limitTokens and limitCalls: use two budgets for two limits.");
  const [option, unit] = limited;
  const limit = given[option] ?? 0;
  if (given.onExhausted === "degrade" && typeof given.estimate !== "function")
    throw new ConfigError(
      'budget.onExhausted "degrade" needs an estimate that is a function: it says, by call.degraded, what the cheaper target costs.',
    );
  if (given.maxQueue !== undefined && given.onExhausted !== "queue")
    throw new ConfigError('budget.maxQueue needs onExhausted "queue".');
  if (given.reservationLeaseMs !== undefined && given.sharedState === undefined)
    throw new ConfigError("budget.reservationLeaseMs needs sharedState: alone, what a process holds ends with it.");
  const {
    name = "budget",
    onExhausted = "deny",
    maxQueue = 1000,
    reservationLeaseMs = 60_000,
    dryRun = false,
    ...others
  } = given;
  const settings = { ...others, onExhausted, maxQueue, reservationLeaseMs, dryRun };
  if (unit === "calls") settings.estimate ??= 1;
  return { name, unit, limit, settings };
}
