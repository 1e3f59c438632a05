import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import {
  causesOf,
  CircuitBreakerOpenError,
  codeOf,
  isFinal,
  isRefusal,
  type RetryExhaustedError,
  TimeoutError,
} from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import { plainOptions } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Failed,
  type Guard,
  type Invoke,
  type Operation,
  type Outcome,
  PolicyBase,
  type PolicyDescription,
  REFUSED,
  valueOf,
} from "../core/policy.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import {
  type BreakerSettings,
  breakerSettings,
  type CircuitBreakerOptions,
  type CircuitState,
} from "./breaker-options.ts";
import {
  type BreakerState,
  type CircuitBreakerState,
  type CircuitBreakerStats,
  openTimeMs,
  shouldOpen,
} from "./breaker-state.ts";
import { createWindow, type FailureWindow, type WindowTotals } from "./failure-window.ts";
import { type FallbackSource, type FallbackValue, serveFallback } from "./fallback.ts";

/**
 * Stops calling what keeps failing, and tries it again later with a few probes.
 *
 * ```text
 *            failures reach the threshold
 *   CLOSED ────────────────────────────────▶ OPEN ◀──────────────┐
 *     ▲                                       │ the next call    │ a probe fails
 *     │ successThreshold probes succeed       ▼ after the wait   │
 *     └─────────────────────────────────── HALF_OPEN ────────────┘
 *   isolate() refuses and disable() admits everything until reset().
 * ```
 *
 * Only time passing leads from OPEN to HALF_OPEN, and no timer waits for it: the first call after the wait finds the
 * time and becomes the probe. A result belongs to the generation in which its call began; a late one of an older
 * generation changes nothing (C2.3). Errors that do not count are neutral in every state.
 *
 * Defaults: 5 failures in a row open, 60 000 ms later one probe at a time, 2 successes close. Throws
 * `CircuitBreakerOpenError` with `retryAfterMs`; where refusals are hot, `executeOutcome` gives them as a value.
 *
 * @example
 * ```ts
 * import { CircuitBreaker } from "holdfast/policies";
 *
 * const breaker = new CircuitBreaker({ name: "search", failureThreshold: 2, recoveryTimeoutMs: 1_000 });
 * for (let i = 0; i < 2; i++) await breaker.execute(() => Promise.reject(new Error("down"))).catch(() => {});
 * console.log(breaker.state); // => "OPEN"
 * const outcome = await breaker.executeOutcome(() => "never called");
 * console.log(outcome.ok); // => false
 * ```
 */
export class CircuitBreaker<const S extends FallbackSource = never> extends PolicyBase<FallbackValue<S>> {
  readonly kind = "circuitBreaker";
  readonly #settings: BreakerSettings;
  readonly #runtime: Runtime;
  readonly #window: FailureWindow | null;
  /** No window and no returned values to look at: a success needs no more than counters. */
  readonly #plain: boolean;
  /** Slow calls count, so each call reads the clock. */
  readonly #timed: boolean;
  #state: BreakerState = { kind: "closed", calls: 0, failures: 0 };
  /** Rises with each transition and each probe, so that no permit is ever given twice. */
  #generation = 0;
  #changedAt: number;
  #reopened = 0;
  #calls = 0;
  #failures = 0;
  #rejected = 0;

  constructor(options: CircuitBreakerOptions<S> = {}, runtime: Runtime = systemRuntime) {
    super();
    this.#settings = breakerSettings(options);
    this.#runtime = runtime;
    this.#window = createWindow(this.#settings);
    this.#timed = this.#settings.slowCallMs !== Infinity;
    this.#plain = this.#window === null && this.#settings.valueFails === undefined;
    this.#changedAt = runtime.clock.wallNow();
  }

  get name(): string {
    return this.#settings.name;
  }

  get state(): CircuitState {
    return this.#state.kind.toUpperCase() as CircuitState;
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T | FallbackValue<S>> {
    const call = callFrom(this.#runtime.clock, options);
    // Nobody can have aborted a call without options, and a closed breaker admits all: the case that must be fast.
    const settled =
      options === undefined && this.#state.kind === "closed"
        ? this.#run(this.#generation, callOperation, operation, call)
        : this.#admit(callOperation, operation, call);
    return settled as Promise<T | FallbackValue<S>>;
  }

  // Not async: while open, one promise that is already resolved serves every refusal.
  override executeOutcome<T>(
    operation: Operation<T>,
    options?: CallOptions | Call,
  ): Promise<Outcome<T | FallbackValue<S>>> {
    const call = callFrom(this.#runtime.clock, options);
    if (call.aborted) return Promise.resolve(failed(call.reason, false));
    const permit = this.enter();
    const outcome =
      permit === REFUSED && this.#settings.fallback === undefined
        ? this.#refusal()
        : this.#outcome(permit, operation, call);
    return outcome as Promise<Outcome<T | FallbackValue<S>>>;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#admit(next, operation, call);
  }

  /** Closes and forgets: counts, window, and how often it has reopened. */
  reset(): void {
    this.#reopened = 0;
    this.#moveTo({ kind: "closed", calls: 0, failures: 0 });
  }

  /** Refuses every call until `reset()`. */
  isolate(): void {
    this.#moveTo({ kind: "isolated", refusal: null });
  }

  /** Admits every call, and opens for none of them, until `reset()`. */
  disable(): void {
    this.#moveTo({ kind: "disabled" });
  }

  getState(): CircuitBreakerState {
    const state = this.#state;
    const { clock } = this.#runtime;
    const wall = (instant: number): number => clock.wallNow() + instant - clock.now();
    const { failureThreshold, successThreshold, recoveryTimeoutMs } = this.#settings;
    return {
      name: this.name,
      state: state.kind,
      failureCount: this.#failureCount(),
      successCount: state.kind === "half_open" ? state.successes : 0,
      failureThreshold,
      successThreshold,
      recoveryTimeoutMs,
      openedAt: "openedAt" in state ? wall(state.openedAt) : null,
      nextAttemptAt: state.kind === "open" ? wall(state.until) : null,
      lastStateChange: this.#changedAt,
    };
  }

  getStats(): CircuitBreakerStats {
    const seen = this.#window?.totals(this.#runtime.clock.now()) ?? {
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
    };
  }

  describe(): PolicyDescription {
    const { name, fallback, errorFails: _error, valueFails: _value, ...options } = this.#settings;
    return {
      kind: this.kind,
      name,
      options: { ...plainOptions(options), state: this.#state.kind, hasFallback: fallback !== undefined },
    };
  }

  #admit(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    const permit = this.enter();
    return permit === REFUSED ? this.refuse(call) : this.#run(permit, next, operation, call);
  }

  async #run(permit: number, next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    const startedAt = this.#timed ? this.#runtime.clock.now() : 0;
    let value: unknown;
    try {
      value = await next(operation, call);
    } catch (error) {
      this.failedWith(error, permit, startedAt, call);
      if (this.#settings.fallbackOn === "any") return this.#fallBack(error, call);
      throw error;
    }
    this.returned(value, permit, startedAt);
    return value;
  }

  async #outcome(permit: number, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    if (permit === REFUSED) return serveFallback(this.#settings.fallback, this.name, this.#openError(), call);
    const startedAt = this.#timed ? this.#runtime.clock.now() : 0;
    let value: unknown;
    try {
      value = await operation(call);
    } catch (error) {
      this.failedWith(error, permit, startedAt, call);
      if (this.#settings.fallbackOn !== "any" || call.aborted) return failed(error, false);
      return serveFallback(this.#settings.fallback, this.name, error, call);
    }
    this.returned(value, permit, startedAt);
    return { ok: true, value };
  }

  /** @internal The breaker as a guard; one with a fallback is more than that. */
  get guard(): Guard | undefined {
    return this.#settings.fallback === undefined ? this : undefined;
  }

  /** @internal A permit for one call, or REFUSED. In the closed state it is the generation; a probe gets a number of its own. */
  enter(): number {
    const state = this.#state;
    switch (state.kind) {
      case "closed":
        return this.#generation;
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
        for (const [probe, startedAt] of state.probes) {
          if (now - startedAt >= this.#settings.probeTimeoutMs) state.probes.delete(probe);
        }
        if (state.probes.size >= this.#settings.halfOpenMaxConcurrent) break;
        const probe = ++this.#generation;
        state.probes.set(probe, now);
        return probe;
      }
      case "isolated":
        break;
    }
    this.#rejected++;
    this.#runtime.events.emit?.("breaker.rejected", { policy: this.name, retryAfterMs: this.#retryAfterMs() });
    return REFUSED;
  }

  /** @internal */
  returned(value: unknown, permit: number, startedAt: number): void {
    const state = this.#state;
    if (this.#plain && state.kind === "closed" && permit === this.#generation) {
      this.#calls++;
      state.calls++;
      state.failures = 0;
      return;
    }
    this.#record(this.#settings.valueFails?.(value) ?? false, permit, startedAt);
  }

  /** @internal */
  failedWith(error: unknown, permit: number, startedAt: number, call: Call): void {
    if (abortedByCaller(call) || !this.#counts(error)) {
      if (this.#state.kind === "half_open") this.#state.probes.delete(permit);
      return;
    }
    this.#record(true, permit, startedAt);
  }

  // An exhausted retry is judged by what it last met, so that the order of the two policies hides no failure (C2.4);
  // also one that something else has wrapped, which only a matcher of the user's could want to see.
  #counts(error: unknown): boolean {
    if (codeOf(error) === "RETRY_EXHAUSTED") return this.#counts((error as RetryExhaustedError).lastError);
    if (this.#settings.errorFails !== undefined) return this.#settings.errorFails(error);
    if (isRefusal(error)) return false;
    const exhausted = causesOf(error).find((link) => codeOf(link) === "RETRY_EXHAUSTED");
    return exhausted === undefined ? !isFinal(error) : this.#counts(exhausted);
  }

  /** A call of generation `permit` has ended and counts. */
  #record(failure: boolean, permit: number, startedAt: number): void {
    const state = this.#state;
    this.#calls++;
    if (failure) this.#failures++;
    if (state.kind === "half_open") {
      if (!state.probes.delete(permit)) return;
      if (failure) return this.#open(state.failures + 1);
      if (++state.successes >= this.#settings.successThreshold) this.reset();
      return;
    }
    if (state.kind !== "closed" || permit !== this.#generation) return;
    state.calls++;
    state.failures = failure ? state.failures + 1 : 0;
    let totals: WindowTotals | null = null;
    if (this.#window !== null) {
      const now = this.#runtime.clock.now();
      this.#window.record(failure, now - startedAt > this.#settings.slowCallMs, now);
      totals = this.#window.totals(now);
    }
    if (shouldOpen(this.#settings, state, totals)) this.#open(this.#failureCount());
  }

  #open(failures: number): void {
    const openedAt = this.#runtime.clock.now();
    const until = openedAt + openTimeMs(this.#settings, this.#reopened++, this.#runtime.random);
    this.#moveTo({ kind: "open", openedAt, until, failures, refusal: null });
  }

  /** The only place where the state changes. */
  #moveTo(state: BreakerState): void {
    const from = this.state;
    this.#state = state;
    this.#generation++;
    this.#changedAt = this.#runtime.clock.wallNow();
    if (state.kind === "closed") this.#window?.clear();
    const to = this.state;
    if (from === to) return;
    this.#runtime.events.emit?.("breaker.changed", { policy: this.name, from, to });
    callHook(this.#runtime.events, "onStateChange", this.#settings.onStateChange, { name: this.name, from, to });
  }

  #failureCount(state: BreakerState = this.#state): number {
    if (state.kind === "closed")
      return this.#window === null ? state.failures : this.#window.totals(this.#runtime.clock.now()).failures;
    return "failures" in state ? state.failures : 0;
  }

  /** Isolated by hand there is no telling; half-open it is the wait for a probe that never settles. */
  #retryAfterMs(state: BreakerState = this.#state): number | undefined {
    if (state.kind === "open") return Math.max(0, state.until - this.#runtime.clock.recent());
    if (state.kind === "half_open") return Math.min(this.#settings.probeTimeoutMs, this.#settings.recoveryTimeoutMs);
    return undefined;
  }

  #openError(state: BreakerState = this.#state): CircuitBreakerOpenError {
    return new CircuitBreakerOpenError(this.name, this.#failureCount(state), this.#retryAfterMs(state));
  }

  /** @internal */
  async refuse(call: Call): Promise<unknown> {
    const error = this.#openError();
    if (this.#settings.fallback !== undefined) return this.#fallBack(error, call);
    // A promise that rejects before anybody listens costs Node its unhandled-rejection bookkeeping, twice as much as
    // all the rest. One microtask later the caller listens.
    await undefined;
    throw error;
  }

  async #fallBack(error: unknown, call: Call): Promise<unknown> {
    if (call.aborted) throw error;
    return valueOf(await serveFallback(this.#settings.fallback, this.name, error, call));
  }

  #refusal(): Promise<Failed> {
    const state = this.#state;
    if (state.kind !== "open" && state.kind !== "isolated") return Promise.resolve(this.#newRefusal(state));
    return (state.refusal ??= Promise.resolve(this.#newRefusal(state)));
  }

  // The error and the wait are worked out when they are read: most callers only look at `ok` (C2.5). They tell of the
  // state that refused, which may have passed by then.
  #newRefusal(state: BreakerState): Failed {
    const error = (): CircuitBreakerOpenError => this.#openError(state);
    const retryAfterMs = (): number | undefined => this.#retryAfterMs(state);
    return Object.freeze({
      ok: false,
      refused: true,
      get error() {
        return error();
      },
      get retryAfterMs() {
        return retryAfterMs();
      },
    });
  }
}

/** Whether the caller, and not a timeout of ours, has cancelled the call. */
function abortedByCaller(call: Call): boolean {
  return call.aborted && !(call.reason instanceof TimeoutError);
}
