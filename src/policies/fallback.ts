import { promiseMistake } from "../core/at-once.ts";
import { type Call, type CallOptions, callFrom } from "../core/call.ts";
import { codeOf, ConfigError, FallbackFailedError, isRefusal, type RetryExhaustedError } from "../core/errors.ts";
import { callHook } from "../core/events.ts";
import { aFunction, anId, anything, checkOptions, type Rules } from "../core/options.ts";
import {
  callOperation,
  failed,
  type Invoke,
  type Operation,
  type Outcome,
  PolicyBase,
  type PolicyDescription,
  type Served,
  valueOf,
} from "../core/policy.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";

/** What a fallback function gets to know. */
export interface FallbackInfo {
  /** Why the operation failed. */
  error: unknown;
  /** How many calls of the operation were made. */
  attempts: number;
  /** The name of the policy that falls back. */
  name: string;
  signal: AbortSignal;
}

/** A value, a function, or an ordered chain of these: the first that does not fail serves. */
export type FallbackSource = FallbackLink | readonly FallbackLink[];
type FallbackLink =
  ((info: FallbackInfo) => unknown) | string | number | boolean | bigint | symbol | object | null | undefined;

/** What a source may serve. */
export type FallbackValue<S> = S extends readonly (infer Link)[] ? LinkValue<Link> : LinkValue<S>;
type LinkValue<L> = L extends (...args: never[]) => infer R ? Awaited<R> : L;

export interface FallbackOptions<S extends FallbackSource> {
  /** Names the policy in events and errors. @default "fallback" */
  name?: string | undefined;
  /** What serves when the operation fails. A function is always called: to serve a function, return it from one. */
  fallback: S;
  /** Called when a fallback serves. */
  onFallback?: ((info: { error: unknown }) => void) | undefined;
}

const RULES: Rules<FallbackOptions<FallbackSource>> = { name: anId, fallback: anything, onFallback: aFunction };

/**
 * Serves something else when the operation fails: a value, the result of a function, or the first of a chain that
 * works. Stands outermost. A caller's abort is no failure and passes through. When the chain fails too, it throws
 * `FallbackFailedError` with the primary error as `cause`; `executeOutcome` says `fallbackUsed` and keeps the error.
 *
 * @example
 * ```ts
 * import { Fallback } from "holdfast/policies";
 *
 * const cached = new Fallback({ fallback: [() => { throw new Error("cache is empty"); }, "sunny"] });
 * const weather = await cached.execute((): string => { throw new Error("service is down"); });
 * console.log(weather); // => "sunny"
 * ```
 */
export class Fallback<const S extends FallbackSource> extends PolicyBase<FallbackValue<S>> {
  readonly kind = "fallback";
  readonly name: string;
  readonly #options: FallbackOptions<S>;
  readonly #runtime: Runtime;

  constructor(options: FallbackOptions<S>, runtime: Runtime = systemRuntime) {
    super();
    this.#options = checkOptions<FallbackOptions<FallbackSource>>("fallback", options, RULES) as FallbackOptions<S>;
    // It may be undefined, and serves that. Left out altogether it is a mistake.
    if (!Object.hasOwn(options, "fallback"))
      throw new ConfigError("fallback.fallback is missing: say what serves when the operation fails.");
    this.name = this.#options.name ?? "fallback";
    this.#runtime = runtime;
  }

  async execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T | FallbackValue<S>> {
    return valueOf(await this.executeOutcome(operation, options));
  }

  override async executeOutcome<T>(
    operation: Operation<T>,
    options?: CallOptions | Call,
  ): Promise<Outcome<T | FallbackValue<S>>> {
    return (await this.#run(callOperation, operation, callFrom(this.#runtime.clock, options))) as Outcome<
      T | FallbackValue<S>
    >;
  }

  /** Like `execute`, for a function and a fallback that give their results at once. */
  executeSync<T>(fn: () => T): T | FallbackValue<S> {
    let value: T;
    try {
      value = fn();
    } catch (error) {
      return this.#serveAtOnce(error);
    }
    const mistake = promiseMistake(value, `The function of fallback "${this.name}"`);
    if (mistake !== null) throw mistake;
    return value;
  }

  around(next: Invoke): Invoke {
    return async (operation, call) => valueOf(await this.#run(next, operation, call));
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: { fallback: describeSource(this.#options.fallback) } };
  }

  async #run(next: Invoke, operation: Operation<unknown>, call: Call): Promise<Outcome<unknown>> {
    if (call.aborted) return failed(call.reason, false);
    let error: unknown;
    try {
      return { ok: true, value: await next(operation, call) };
    } catch (thrown) {
      error = thrown;
    }
    if (call.aborted) return failed(error, false);
    const outcome = await serveFallback(this.#options.fallback, this.name, error, call);
    this.#report(error, outcome.ok);
    return outcome;
  }

  #serveAtOnce(error: unknown): FallbackValue<S> {
    let served = false;
    try {
      const call = callFrom(this.#runtime.clock, undefined);
      const value = serveAtOnce(this.#options.fallback, this.name, error, call);
      served = true;
      return value as FallbackValue<S>;
    } finally {
      this.#report(error, served);
    }
  }

  #report(error: unknown, served: boolean): void {
    this.#runtime.events.emit?.("fallback", { policy: this.name, error, served });
    if (served) callHook(this.#runtime.events, "onFallback", this.#options.onFallback, { error });
  }
}

/** The first link of a chain that does not fail, as an outcome that keeps the primary error. An abort ends the chain. */
export async function serveFallback(
  source: FallbackSource,
  name: string,
  error: unknown,
  call: Call,
): Promise<Outcome<unknown>> {
  const errors: unknown[] = [];
  for (const link of linksOf(source)) {
    try {
      const value: unknown = typeof link === "function" ? await link(infoFor(name, error, call)) : link;
      call.noteFallback(value, error);
      const served: Served<unknown> = { ok: true, value, fallbackUsed: true, error };
      return served;
    } catch (thrown) {
      // What a link throws that was told to stop is how the call ends, as it is with the operation itself.
      if (call.aborted) return failed(thrown, false);
      errors.push(thrown);
    }
  }
  return failed(new FallbackFailedError(name, error, errors), false);
}

/** The same for a caller that cannot wait: gives the value or throws. A link that gives a promise is a `ConfigError`. */
export function serveAtOnce(source: FallbackSource, name: string, error: unknown, call: Call): unknown {
  const errors: unknown[] = [];
  for (const link of linksOf(source)) {
    let value: unknown;
    try {
      value = typeof link === "function" ? link(infoFor(name, error, call)) : link;
    } catch (thrown) {
      errors.push(thrown);
      continue;
    }
    const mistake = promiseMistake(value, `The fallback of "${name}"`);
    if (mistake !== null) throw mistake;
    return value;
  }
  throw new FallbackFailedError(name, error, errors);
}

function linksOf(source: FallbackSource): readonly FallbackLink[] {
  return Array.isArray(source) ? (source as readonly FallbackLink[]) : [source as FallbackLink];
}

function infoFor(name: string, error: unknown, call: Call): FallbackInfo {
  return { error, attempts: attemptsBehind(error), name, signal: call.signal };
}

/** How many calls an error stands for. Only an exhausted retry knows; a refusal is none. */
function attemptsBehind(error: unknown): number {
  if (codeOf(error) === "RETRY_EXHAUSTED") return (error as RetryExhaustedError).attempts;
  return isRefusal(error) ? 0 : 1;
}

function describeSource(source: FallbackSource): unknown {
  if (Array.isArray(source)) return source.map(describeSource);
  return typeof source === "function" ? `function ${source.name || "(anonymous)"}` : typeof source;
}
