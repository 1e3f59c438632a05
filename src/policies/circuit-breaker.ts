import { promiseMistake } from "../core/at-once.ts";
import { type Call, type CallOptions, callFrom, ROOT } from "../core/call.ts";
import { ConfigError } from "../core/errors.ts";
import { plainOptions } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Guard,
  type Invoke,
  type InvokeOutcome,
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
import { type CircuitBreakerState, type CircuitBreakerStats, stateName } from "./breaker-state.ts";
import { ASK, Circuit } from "./circuit.ts";
import { type FallbackSource, type FallbackValue, serveAtOnce, serveFallback } from "./fallback.ts";
import { oneOfItsName } from "./named-breakers.ts";

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
  readonly #runtime: Runtime;
  readonly #circuit: Circuit;

  constructor(options: CircuitBreakerOptions<S> = {}, runtime: Runtime = systemRuntime) {
    super();
    const settings = breakerSettings(options);
    this.#runtime = runtime;
    this.#circuit = new Circuit(options.name ?? "circuitBreaker", settings, runtime);
    if (!settings.shared) return;
    if (new.target !== CircuitBreaker)
      throw new ConfigError(`Circuit breaker "${this.name}" cannot be shared, since ${new.target.name} is a subclass.`);
    return oneOfItsName<CircuitBreaker<S>>(this, options, runtime);
  }

  get name(): string {
    return this.#circuit.name;
  }

  get state(): CircuitState {
    return stateName(this.#circuit.kind);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T | FallbackValue<S>> {
    // Nobody can have aborted a call without options, and a closed breaker admits all: the case that must be fast.
    const permit = options === undefined ? this.#circuit.freePermit : REFUSED;
    const settled =
      permit === REFUSED
        ? this.#admit(callOperation, operation, callFrom(this.#runtime.clock, options))
        : this.#runFree(permit, operation);
    return settled as Promise<T | FallbackValue<S>>;
  }

  override executeOutcome<T>(
    operation: Operation<T>,
    options?: CallOptions | Call,
  ): Promise<Outcome<T | FallbackValue<S>>> {
    const call = callFrom(this.#runtime.clock, options);
    return this.#outcome(callOperation, operation, call) as Promise<Outcome<T | FallbackValue<S>>>;
  }

  /** Like `execute`, for a function and a fallback that give their results at once. */
  executeSync<T>(fn: () => T): T | FallbackValue<S> {
    const circuit = this.#circuit;
    if (circuit.fleet !== null)
      throw new ConfigError(
        `Circuit breaker "${this.name}" cannot executeSync: with a sharedState a call may have to wait for its answer. Use execute.`,
      );
    const call = callFrom(this.#runtime.clock, undefined);
    const permit = circuit.enter();
    if (permit === REFUSED) return this.#fallBackAtOnce(circuit.openError(), call);
    const startedAt = circuit.startedAt();
    let value: T;
    try {
      value = fn();
    } catch (error) {
      circuit.failedWith(error, permit, startedAt, call);
      if (this.#settings.fallbackOn === "any") return this.#fallBackAtOnce(error, call);
      throw error;
    }
    const mistake = promiseMistake(value, `The function of circuit breaker "${this.name}"`);
    if (mistake !== null) {
      circuit.failedWith(mistake, permit, startedAt, call);
      throw mistake;
    }
    circuit.returned(value, permit, startedAt);
    return value;
  }

  around(next: Invoke): Invoke {
    return (operation, call) => this.#admit(next, operation, call);
  }

  /** Closes and forgets: counts, window, what is normal, and how often it has reopened. */
  reset(): void {
    this.#circuit.reset();
  }

  /** Refuses every call until `reset()`. */
  isolate(): void {
    this.#circuit.isolate();
  }

  /** Admits every call, and opens for none of them, until `reset()`. */
  disable(): void {
    this.#circuit.disable();
  }

  /** @internal For whoever remembers that it was open, beyond the end of a process. */
  reopen(remainingMs: number, failures: number): void {
    this.#circuit.reopen(remainingMs, failures);
  }

  getState(): CircuitBreakerState {
    return this.#circuit.getState();
  }

  getStats(): CircuitBreakerStats {
    return this.#circuit.getStats();
  }

  describe(): PolicyDescription {
    const { fallback, sharedState, errorFails: _error, valueFails: _value, ...options } = this.#settings;
    return {
      kind: this.kind,
      name: this.name,
      options: {
        ...plainOptions(options),
        state: this.#circuit.kind,
        hasFallback: fallback !== undefined,
        hasSharedState: sharedState !== undefined,
      },
    };
  }

  /** @internal */
  outcomeAround(next: Invoke): InvokeOutcome {
    return (operation, call) => this.#outcome(next, operation, call);
  }

  /** @internal The breaker as a guard; one with a fallback is more than that, and one that shares its state may wait. */
  get guard(): Guard | undefined {
    return this.#settings.fallback === undefined && this.#circuit.fleet === null ? this.#circuit : undefined;
  }

  /** @internal */
  get circuit(): Circuit {
    return this.#circuit;
  }

  get #settings(): BreakerSettings {
    return this.#circuit.settings;
  }

  #admit(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) return Promise.reject(call.reason);
    const permit = this.#circuit.enter();
    if (permit === ASK) return this.#runAsked(next, operation, call);
    return permit === REFUSED ? this.#refuse(call) : this.#run(permit, next, operation, call);
  }

  // In a method of its own, as is the next one: a closure in `#admit` would cost every call the room for it.
  #runAsked(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    return this.#circuit.fleet!.probe(call, (given) =>
      given === REFUSED ? this.#refuse(call) : this.#run(given, next, operation, call),
    );
  }

  // Not async: while open, one promise that is already resolved serves every refusal.
  #outcome(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    if (call.aborted) return Promise.resolve(failed(call.reason, false));
    const permit = this.#circuit.enter();
    if (permit === ASK) return this.#askedOutcome(next, operation, call);
    if (permit === REFUSED && this.#settings.fallback === undefined) return this.#circuit.refusal();
    return this.#outcomeWith(permit, next, operation, call);
  }

  #askedOutcome(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    return this.#circuit
      .fleet!.probe(call, (given) => this.#outcomeWith(given, next, operation, call))
      .catch((error: unknown) => failed(error, false));
  }

  /** What `#run` does for a call that has nothing around it, of a breaker that does not look at how long it takes. */
  async #runFree(permit: number, operation: Operation<unknown>): Promise<unknown> {
    let value: unknown;
    try {
      value = await operation(ROOT);
    } catch (error) {
      return this.#failedWith(error, permit, 0, ROOT);
    }
    this.#circuit.returned(value, permit, 0);
    return value;
  }

  async #run(permit: number, next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    const startedAt = this.#circuit.startedAt();
    let value: unknown;
    try {
      value = await next(operation, call);
    } catch (error) {
      return this.#failedWith(error, permit, startedAt, call);
    }
    this.#circuit.returned(value, permit, startedAt);
    return value;
  }

  #failedWith(error: unknown, permit: number, startedAt: number, call: Call): Promise<unknown> {
    this.#circuit.failedWith(error, permit, startedAt, call);
    if (this.#settings.fallbackOn !== "any") throw error;
    return this.#fallBack(error, call);
  }

  async #outcomeWith(
    permit: number,
    next: Invoke,
    operation: Operation<unknown>,
    call: Call,
  ): Promise<Outcome<unknown>> {
    const { fallback, fallbackOn } = this.#settings;
    if (permit === REFUSED)
      return fallback === undefined
        ? this.#circuit.refusal()
        : serveFallback(fallback, this.name, this.#circuit.openError(), call);
    const startedAt = this.#circuit.startedAt();
    let value: unknown;
    try {
      value = await next(operation, call);
    } catch (error) {
      this.#circuit.failedWith(error, permit, startedAt, call);
      if (fallbackOn !== "any" || call.aborted) return failed(error, false);
      return serveFallback(fallback, this.name, error, call);
    }
    this.#circuit.returned(value, permit, startedAt);
    return { ok: true, value };
  }

  #refuse(call: Call): Promise<unknown> {
    if (this.#settings.fallback === undefined) return this.#circuit.refuse();
    return this.#fallBack(this.#circuit.openError(), call);
  }

  async #fallBack(error: unknown, call: Call): Promise<unknown> {
    if (call.aborted) throw error;
    return valueOf(await serveFallback(this.#settings.fallback, this.name, error, call));
  }

  #fallBackAtOnce(error: unknown, call: Call): FallbackValue<S> {
    const { fallback } = this.#settings;
    if (fallback === undefined) throw error;
    return serveAtOnce(fallback, this.name, error, call) as FallbackValue<S>;
  }
}
