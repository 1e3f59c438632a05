import { ConfigError } from "../core/errors.ts";
import {
  aBoolean,
  aFunction,
  anId,
  anObject,
  anything,
  aSharedState,
  checkOptions,
  durationMs,
  either,
  foldAlias,
  numberBetween,
  oneOf,
  positiveMs,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import { type AdaptiveOptions, type AdaptiveSettings, adaptiveSettings } from "./failure-baseline.ts";
import type { SharedState } from "../core/shared-state.ts";
import type { WindowOptions } from "./failure-window.ts";
import type { FallbackSource } from "./fallback.ts";
import { compileMatcher, compileValueMatcher, type Matcher, matcherRule, type Matches } from "./matcher.ts";

export type CircuitState = "CLOSED" | "OPEN" | "HALF_OPEN" | "ISOLATED" | "DISABLED";

export interface CircuitBreakerOptions<S extends FallbackSource = FallbackSource> {
  /** Names the breaker in events and errors. @default "circuitBreaker" */
  name?: string | undefined;
  /** How many failures open it: in a row, or within the window where that has no rate. @default 5 */
  failureThreshold?: number | undefined;
  /** How many probes must succeed to close it. @default 2 */
  successThreshold?: number | undefined;
  /** How long it stays open. @default 60000 */
  recoveryTimeoutMs?: number | undefined;
  /** An older spelling of `recoveryTimeoutMs`. */
  timeout?: number | undefined;
  /** Another older spelling of `recoveryTimeoutMs`. */
  timeoutMs?: number | undefined;
  /** How many probes may run at a time. @default 1 */
  halfOpenMaxConcurrent?: number | undefined;
  /** A probe that has not settled by then gives its place to another. @default 60000 */
  probeTimeoutMs?: number | undefined;
  /**
   * Which failures count; a function also sees returned values. One that would count even `undefined`, such as
   * `(error) => !(error instanceof NotFound)`, is taken to judge errors only. @default all but refusals, aborts and
   * mistakes in the configuration
   */
  countsAsFailure?: Matcher | undefined;
  /** What is remembered: failures in a row, the last calls, or the last milliseconds. @default { kind: "consecutive" } */
  window?: WindowOptions | undefined;
  /** With fewer calls than this it never opens. @default 1 */
  volumeThreshold?: number | undefined;
  /** A call that takes longer is slow. Needs a window of calls or time. */
  slowCallMs?: number | undefined;
  /** Share of slow calls in the window, from 0 to 1, that opens. @default 1 */
  slowCallRateThreshold?: number | undefined;
  /** Lets the open time grow with each time it reopens, and spreads it. */
  recoveryBackoff?: RecoveryBackoff | undefined;
  /**
   * Learns which failure rate is normal for the service, and opens when it rises far above it, also where
   * `failureThreshold` or the rate of the window is not reached. @default false
   */
  adaptive?: boolean | AdaptiveOptions | undefined;
  /** Serves while the breaker is open: a value, a function or a chain. */
  // The second part of the union types the parameter of a function; the first is what the result is inferred from.
  fallback?: S | FallbackSource;
  /** Whether the fallback serves when the breaker refuses, or after any failure. @default "open" */
  fallbackOn?: "open" | "any" | undefined;
  /** Changes its state, counts and reports what it would refuse, and lets every call through. @default false */
  dryRun?: boolean | undefined;
  /** Whether it is the one breaker of its name, for everybody who asks for it with this. @default false */
  shared?: boolean | undefined;
  /** Where the breakers of this name in all processes keep one state and one count. All need the same options. */
  sharedState?: SharedState | undefined;
  /** With `sharedState`: it opens for all when at least this many instances have had failures that count. @default 1 */
  quorum?: number | undefined;
  /** With `sharedState`: calls look at it again after this time, in the background. @default 250 */
  syncMs?: number | undefined;
  /** Called at each change of state. */
  onStateChange?: ((change: { name: string; from: CircuitState; to: CircuitState }) => void) | undefined;
}

export interface RecoveryBackoff {
  /** The open time is multiplied by this each time it reopens. @default 1 */
  backoffMultiplier?: number | undefined;
  /** It grows no longer than this. @default no limit */
  maxRecoveryTimeoutMs?: number | undefined;
  /** Plus or minus this share of it, from 0 to 1. @default 0 */
  jitterFactor?: number | undefined;
}

/** The options of a breaker but its name, checked, with every default in its place and the matcher compiled. */
export interface BreakerSettings {
  readonly failureThreshold: number;
  readonly successThreshold: number;
  readonly recoveryTimeoutMs: number;
  readonly halfOpenMaxConcurrent: number;
  readonly probeTimeoutMs: number;
  readonly window: WindowOptions;
  readonly volumeThreshold: number;
  readonly slowCallMs: number;
  readonly slowCallRateThreshold: number;
  readonly recoveryBackoff: RecoveryBackoff;
  readonly adaptive: AdaptiveSettings | undefined;
  /** For the description only; it is compiled into the two that follow. */
  readonly countsAsFailure: Matcher | undefined;
  readonly errorFails: Matches | undefined;
  readonly valueFails: Matches | undefined;
  readonly fallback: FallbackSource;
  readonly fallbackOn: "open" | "any";
  readonly dryRun: boolean;
  readonly shared: boolean;
  readonly sharedState: SharedState | undefined;
  readonly quorum: number;
  readonly syncMs: number;
  readonly onStateChange: CircuitBreakerOptions["onStateChange"];
}

const RULES: Rules<CircuitBreakerOptions> = {
  name: anId,
  failureThreshold: wholeNumber(1),
  successThreshold: wholeNumber(1),
  recoveryTimeoutMs: durationMs,
  timeout: durationMs,
  timeoutMs: durationMs,
  halfOpenMaxConcurrent: wholeNumber(1),
  probeTimeoutMs: positiveMs,
  countsAsFailure: matcherRule,
  window: anObject,
  volumeThreshold: wholeNumber(1),
  slowCallMs: positiveMs,
  slowCallRateThreshold: numberBetween(0, 1),
  recoveryBackoff: anObject,
  adaptive: either(aBoolean, anObject),
  fallback: anything,
  fallbackOn: oneOf("open", "any"),
  dryRun: aBoolean,
  shared: aBoolean,
  sharedState: aSharedState,
  quorum: wholeNumber(1),
  syncMs: durationMs,
  onStateChange: aFunction,
};

const BACKOFF_RULES: Rules<RecoveryBackoff> = {
  backoffMultiplier: numberBetween(1, 1e6),
  maxRecoveryTimeoutMs: positiveMs,
  jitterFactor: numberBetween(0, 1),
};

const CONSECUTIVE: WindowOptions = Object.freeze({ kind: "consecutive" });
const NO_BACKOFF: RecoveryBackoff = Object.freeze({});

/** What was asked for last: a hundred thousand breakers that one place in a program makes keep one object of it. */
let latest: BreakerSettings | null = null;

/** Checks the options of a breaker and fills in its defaults. Throws `ConfigError`. */
export function breakerSettings(options: CircuitBreakerOptions): BreakerSettings {
  const settings = newSettings(options);
  if (latest === null || !alike(latest, settings)) latest = settings;
  return latest;
}

function newSettings(options: CircuitBreakerOptions): BreakerSettings {
  const checked = checkOptions<CircuitBreakerOptions>("circuitBreaker", options, RULES);
  const folded = foldAlias("circuitBreaker", checked, "timeout", "recoveryTimeoutMs");
  const given = foldAlias("circuitBreaker", folded, "timeoutMs", "recoveryTimeoutMs");
  const window = given.window ?? CONSECUTIVE;
  if (window.kind === "consecutive" && (given.slowCallMs ?? given.slowCallRateThreshold) !== undefined) {
    throw new ConfigError(
      'circuitBreaker.slowCallMs and slowCallRateThreshold need a window of kind "count" or "time": failures in a row know no rate.',
    );
  }
  if (given.slowCallRateThreshold !== undefined && given.slowCallMs === undefined) {
    throw new ConfigError("circuitBreaker.slowCallRateThreshold needs slowCallMs, which says what is slow.");
  }
  if (given.fallbackOn !== undefined && given.fallback === undefined) {
    throw new ConfigError("circuitBreaker.fallbackOn needs a fallback.");
  }
  if (given.shared === true && given.name === undefined) {
    throw new ConfigError("circuitBreaker.shared needs a name: it is the one breaker of that name.");
  }
  if (given.sharedState !== undefined && given.adaptive !== undefined && given.adaptive !== false) {
    throw new ConfigError(
      "circuitBreaker.adaptive and sharedState exclude each other: what is normal is learnt within one process.",
    );
  }
  if (given.sharedState === undefined && (given.quorum ?? given.syncMs) !== undefined) {
    throw new ConfigError("circuitBreaker.quorum and syncMs need sharedState: alone there is nobody to agree with.");
  }
  const { countsAsFailure } = given;
  return {
    failureThreshold: given.failureThreshold ?? 5,
    successThreshold: given.successThreshold ?? 2,
    recoveryTimeoutMs: given.recoveryTimeoutMs ?? 60_000,
    halfOpenMaxConcurrent: given.halfOpenMaxConcurrent ?? 1,
    probeTimeoutMs: given.probeTimeoutMs ?? 60_000,
    window,
    volumeThreshold: given.volumeThreshold ?? 1,
    slowCallMs: given.slowCallMs ?? Infinity,
    slowCallRateThreshold: given.slowCallRateThreshold ?? 1,
    recoveryBackoff: given.recoveryBackoff
      ? checkOptions("circuitBreaker.recoveryBackoff", given.recoveryBackoff, BACKOFF_RULES)
      : NO_BACKOFF,
    adaptive: adaptiveSettings(given.adaptive ?? false),
    countsAsFailure,
    errorFails: countsAsFailure === undefined ? undefined : compileMatcher(countsAsFailure),
    valueFails: countsAsFailure === undefined ? undefined : compileValueMatcher(countsAsFailure),
    fallback: given.fallback,
    fallbackOn: given.fallbackOn ?? "open",
    dryRun: given.dryRun ?? false,
    shared: given.shared ?? false,
    sharedState: given.sharedState,
    quorum: given.quorum ?? 1,
    syncMs: given.syncMs ?? 250,
    onStateChange: given.onStateChange,
  };
}

/** What is compiled of the same matcher is another function each time. */
function alike(some: BreakerSettings, others: BreakerSettings): boolean {
  const { errorFails: _, valueFails: __, ...plain } = some;
  return Object.entries(plain).every(([key, value]) => Object.is(value, others[key as keyof BreakerSettings]));
}
