import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import { ConfigError } from "../core/errors.ts";
import {
  aBoolean,
  aFunction,
  anId,
  checkOptions,
  durationMs,
  numberBetween,
  plainOptions,
  type Rule,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import { callOperation, type Invoke, type Operation, PolicyBase, type PolicyDescription } from "../core/policy.ts";
import { type Random, seededRandom } from "../core/random.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";

/** What is done to a call, in this order. */
export interface ChaosEffect {
  /** The call waits this long first. An abort ends the wait. */
  latencyMs?: number | undefined;
  /** Kills the process: `() => process.kill(process.pid, "SIGKILL")`. Where it comes back, the call goes on. */
  kill?: (() => void) | undefined;
  /** Makes the error that is thrown. The operation is not called. */
  fault?: (() => unknown) | undefined;
  /**
   * Makes a wrong result of the right one. The operation has been called: where this function throws, its work was done
   * and its answer is lost.
   */
  result?: ((value: unknown) => unknown) | undefined;
}

/** What is done to calls, and to which of them. */
export interface ChaosInjection extends ChaosEffect {
  /** The share of calls that it befalls, from 0 to 1. @default 1 */
  rate?: number | undefined;
  /** It befalls no more calls than this. @default Infinity */
  count?: number | undefined;
}

export interface ChaosOptions {
  /** Names the policy in events. @default "chaos" */
  name?: string | undefined;
  /** Nothing is injected unless this is `true`. @default false */
  enabled?: boolean | undefined;
  /** The same seed draws the same calls. @default 1 */
  seed?: number | undefined;
  /** What is injected by rate or count. Each is drawn on its own, and several may befall one call. */
  inject?: readonly ChaosInjection[] | undefined;
  /** Instead of `inject`: what befalls the first call, the second, and so on. `null`, and the end, leave calls alone. */
  plan?: readonly (ChaosEffect | null)[] | undefined;
}

const aList: Rule = { says: "an array", allows: Array.isArray };

const RULES: Rules<ChaosOptions> = {
  name: anId,
  enabled: aBoolean,
  seed: wholeNumber(0),
  inject: aList,
  plan: aList,
};

const EFFECT_RULES: Rules<ChaosEffect> = {
  latencyMs: durationMs,
  kill: aFunction,
  fault: aFunction,
  result: aFunction,
};

const INJECTION_RULES: Rules<ChaosInjection> = {
  ...EFFECT_RULES,
  rate: numberBetween(0, 1),
  count: wholeNumber(0, true),
};

/**
 * Makes calls fail, wait, give wrong results or kill their process, to see whether what stands around them copes. It
 * is the innermost policy of a pipeline, does nothing unless `enabled: true` is written out, and with one seed it does
 * the same each time: draws are made in the order in which calls begin.
 *
 * @example
 * ```ts
 * import { Chaos, pipeline, RetryPolicy } from "holdfast/policies";
 *
 * const chaos = new Chaos({ enabled: true, inject: [{ count: 2, fault: () => new Error("503 overloaded") }] });
 * const guarded = pipeline(new RetryPolicy({ maxAttempts: 3, initialDelayMs: 1 }), chaos);
 * console.log(await guarded.execute(({ attempt }) => `attempt ${attempt}`)); // => "attempt 3"
 * ```
 */
export class Chaos extends PolicyBase {
  readonly kind = "chaos";
  readonly name: string;
  readonly #options: ChaosOptions & { enabled: boolean; seed: number };
  readonly #turns: Turns;
  readonly #runtime: Runtime;

  constructor(options: ChaosOptions = {}, runtime: Runtime = systemRuntime) {
    super();
    const { name = "chaos", enabled = false, seed = 1, ...what } = checkOptions("chaos", options, RULES);
    if (what.inject !== undefined && what.plan !== undefined)
      throw new ConfigError("chaos takes inject or plan, not both: a plan says for each call what befalls it.");
    this.name = name;
    this.#options = { enabled, seed, ...what };
    this.#turns = what.plan === undefined ? byChance(what.inject ?? [], seededRandom(seed)) : byPlan(what.plan);
    this.#runtime = runtime;
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    return this.#run(callOperation, operation, callFrom(this.#runtime.clock, options)) as Promise<T>;
  }

  /** Where it is not enabled it is not there: a pipeline calls what is inside straight away. */
  around(next: Invoke): Invoke {
    return this.#options.enabled ? (operation, call) => this.#run(next, operation, call) : next;
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: plainOptions(this.#options) };
  }

  async #run(next: Invoke, operation: Operation<unknown>, call: Call): Promise<unknown> {
    if (call.aborted) throw call.reason;
    if (!this.#options.enabled) return next(operation, call);
    const effects = this.#turns();
    if (effects.length === 0) return next(operation, call);
    this.#runtime.events.emit?.("chaos", { policy: this.name, injected: effects.flatMap(Object.keys) });
    let latencyMs = 0;
    for (const effect of effects) latencyMs += effect.latencyMs ?? 0;
    if (latencyMs > 0) await this.#runtime.clock.sleep(latencyMs, call.waitSignal);
    for (const { kill } of effects) kill?.();
    for (const { fault } of effects) if (fault !== undefined) throw fault();
    let value = await next(operation, call);
    for (const { result } of effects) if (result !== undefined) value = await result(value);
    return value;
  }
}

/** Gives what befalls the next call. */
type Turns = () => readonly ChaosEffect[];

const NOTHING: readonly ChaosEffect[] = [];

function byPlan(plan: readonly (ChaosEffect | null)[]): Turns {
  const turns = plan.map((effect, index) =>
    effect === null ? NOTHING : [checkOptions(`chaos.plan[${index}]`, effect, EFFECT_RULES)],
  );
  let calls = 0;
  return () => turns[calls++] ?? NOTHING;
}

function byChance(injections: readonly ChaosInjection[], random: Random): Turns {
  const drawn = injections.map((injection, index) => {
    const owner = `chaos.inject[${index}]`;
    const { rate, count, ...effect } = checkOptions(owner, injection, INJECTION_RULES);
    if (rate === undefined && count === undefined)
      throw new ConfigError(`${owner} needs rate or count, which say how many calls it befalls.`);
    return { effect, rate: rate ?? 1, left: count ?? Infinity };
  });
  return () => {
    const effects: ChaosEffect[] = [];
    for (const injection of drawn) {
      // Drawn also when none is left, so that a count changes nothing for the others.
      if (random() >= injection.rate || injection.left === 0) continue;
      injection.left--;
      effects.push(injection.effect);
    }
    return effects;
  };
}
