import { Call, type CallOptions, callFrom } from "./call.ts";
import { ConfigError, isRefusal } from "./errors.ts";
import { type OrderProblem, orderProblems } from "./pipeline-order.ts";
import {
  callOperation,
  failed,
  type Invoke,
  type InvokeOutcome,
  type Operation,
  type Outcome,
  type Policy,
  PolicyBase,
  type PolicyDescription,
} from "./policy.ts";
import { type Runtime, systemRuntime } from "./runtime.ts";

/** What the policies of a pipeline may return in place of the operation's own result, taken together. */
export type FallbackOf<P extends readonly Policy<unknown>[]> = {
  [I in keyof P]: P[I] extends Policy<infer F> ? F : never;
}[number];

/** Links policies from the inside out; what stands right outside a policy that can take it in shares its frame. */
function link(policies: readonly Policy<unknown>[], next: Invoke): Invoke {
  let inner = next;
  for (let i = policies.length - 1; i >= 0; i--) {
    const policy = policies[i]!;
    if (policy.aroundWith === undefined) {
      inner = policy.around(inner);
      continue;
    }
    // Slots are held until the operation has settled, which only its immediate neighbour sees.
    const holder = inner === callOperation && policies[i - 1]?.slots !== undefined ? policies[--i]! : null;
    const guard = policies[i - 1]?.guard;
    if (guard !== undefined) i--;
    inner = policy.aroundWith(inner, guard ?? null, holder);
  }
  return inner;
}

/** An empty pipeline: the operation alone, which may return or throw at once. */
async function bare<T>(operation: Operation<T>, call: Call): Promise<T> {
  if (call.aborted) throw call.reason;
  return operation(call);
}

/** The policies in their order, those of pipelines among them in the place of these. */
function flat(policies: readonly Policy<unknown>[]): Policy<unknown>[] {
  return policies.flatMap((policy) => (policy instanceof Pipeline ? flat(policy.policies) : [policy]));
}

/** A call whose outcome is asked for: it learns what the bare value or error does not tell. */
class WatchedCall extends Call {
  reachedOperation = false;
  served: { value: unknown; error: unknown } | null = null;

  constructor(parent: Call) {
    super(parent, parent.attempt, parent.deadline, false, null, parent.options);
  }

  override noteFallback(value: unknown, error: unknown): void {
    this.served = { value, error };
  }
}

/**
 * Policies around one another, outermost first; itself a policy. One whose order defeats itself says so with the event
 * `pipeline.order`, and does as it was told.
 */
export class Pipeline<F = never> extends PolicyBase<F> {
  readonly kind = "pipeline";
  readonly name: string;
  readonly policies: readonly Policy<unknown>[];
  #invoke: Invoke;
  /** Set where a policy that refuses stands outermost: its refusal is a value. */
  #outcome: InvokeOutcome | undefined;
  readonly #runtime: Runtime;

  constructor(policies: readonly Policy<unknown>[], runtime: Runtime = systemRuntime) {
    super();
    const stranger = policies.findIndex((policy) => typeof policy?.around !== "function");
    if (stranger >= 0)
      throw new ConfigError(`pipeline takes policies, outermost first; argument ${stranger + 1} is not one.`);
    this.policies = [...policies];
    this.name = policies.map((policy) => policy.kind).join(" > ") || "empty";
    this.#runtime = runtime;
    this.#invoke = this.policies.length === 0 ? bare : this.around(callOperation);
    this.#outcome = this.outcomeAround(callOperation);
    const problems = orderProblems(flat(policies));
    if (problems.length > 0) this.#warnAtFirstCall(problems);
  }

  around(next: Invoke): Invoke {
    return link(this.policies, next);
  }

  /** @internal */
  outcomeAround(next: Invoke): InvokeOutcome | undefined {
    const [outermost, ...inner] = this.policies;
    return outermost?.outcomeAround?.(link(inner, next));
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T | F> {
    return this.#invoke(operation, callFrom(this.#runtime.clock, options)) as Promise<T | F>;
  }

  override async executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T | F>> {
    const call = new WatchedCall(callFrom(this.#runtime.clock, options));
    const watched: Operation<T> = (inner) => {
      call.reachedOperation = true;
      return operation(inner);
    };
    const outcome = await (this.#outcome === undefined ? this.#outcomeOf(watched, call) : this.#outcome(watched, call));
    // A policy inside may have refused it, which those outside of it see as an error.
    if (!outcome.ok && !outcome.refused && !call.reachedOperation)
      return failed(outcome.error, isRefusal(outcome.error));
    const { served } = call;
    if (!outcome.ok || served === null || !Object.is(served.value, outcome.value)) return outcome as Outcome<T>;
    return { ok: true, value: outcome.value as T, fallbackUsed: true, error: served.error };
  }

  describe(): PolicyDescription {
    return {
      kind: this.kind,
      name: this.name,
      options: {},
      children: this.policies.map((policy) => policy.describe()),
    };
  }

  async #outcomeOf(operation: Operation<unknown>, call: WatchedCall): Promise<Outcome<unknown>> {
    try {
      return { ok: true, value: await this.#invoke(operation, call) };
    } catch (error) {
      return failed(error, false);
    }
  }

  /** Not when it is built, since most are built before anybody can listen; and later calls go as if nothing had been. */
  #warnAtFirstCall(problems: readonly OrderProblem[]): void {
    const invoke = this.#invoke;
    const outcome = this.#outcome;
    const warn = (): void => {
      this.#invoke = invoke;
      this.#outcome = outcome;
      for (const problem of problems) this.#runtime.events.emit?.("pipeline.order", { policy: this.name, ...problem });
    };
    this.#invoke = (operation, call) => {
      warn();
      return invoke(operation, call);
    };
    if (outcome === undefined) return;
    this.#outcome = (operation, call) => {
      warn();
      return outcome(operation, call);
    };
  }
}

/**
 * Composes policies, outermost first. The standard order is: fallback, total timeout, retry, circuit breaker, rate
 * limit, bulkhead, adaptive concurrency or lock, hedge, attempt timeout, chaos, operation (C3.10).
 * `retry(breaker(f))` shows the breaker each attempt; the other way round it sees one call per series.
 *
 * @example
 * ```ts
 * import { CircuitBreaker, pipeline, RetryPolicy, Timeout } from "holdfast/policies";
 *
 * const guarded = pipeline(
 *   new RetryPolicy({ maxAttempts: 4, initialDelayMs: 5 }),
 *   new CircuitBreaker({ name: "crm" }),
 *   new Timeout({ attemptTimeoutMs: 2_000 }),
 * );
 * let calls = 0;
 * const customer = await guarded.execute(async () => {
 *   if (++calls < 3) throw new Error("busy");
 *   return { id: 17 };
 * });
 * console.log(customer.id); // => 17
 * console.log(calls); // => 3
 * ```
 */
export function pipeline<const P extends readonly Policy<unknown>[]>(...policies: P): Pipeline<FallbackOf<P>> {
  return new Pipeline<FallbackOf<P>>(policies);
}
