import { ConfigError } from "../core/errors.ts";
import {
  aBoolean,
  anId,
  anObject,
  checkOptions,
  numberBetween,
  positiveMs,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import type { LimitSettings } from "./adaptive-limit.ts";
import { type Matcher, matcherRule } from "./matcher.ts";
import type { ByPriority } from "./priority-slots.ts";

export interface AdaptiveConcurrencyOptions {
  /** Names it in events and errors. @default "adaptiveConcurrency" */
  name?: string | undefined;
  /** How many operations may be under way at the beginning. @default 20, or the nearest that the other two allow */
  initialLimit?: number | undefined;
  /** The limit falls no lower. @default 1 */
  minLimit?: number | undefined;
  /** The limit grows no higher. @default 200 */
  maxLimit?: number | undefined;
  /** By how much the limit grows after a round in which it was used up. @default 1 */
  increase?: number | undefined;
  /** What a sign of overload multiplies the limit by, from 0.1 to 0.99. @default 0.7 */
  backoffRatio?: number | undefined;
  /**
   * What is a sign of overload; a function also sees returned values. @default the statuses 429, 503 and 529, and
   * timeouts
   */
  overloadErrors?: Matcher | undefined;
  /** How many calls may wait for a slot. With 0 a call that finds none is refused at once. @default 0 */
  maxQueue?: number | undefined;
  /** How long a call may wait for its slot. @default as long as its deadline allows */
  queueTimeoutMs?: number | undefined;
  /** Which share of the limit calls of a priority may fill. The rest is kept for more important ones. */
  shares?: PriorityShares | undefined;
  /** Adapts the limit, counts and reports what would wait or be refused, and lets every call through. @default false */
  dryRun?: boolean | undefined;
}

/** Shares of the limit, above 0 and up to 1. No priority may have a larger one than those above it. */
export interface PriorityShares {
  /** For calls that must not fail. @default 1 */
  critical?: number | undefined;
  /** For calls that somebody waits for. @default 1 */
  high?: number | undefined;
  /** For calls that say nothing. @default 1 */
  normal?: number | undefined;
  /** For calls that can be made up for later. @default 0.8 */
  low?: number | undefined;
}

const RULES: Rules<AdaptiveConcurrencyOptions> = {
  name: anId,
  initialLimit: wholeNumber(1),
  minLimit: wholeNumber(1),
  maxLimit: wholeNumber(1),
  increase: wholeNumber(1),
  backoffRatio: numberBetween(0.1, 0.99),
  overloadErrors: matcherRule,
  maxQueue: wholeNumber(0),
  queueTimeoutMs: positiveMs,
  shares: anObject,
  dryRun: aBoolean,
};

const aShare = numberBetween(0.01, 1);
const SHARE_RULES: Rules<PriorityShares> = { critical: aShare, high: aShare, normal: aShare, low: aShare };

const DEFAULTS = {
  name: "adaptiveConcurrency",
  minLimit: 1,
  maxLimit: 200,
  increase: 1,
  backoffRatio: 0.7,
  maxQueue: 0,
  dryRun: false,
} as const;

/** What a limiter goes by: its options, with what they leave out filled in. */
export interface AdaptiveSettings extends LimitSettings {
  readonly name: string;
  readonly overloadErrors?: Matcher | undefined;
  readonly maxQueue: number;
  readonly queueTimeoutMs?: number | undefined;
  readonly shares: ByPriority;
  readonly dryRun: boolean;
}

/** Checks the options of a limiter and fills in their defaults. Throws `ConfigError`. */
export function adaptiveSettings(options: AdaptiveConcurrencyOptions): AdaptiveSettings {
  const { initialLimit, shares, ...given } = checkOptions("adaptiveConcurrency", options, RULES);
  const settings = { ...DEFAULTS, ...given } as typeof given & Omit<AdaptiveSettings, "initialLimit" | "shares">;
  const { minLimit, maxLimit, maxQueue, queueTimeoutMs } = settings;
  const initial = initialLimit ?? Math.min(maxLimit, Math.max(minLimit, 20));
  if (!(minLimit <= initial && initial <= maxLimit))
    throw new ConfigError(
      `adaptiveConcurrency needs minLimit <= initialLimit <= maxLimit, got ${minLimit}, ${initial} and ${maxLimit}.`,
    );
  if (maxQueue === 0 && queueTimeoutMs !== undefined)
    throw new ConfigError(
      "adaptiveConcurrency.queueTimeoutMs needs maxQueue, since nothing waits where there is no queue.",
    );
  return { ...settings, initialLimit: initial, shares: sharesOf(shares ?? {}) };
}

function sharesOf(given: PriorityShares): ByPriority {
  const {
    critical = 1,
    high = 1,
    normal = 1,
    low = 0.8,
  } = checkOptions("adaptiveConcurrency.shares", given, SHARE_RULES);
  if (!(critical >= high && high >= normal && normal >= low))
    throw new ConfigError(
      `adaptiveConcurrency.shares must not rise as priorities fall, got critical ${critical}, high ${high}, normal ${normal}, low ${low}.`,
    );
  return { critical, high, normal, low };
}
