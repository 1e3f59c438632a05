import { followAbort, unfollowAbort } from "./aborts.ts";
import type { Clock } from "./clock.ts";
import { TimeoutError } from "./errors.ts";

/** How important a call is, the most important first. */
export type Priority = "critical" | "high" | "normal" | "low";

/** What a caller may say about one call of a policy. */
export interface CallOptions {
  /** Cancels the call: waits end at once, the operation's own signal aborts, no further attempt starts. */
  signal?: AbortSignal | undefined;
  /** What the call takes from rate limiters, where that is not what they assume: `{ tokens: 1200 }`. */
  cost?: CallCost | undefined;
  /** Time left for the whole call in milliseconds: no attempt and no wait starts that cannot end before it. */
  deadlineMs?: number | undefined;
  /** Whose call this is, such as a tenant or a user: for policies that share out between them, or name them. */
  key?: string | undefined;
  /** How important the call is, for policies that shed the least important first. @default "normal" */
  priority?: Priority | undefined;
  /** Attempts already made on this call in an earlier life, for a caller that remembers them. @default 0 */
  priorAttempts?: number | undefined;
  /** Called with what a budget right around the operation charges for it, in the unit of its limit. */
  onSpent?: ((amount: number) => void) | undefined;
  /** Called before each wait of the outermost retry, for a caller that keeps a record of it. */
  onRetry?: ((retry: RetryInfo) => void) | undefined;
}

/** What a call takes from rate limiters. */
export interface CallCost {
  requests?: number | undefined;
  tokens?: number | undefined;
}

/** What a retry knows when it has decided to try again. */
export interface RetryInfo {
  /** The try that failed, from 1. */
  attempt: number;
  error: unknown;
  delayMs: number;
  /** The error was a refusal: the operation was not called. */
  refused: boolean;
}

/**
 * One call on its way inward through policies to the operation, and what the operation gets to see. The
 * `AbortController` behind `signal` is made when somebody reads it: most operations never do, and making one costs
 * more than all the policies together.
 */
export class Call {
  /** Which attempt of the innermost retry this is, from 1. */
  readonly attempt: number;
  /** The instant by which the call must have settled, on the monotonic clock; `Infinity` where there is none. */
  readonly deadline: number;
  /** @internal What the caller said, for the outermost retry only. */
  readonly options: CallOptions | null;
  /** @internal The call that this one is part of. */
  readonly parent: Call | null;
  readonly #scoped: boolean;
  #signal: AbortSignal | null;
  #controller: AbortController | null = null;
  #ended = false;
  #aborted = false;
  #reason: unknown;

  constructor(
    parent: Call | null,
    attempt: number,
    deadline: number,
    scoped: boolean,
    signal: AbortSignal | null,
    options: CallOptions | null,
  ) {
    this.parent = parent;
    this.attempt = attempt;
    this.deadline = deadline;
    this.#scoped = scoped;
    this.#signal = signal;
    this.options = options;
  }

  /** Aborts when the caller cancels, a timeout passes or a race is lost. */
  get signal(): AbortSignal {
    if (this.#signal !== null) return this.#signal;
    if (this.#scoped) return this.#makeSignal();
    // The root call is shared by everyone, so it must not keep a signal that listeners would pile up on.
    return this.parent === null ? new AbortController().signal : this.parent.signal;
  }

  /** Whether the call has been cancelled. Does not make a signal. */
  get aborted(): boolean {
    return this.#aborted || (this.#signal?.aborted ?? this.parent?.aborted ?? false);
  }

  /** Whether a budget lets the call through for a cheaper target only: a smaller model, a shorter answer. */
  get degraded(): boolean {
    return this.parent?.degraded ?? false;
  }

  /** Why the call was cancelled. */
  get reason(): unknown {
    if (this.#aborted) return this.#reason;
    return this.#signal === null ? this.parent?.reason : this.#signal.reason;
  }

  /** Whose call this is, where the caller has said it. */
  get key(): string | undefined {
    return this.options?.key ?? this.parent?.key;
  }

  /** How important the call is, where the caller has said it. */
  get priority(): Priority | undefined {
    return this.options?.priority ?? this.parent?.priority;
  }

  /** Whether anything but an own timeout could ever cancel this call. */
  get #abortable(): boolean {
    return this.#signal !== null || this.#scoped || (this.parent !== null && this.parent.#abortable);
  }

  /** What the call takes from rate limiters, where the caller has said it. */
  get cost(): CallCost | undefined {
    return this.options?.cost ?? this.parent?.cost;
  }

  /** @internal The signal where one could abort, for waits that listen to it. */
  get waitSignal(): AbortSignal | undefined {
    return this.#abortable ? this.signal : undefined;
  }

  /** @internal A fallback has given `value` in place of the operation, because of `error`. */
  noteFallback(value: unknown, error: unknown): void {
    this.parent?.noteFallback(value, error);
  }

  /** @internal The same call, seen as attempt `attempt` of a retry. */
  forAttempt(attempt: number): Call {
    return new Call(this, attempt, this.deadline, false, null, null);
  }

  /** @internal A part of this call that may be aborted on its own. */
  scope(deadline: number): Call {
    return new Call(this, this.attempt, Math.min(deadline, this.deadline), true, null, this.options);
  }

  /** @internal Aborts a scope. */
  abort(reason: unknown): void {
    this.#aborted = true;
    this.#reason = reason;
    this.#controller?.abort(reason);
    this.end();
  }

  /** @internal A scope is over: it follows its parent no longer. */
  end(): void {
    this.#ended = true;
    if (this.#controller !== null) unfollowAbort(this.parent!.waitSignal, this.#follow);
  }

  // Only a scope has a controller, and a scope always has a parent.
  #makeSignal(): AbortSignal {
    const controller = new AbortController();
    this.#controller = controller;
    this.#signal = controller.signal;
    if (this.#aborted) controller.abort(this.#reason);
    else if (!this.#ended && this.parent!.aborted) controller.abort(this.parent!.reason);
    else if (!this.#ended) followAbort(this.parent!.waitSignal, this.#follow);
    return this.#signal;
  }

  // An arrow would be a closure for each call; a getter that binds is one only for those that follow a parent.
  #following: (() => void) | null = null;
  get #follow(): () => void {
    return (this.#following ??= () => this.#controller!.abort(this.parent!.reason));
  }
}

/** The call of a caller who said nothing. */
export const ROOT: Call = new Call(null, 1, Infinity, false, null, null);

/** The call that some options describe. A `Call` passes as it is, which is how one policy hands on to the next. */
export function callFrom(clock: Clock, options: CallOptions | Call | undefined): Call {
  if (options === undefined) return ROOT;
  if (options instanceof Call) return options;
  const { deadlineMs = Infinity, signal = null } = options;
  const inTime = deadlineMs > 0;
  const deadline = clock.now() + (inTime ? deadlineMs : 0);
  const ownSignal = inTime ? signal : AbortSignal.abort(new TimeoutError("the call", deadlineMs));
  return new Call(null, 1, deadline, false, ownSignal, options);
}
