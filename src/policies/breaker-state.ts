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
}

export interface CircuitBreakerStats extends CircuitBreakerState {
  totalCalls: number;
  totalSuccesses: number;
  totalFailures: number;
  rejected: number;
  /** Shares of the window where there is one, else of all calls. */
  failureRate: number;
  slowRate: number;
}

/** Whether a closed breaker has seen enough. `totals` are those of its window; null where it counts failures in a row. */
export function shouldOpen(
  { failureThreshold, volumeThreshold, window, slowCallRateThreshold }: BreakerSettings,
  row: { calls: number; failures: number },
  totals: WindowTotals | null,
): boolean {
  if (totals === null || window.kind === "consecutive") {
    return row.failures >= failureThreshold && row.calls >= volumeThreshold;
  }
  const { calls, failures, slow } = totals;
  if (calls < (window.minimumCalls ?? volumeThreshold)) return false;
  if (slow > 0 && slow / calls >= slowCallRateThreshold) return true;
  if (window.failureRateThreshold === undefined) return failures >= failureThreshold;
  return failures > 0 && failures / calls >= window.failureRateThreshold;
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
