import type { Clock } from "../core/clock.ts";
import type { Failed } from "../core/policy.ts";
import type { Random } from "../core/random.ts";
import type { BreakerSettings, CircuitState } from "./breaker-options.ts";
import type { WindowTotals } from "./failure-window.ts";

/** The data of a state lives in its branch. Counters change in place; a transition replaces the object. */
export type BreakerState =
  | { kind: "closed"; calls: number; failures: number }
  | { kind: "open"; openedAt: number; until: number; failures: number; refusal: Promise<Failed> | null }
  | { kind: "half_open"; openedAt: number; failures: number; successes: number; probes: Map<number, number> }
  | { kind: "isolated"; refusal: Promise<Failed> | null }
  | { kind: "disabled" };

/** A snapshot of a breaker. Instants are wall-clock milliseconds, null where there is none. */
export interface CircuitBreakerState {
  name: string;
  state: Lowercase<CircuitState>;
  failureCount: number;
  successCount: number;
  failureThreshold: number;
  successThreshold: number;
  recoveryTimeoutMs: number;
  openedAt: number | null;
  nextAttemptAt: number | null;
  lastStateChange: number;
  /** How it stands to the breakers it shares its state with, where it does. Its counts are then theirs. */
  shared?: FleetStanding;
}

/** How a breaker stands to those that it shares its state with. */
export interface FleetStanding {
  /** Whether the shared state answers; until it first has, and while it is away, the breaker decides by itself. */
  attached: boolean;
  /** Open, or trying itself out, for this process only: the others are not. */
  alone: boolean;
  /** The state that they share, as it was last seen; null before that. */
  fleet: BreakerState["kind"] | null;
}

export interface CircuitBreakerStats extends CircuitBreakerState {
  totalCalls: number;
  totalSuccesses: number;
  totalFailures: number;
  rejected: number;
  /** Shares of the window where there is one, else of all calls. */
  failureRate: number;
  slowRate: number;
  /** What `adaptive` has learnt; null without it. */
  normalFailureRate: number | null;
}

/** A state as it is called outside. */
export function stateName(kind: BreakerState["kind"]): CircuitState {
  return kind.toUpperCase() as CircuitState;
}

/** What `getState()` tells of a state that began at `changedAt` and has seen `failureCount` failures. */
export function snapshot(
  name: string,
  { failureThreshold, successThreshold, recoveryTimeoutMs }: BreakerSettings,
  state: BreakerState,
  failureCount: number,
  changedAt: number,
  clock: Clock,
): CircuitBreakerState {
  // Whole milliseconds, as the wall clock has them.
  const wall = (instant: number): number => Math.round(clock.wallNow() + instant - clock.now());
  return {
    name,
    state: state.kind,
    failureCount,
    successCount: state.kind === "half_open" ? state.successes : 0,
    failureThreshold,
    successThreshold,
    recoveryTimeoutMs,
    openedAt: "openedAt" in state ? wall(state.openedAt) : null,
    nextAttemptAt: state.kind === "open" ? wall(state.until) : null,
    lastStateChange: changedAt,
  };
}

/**
 * Whether a closed breaker has seen enough. `totals` are those of its window; null where it counts failures in a row.
 * `risen` says that its service fails far more than is normal for it.
 */
export function shouldOpen(
  { failureThreshold, volumeThreshold, window, slowCallRateThreshold }: BreakerSettings,
  row: { calls: number; failures: number },
  totals: WindowTotals | null,
  risen = false,
): boolean {
  if (risen && row.calls >= volumeThreshold) return true;
  if (window.kind === "consecutive") return row.failures >= failureThreshold && row.calls >= volumeThreshold;
  const { calls, failures, slow } = totals!;
  if (calls < (window.minimumCalls ?? volumeThreshold)) return false;
  if (slow > 0 && slow / calls >= slowCallRateThreshold) return true;
  if (window.failureRateThreshold === undefined) return failures >= failureThreshold;
  return failures > 0 && failures / calls >= window.failureRateThreshold;
}

/** The number of a call that is let through although it counts for nothing, in a dry run. No generation has it. */
export const UNCOUNTED = 0;

/** Whether another probe may run now. Those that have not settled in time no longer keep others from it. */
export function hasPlaceForProbe(settings: BreakerSettings, probes: Map<number, number>, now: number): boolean {
  for (const [probe, startedAt] of probes) if (now - startedAt >= settings.probeTimeoutMs) probes.delete(probe);
  return probes.size < settings.halfOpenMaxConcurrent;
}

/** Isolated by hand there is no telling; half-open it is the wait for a probe that never settles. */
export function retryAfterMs(settings: BreakerSettings, state: BreakerState, clock: Clock): number | undefined {
  if (state.kind === "open") return Math.max(0, state.until - clock.recent());
  if (state.kind === "half_open") return Math.min(settings.probeTimeoutMs, settings.recoveryTimeoutMs);
  return undefined;
}

/** Whether a breaker that nobody holds has something to tell whoever asks for it next: an order, or a wait. */
export function worthKeeping(settings: BreakerSettings, state: BreakerState, now: number): boolean {
  if (state.kind === "open") return now < state.until;
  if (state.kind === "half_open")
    return now - state.openedAt < 2 * settings.recoveryTimeoutMs + settings.probeTimeoutMs;
  return state.kind !== "closed";
}

/** How long a breaker stays open that has opened `reopened` times before without closing. */
export function openTimeMs(
  { recoveryTimeoutMs, recoveryBackoff }: BreakerSettings,
  reopened: number,
  random: Random,
): number {
  const { backoffMultiplier = 1, maxRecoveryTimeoutMs = Infinity, jitterFactor = 0 } = recoveryBackoff;
  const grown = Math.min(recoveryTimeoutMs * backoffMultiplier ** reopened, maxRecoveryTimeoutMs);
  return Math.min(grown * (1 + (random() * 2 - 1) * jitterFactor), maxRecoveryTimeoutMs);
}
