import type { Call } from "../core/call.ts";
import { CircuitBreakerOpenError } from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import { type Failed, type Guard, REFUSED } from "../core/policy.ts";
import type { Runtime } from "../core/runtime.ts";
import { isFailure } from "./breaker-failures.ts";
import type { BreakerFleet } from "./breaker-fleet.ts";
import type { BreakerSettings } from "./breaker-options.ts";
import {
  type BreakerState,
  type CircuitBreakerState,
  type CircuitBreakerStats,
  hasPlaceForProbe,
  openTimeMs,
  retryAfterMs,
  shouldOpen,
  snapshot,
  stateName,
  UNCOUNTED,
  worthKeeping,
} from "./breaker-state.ts";
import { FailureBaseline } from "./failure-baseline.ts";
import { createWindow, type FailureWindow, type WindowTotals } from "./failure-window.ts";
import type { ProbeEnd } from "./shared-breaker.ts";
import { sidesOf } from "./sharing.ts";

/** What `enter` gives where the fleet has to be asked for the place of a probe. */
export const ASK = -2;

/**
 * The states of a breaker, what leads from one to another, and who is admitted in each. It calls nothing itself: it
 * gives permits, and hears what came of the calls that had one.
 */
export class Circuit implements Guard {
  readonly name: string;
  readonly settings: BreakerSettings;
  /** The breakers of other processes that share their state with this one. */
  readonly fleet: BreakerFleet | null;
  readonly #runtime: Runtime;
  readonly #window: FailureWindow | null;
  /** What is normal for the service; null where it is not to be learnt. */
  readonly #baseline: FailureBaseline | null;
  /** Nothing to remember and no returned values to look at: a success needs no more than counters. */
  readonly #plain: boolean;
  /** Slow calls count, so each call reads the clock. */
  readonly #timed: boolean;
  #state: BreakerState = { kind: "closed", calls: 0, failures: 0 };
  /** Rises with each transition and each probe, so that no permit is ever given twice. */
  #generation = UNCOUNTED + 1;
  #changedAt: number;
  #reopened = 0;
  #calls = 0;
  #failures = 0;
  #rejected = 0;

  constructor(name: string, settings: BreakerSettings, runtime: Runtime) {
    this.name = name;
    this.settings = settings;
    this.#runtime = runtime;
    this.#window = createWindow(settings);
    this.#baseline = settings.adaptive === undefined ? null : new FailureBaseline(settings.adaptive);
    this.#timed = settings.slowCallMs !== Infinity;
    this.fleet = this.#join(settings);
    const remembers = this.#window !== null || this.#baseline !== null || this.fleet !== null;
    this.#plain = !remembers && settings.valueFails === undefined;
    this.#changedAt = runtime.clock.wallNow();
  }

  get kind(): BreakerState["kind"] {
    return this.#state.kind;
  }

  /** The permit of every call while nobody has to be asked for one, nor the clock; `REFUSED` otherwise. */
  get freePermit(): number {
    return this.#state.kind === "closed" && this.fleet === null && !this.#timed ? this.#generation : REFUSED;
  }

  /** When a call begins, for `returned` and `failedWith`; 0 where it does not matter. */
  startedAt(): number {
    return this.#timed ? this.#runtime.clock.now() : 0;
  }

  reset(): void {
    this.#baseline?.clear();
    this.#close();
    this.fleet?.command("closed");
  }

  isolate(): void {
    this.#moveTo({ kind: "isolated", refusal: null });
    this.fleet?.command("isolated");
  }

  disable(): void {
    this.#moveTo({ kind: "disabled" });
    this.fleet?.command("disabled");
  }

  /** Opens for the rest of its time, as it was open in an earlier process. One that is not closed knows better. */
  reopen(remainingMs: number, failures: number): void {
    if (this.#state.kind !== "closed") return;
    const openedAt = this.#runtime.clock.now();
    this.#moveTo({ kind: "open", openedAt, until: openedAt + remainingMs, failures, refusal: null });
  }

  /** Whether the registry should keep it although nobody holds it. */
  get worthKeeping(): boolean {
    return worthKeeping(this.settings, this.#state, this.#runtime.clock.now());
  }

  getState(): CircuitBreakerState {
    return {
      ...snapshot(this.name, this.settings, this.#state, this.#failureCount(), this.#changedAt, this.#runtime.clock),
      ...(this.fleet !== null && { shared: this.fleet.standing }),
    };
  }

  getStats(): CircuitBreakerStats {
    const seen = this.fleet?.counts?.totals ??
      this.#window?.totals(this.#runtime.clock.now()) ?? {
        calls: this.#calls,
        failures: this.#failures,
        slow: 0,
      };
    return {
      ...this.getState(),
      totalCalls: this.#calls,
      totalSuccesses: this.#calls - this.#failures,
      totalFailures: this.#failures,
      rejected: this.#rejected,
      failureRate: seen.calls === 0 ? 0 : seen.failures / seen.calls,
      slowRate: seen.calls === 0 ? 0 : seen.slow / seen.calls,
      normalFailureRate: this.#baseline?.rate ?? null,
    };
  }

  /** A permit for one call, `REFUSED` or `ASK`. In the closed state it is the generation; a probe gets a number of its own. */
  enter(): number {
    const verdict = this.fleet?.touch() ?? "own";
    if (verdict !== "own") return verdict === "ask" ? ASK : this.#reject();
    const state = this.#state;
    switch (state.kind) {
      case "closed":
      case "disabled":
        return this.#generation;
      case "open":
        if (this.#runtime.clock.recent() < state.until) break;
        this.#moveTo({
          kind: "half_open",
          openedAt: state.openedAt,
          failures: state.failures,
          successes: 0,
          probes: new Map(),
        });
        return this.enter();
      case "half_open": {
        const now = this.#runtime.clock.now();
        if (!hasPlaceForProbe(this.settings, state.probes, now)) break;
        const probe = ++this.#generation;
        state.probes.set(probe, now);
        return probe;
      }
      case "isolated":
        break;
    }
    return this.#reject();
  }

  returned(value: unknown, permit: number, startedAt: number): void {
    const state = this.#state;
    if (this.#plain && state.kind === "closed" && permit === this.#generation) {
      this.#calls++;
      state.calls++;
      state.failures = 0;
      return;
    }
    this.#record(this.settings.valueFails?.(value) ?? false, permit, startedAt);
  }

  failedWith(error: unknown, permit: number, startedAt: number, call: Call): void {
    if (isFailure(this.settings, error, call)) return this.#record(true, permit, startedAt);
    if (!this.fleet?.end(permit, "neutral")) this.#endProbe(permit, "neutral");
  }

  async refuse(): Promise<unknown> {
    const error = this.openError();
    // A promise that rejects before anybody listens costs Node its unhandled-rejection bookkeeping, twice as much as
    // all the rest. One microtask later the caller listens.
    await undefined;
    throw error;
  }

  openError(state: BreakerState = this.#state): CircuitBreakerOpenError {
    return new CircuitBreakerOpenError(this.name, this.#failureCount(state), this.#retryAfterMs(state));
  }

  /** The refusal as a value; while open, one promise that is already resolved serves them all. */
  refusal(): Promise<Failed> {
    const state = this.#state;
    if (state.kind !== "open" && state.kind !== "isolated") return Promise.resolve(this.#newRefusal(state));
    return (state.refusal ??= Promise.resolve(this.#newRefusal(state)));
  }

  // The error and the wait are worked out when they are read: most callers only look at `ok` (C2.5). They tell of the
  // state that refused, which may have passed by then.
  #newRefusal(state: BreakerState): Failed {
    const error = (): CircuitBreakerOpenError => this.openError(state);
    const waitMs = (): number | undefined => this.#retryAfterMs(state);
    return Object.freeze({
      ok: false,
      refused: true,
      get error() {
        return error();
      },
      get retryAfterMs() {
        return waitMs();
      },
    });
  }

  #join(settings: BreakerSettings): BreakerFleet | null {
    if (settings.sharedState === undefined) return null;
    const circuit = this;
    const { BreakerFleet } = sidesOf(settings.sharedState);
    return new BreakerFleet(this.name, settings, settings.sharedState, this.#runtime, {
      get state() {
        return circuit.#state;
      },
      newPermit: () => ++this.#generation,
      enter: () => {
        const permit = this.enter();
        return permit === ASK ? this.#reject() : permit;
      },
      follow: (state, reopened) => {
        this.#reopened = reopened;
        this.#moveTo(state);
      },
      open: (failures) => this.#open(failures),
      endProbe: (permit, end) => this.#endProbe(permit, end),
    });
  }

  #reject(): number {
    this.#rejected++;
    const { dryRun } = this.settings;
    this.#runtime.events.emit?.("breaker.rejected", {
      policy: this.name,
      retryAfterMs: this.#retryAfterMs(this.#state),
      dryRun,
    });
    return dryRun ? UNCOUNTED : REFUSED;
  }

  /** A call of generation `permit` has ended and counts. */
  #record(failure: boolean, permit: number, startedAt: number): void {
    const state = this.#state;
    this.#calls++;
    if (failure) this.#failures++;
    const end = failure ? "failure" : "success";
    if (this.fleet?.end(permit, end)) return;
    if (state.kind === "half_open") return this.#endProbe(permit, end);
    if (state.kind !== "closed" || permit !== this.#generation) return;
    state.calls++;
    state.failures = failure ? state.failures + 1 : 0;
    let totals: WindowTotals | null = null;
    let slow = false;
    if (this.#window !== null) {
      const now = this.#runtime.clock.now();
      slow = now - startedAt > this.settings.slowCallMs;
      this.#window.record(failure, slow, now);
      totals = this.#window.totals(now);
    }
    this.fleet?.count(failure, slow);
    const risen = this.#baseline?.record(failure, this.#runtime.clock.recent()) ?? false;
    if (shouldOpen(this.settings, state, totals, risen)) this.#open(totals?.failures ?? state.failures);
  }

  /** What came of a probe of this breaker's own. */
  #endProbe(permit: number, end: ProbeEnd): void {
    const state = this.#state;
    if (state.kind !== "half_open" || !state.probes.delete(permit) || end === "neutral") return;
    if (end === "failure") this.#open(state.failures + 1);
    else if (++state.successes >= this.settings.successThreshold) this.#close();
  }

  #close(): void {
    this.#reopened = 0;
    this.#moveTo({ kind: "closed", calls: 0, failures: 0 });
  }

  #open(failures: number): void {
    const openedAt = this.#runtime.clock.now();
    const until = openedAt + openTimeMs(this.settings, this.#reopened++, this.#runtime.random);
    this.#moveTo({ kind: "open", openedAt, until, failures, refusal: null });
  }

  /** The only place where the state changes. */
  #moveTo(state: BreakerState): void {
    const from = stateName(this.#state.kind);
    this.#state = state;
    this.#generation++;
    this.#changedAt = this.#runtime.clock.wallNow();
    if (state.kind === "closed") {
      this.#window?.clear();
      this.#baseline?.acquit();
    }
    const to = stateName(state.kind);
    if (from === to) return;
    const { name } = this;
    this.#runtime.events.emit?.("breaker.changed", { policy: name, from, to });
    callHook(this.#runtime.events, "onStateChange", this.settings.onStateChange, { name, from, to });
  }

  #failureCount(state: BreakerState = this.#state): number {
    if (state.kind === "closed")
      return this.fleet?.counts?.failures ?? this.#window?.totals(this.#runtime.clock.now()).failures ?? state.failures;
    return "failures" in state ? state.failures : 0;
  }

  #retryAfterMs(state: BreakerState): number | undefined {
    return retryAfterMs(this.settings, state, this.#runtime.clock);
  }
}
