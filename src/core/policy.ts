import type { Call, CallOptions } from "./call.ts";
import { fieldOf, isRefusal } from "./errors.ts";

/** What a policy wraps: it gets the call with its `signal`, `attempt` and `deadline`. May be synchronous. */
export type Operation<T> = (call: Call) => T | PromiseLike<T>;

/** A call on its way inward: the next policy, or at last the operation. */
export type Invoke = (operation: Operation<unknown>, call: Call) => unknown;

/** Like `Invoke`, for whoever asks for the outcome. */
export type InvokeOutcome = (operation: Operation<unknown>, call: Call) => Promise<Outcome<unknown>>;

/** What came of a call, as a value. `refused` means that the operation was not called. */
export type Outcome<T> = Served<T> | Failed;

export interface Served<T> {
  readonly ok: true;
  readonly value: T;
  /** Set when a fallback gave the value; `error` is then why. */
  readonly fallbackUsed?: true;
  readonly error?: unknown;
}

export interface Failed {
  readonly ok: false;
  readonly refused: boolean;
  readonly error: unknown;
  readonly retryAfterMs?: number | undefined;
}

/** A policy as plain data: for tests, the command line and a dashboard (C3.12). */
export interface PolicyDescription {
  kind: string;
  name: string;
  options: Record<string, unknown>;
  children?: PolicyDescription[];
}

/** What `Guard.enter` gives instead of a permit. */
export const REFUSED = -1;

/**
 * The part of a policy that only admits a call and looks at what came of it, like a circuit breaker. A timeout that
 * stands right inside takes the guard into its own frame: one promise for both instead of one each.
 */
export interface Guard {
  /** A permit for one call, or `REFUSED`. */
  enter(): number;
  /** The refusal, as a rejected promise. */
  refuse(call: Call): Promise<unknown>;
  returned(value: unknown, permit: number, startedAt: number): void;
  failedWith(error: unknown, permit: number, startedAt: number, call: Call): void;
}

/**
 * A policy that is no more than slots to hold, like a bulkhead. A timeout right inside, with nothing but the operation
 * in it, knows when that has really settled, and so can hold the slot itself.
 */
export interface Holdable {
  /** Takes a slot where one is free; otherwise the call goes through the policy itself, to wait or be refused. */
  tryTake(): boolean;
  give(): void;
}

/** Something that wraps a call. `F` is what it may return in place of the operation's own result. */
export interface Policy<F = never> {
  readonly kind: string;
  readonly name: string;
  /** Exists for inference only: what may stand in for the operation's own result. */
  readonly signature?: F;
  /** Calls the operation under this policy; gives its value or throws. */
  execute<T>(operation: Operation<T>, call?: CallOptions | Call): Promise<T | F>;
  /** Like `execute`, but never rejects: the result, the failure or the refusal is a value (C10.1). */
  executeOutcome<T>(operation: Operation<T>, call?: CallOptions | Call): Promise<Outcome<T | F>>;
  /** The function under this policy, with its name and `this`. */
  wrap<This, A extends unknown[], R>(
    fn: (this: This, ...args: A) => R,
  ): (this: This, ...args: A) => Promise<Awaited<R> | F>;
  /** This policy around `next`. A pipeline links its policies with it once, when it is built. */
  around(next: Invoke): Invoke;
  /** @internal This policy as a guard, where it is no more than that. */
  readonly guard?: Guard | undefined;
  /** @internal This policy as slots to hold, where it is no more than that. */
  readonly slots?: Holdable | undefined;
  /** @internal Like `around`, with what stands right outside taken in: a guard, and inside of it a policy with slots. */
  aroundWith?(next: Invoke, guard: Guard | null, holder: Policy<unknown> | null): Invoke;
  /** @internal Like `around`, for a policy that refuses calls: its refusal is a value whose error is built when read. */
  outcomeAround?(next: Invoke): InvokeOutcome | undefined;
  /** This policy as plain data. */
  describe(): PolicyDescription;
}

/** The innermost step: the operation itself. */
export const callOperation: Invoke = (operation, call) => operation(call);

/** What every policy does alike, in terms of `execute`. */
export abstract class PolicyBase<F = never> implements Policy<F> {
  abstract readonly kind: string;
  abstract readonly name: string;
  declare readonly signature?: F;
  abstract execute<T>(operation: Operation<T>, call?: CallOptions | Call): Promise<T | F>;
  abstract around(next: Invoke): Invoke;
  abstract describe(): PolicyDescription;

  async executeOutcome<T>(operation: Operation<T>, call?: CallOptions | Call): Promise<Outcome<T | F>> {
    let called = false;
    try {
      const value = await this.execute<T>((inner) => {
        called = true;
        return operation(inner);
      }, call);
      return { ok: true, value };
    } catch (error) {
      return failed(error, !called && isRefusal(error));
    }
  }

  wrap<This, A extends unknown[], R>(
    fn: (this: This, ...args: A) => R,
  ): (this: This, ...args: A) => Promise<Awaited<R> | F> {
    // `this` is two things here: the policy, and whatever the wrapped function is called on.
    const policy = this;
    const wrapped = function (this: This, ...args: A): Promise<Awaited<R> | F> {
      return policy.execute<Awaited<R>>(() => fn.apply(this, args) as Awaited<R>);
    };
    return Object.defineProperty(wrapped, "name", { value: fn.name, configurable: true });
  }

  toString(): string {
    return `${this.kind} "${this.name}"`;
  }

  static {
    // How Node prints an object in a debugger and in console.log.
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value(this: PolicyBase<unknown>) {
        return this.describe();
      },
    });
  }
}

/** The outcome of a failure. */
export function failed(error: unknown, refused: boolean): Failed {
  const retryAfterMs = fieldOf(error, "retryAfterMs");
  return typeof retryAfterMs === "number" ? { ok: false, refused, error, retryAfterMs } : { ok: false, refused, error };
}

/** The outcome of a refusal. The error is built when it is read: most callers only look at `ok`. */
export function refusal(error: () => unknown): Failed {
  return Object.freeze({
    ok: false,
    refused: true,
    get error() {
      return error();
    },
  });
}

/** The value of an outcome, or its error thrown. */
export function valueOf<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  throw outcome.error;
}
