import { type Call, type CallOptions, callFrom } from "./call.ts";
import { ConfigError } from "./errors.ts";
import { type OrderProblem, orderProblems } from "./pipeline-order.ts";
import {
  callOperation,
  type Invoke,
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

/** Links policies from the inside out; a guard right outside a policy that can take it in shares its frame. */
function link(policies: readonly Policy<unknown>[], next: Invoke): Invoke {
  let inner = next;
  for (let i = policies.length - 1; i >= 0; i--) {
    const policy = policies[i]!;
    const guard = policies[i - 1]?.guard;
    if (guard !== undefined && policy.aroundGuarded !== undefined) {
      inner = policy.aroundGuarded(inner, guard);
      i--;
    } else {
      inner = policy.around(inner);
    }
  }
  return inner;
}

async function bare<T>(operation: Operation<T>, call: Call): Promise<T> {
  if (call.aborted) throw call.reason;
  return operation(call);
}

/** The policies in their order, those of pipelines among them in the place of these. */
function flat(policies: readonly Policy<unknown>[]): Policy<unknown>[] {
  return policies.flatMap((policy) => (policy instanceof Pipeline ? flat(policy.policies) : [policy]));
}

type OutcomeOf = (operation: Operation<unknown>, call: Call) => Promise<Outcome<unknown>>;

/**
 * Policies around one another, outermost first; itself a policy. One whose order defeats itself says so with the event
 * `pipeline.order`, and does as it was told.
 */
export class Pipeline<F = never> extends PolicyBase<F> {
  readonly kind = "pipeline";
  readonly name: string;
  readonly policies: readonly Policy<unknown>[];
  #invoke: Invoke;
  /** Set where a fallback stands outermost: it knows whether it served, which the bare value no longer shows. */
  #outcome: OutcomeOf | undefined;
  readonly #runtime: Runtime;

  constructor(policies: readonly Policy<unknown>[], runtime: Runtime = systemRuntime) {
    super();
    const stranger = policies.findIndex((policy) => typeof policy?.around !== "function");
    if (stranger >= 0)
      throw new ConfigError(`pipeline takes policies, outermost first; argument ${stranger + 1} is not one.`);
    this.policies = [...policies];
    this.name = policies.map((policy) => policy.kind).join(" > ") || "empty";
    this.#runtime = runtime;
    this.#invoke = this.around(callOperation);
    const [outermost, ...inner] = this.policies;
    this.#outcome = outermost?.outcomeAround?.(link(inner, callOperation));
    const problems = orderProblems(flat(policies));
    if (problems.length > 0) this.#warnAtFirstCall(problems);
  }

  around(next: Invoke): Invoke {
    return link(this.policies, next);
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T | F> {
    const call = callFrom(this.#runtime.clock, options);
    // An empty pipeline is the bare operation, which may return or throw at once.
    if (this.policies.length === 0) return bare(operation, call);
    return this.#invoke(operation, call) as Promise<T | F>;
  }

  override executeOutcome<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<Outcome<T | F>> {
    if (this.#outcome === undefined) return super.executeOutcome(operation, options);
    return this.#outcome(operation, callFrom(this.#runtime.clock, options)) as Promise<Outcome<T | F>>;
  }

  describe(): PolicyDescription {
    return {
      kind: this.kind,
      name: this.name,
      options: {},
      children: this.policies.map((policy) => policy.describe()),
    };
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
 * limit, bulkhead or lock, hedge, attempt timeout, chaos, operation (C3.10). `retry(breaker(f))` shows the breaker
 * each attempt; the other way round it sees one call per series.
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
