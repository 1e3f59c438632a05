import type { Priority } from "./call.ts";
import type { Clock } from "./clock.ts";
import type { BudgetUnit, LimiterWhy, ShedWhy } from "./policy-errors.ts";

/** What an event of a run names. */
interface OfRun {
  runId: string;
  workflowId: string;
}

/** What an event of a node names. */
interface OfNode extends OfRun {
  nodeId: string;
  invocationId: string;
}

/** What an event of a schedule names. Due times are instants of the wall clock, in milliseconds. */
interface OfSchedule {
  scheduleId: string;
}

/** What an event of a policy names. */
interface OfPolicy {
  policy: string;
}

/** What an event of a budget names: amounts are in its unit, and `remaining` is what is left after the event. */
interface OfBudget extends OfPolicy {
  unit: BudgetUnit;
  remaining: number;
}

/** What became of an amount that a budget does not cover. One that was `overspent` had been spent already. */
export type BudgetDecision = "denied" | "degraded" | "queued" | "overspent";

/**
 * Every event of Holdfast with its fields: the one source of logs, metrics and live views. An event that says a
 * thing was done is emitted after that thing is durable.
 */
export interface EventTable {
  "run.started": OfRun;
  "run.resumed": OfRun & { interrupted: number };
  "run.completed": OfRun & { degraded: boolean };
  "run.failed": OfRun & { nodeId: string; error: unknown };
  "run.cancelled": OfRun & { reason: unknown };
  /** The run is taken up again after a while: its store is in trouble, or another engine has it. */
  "run.paused": OfRun & { error: unknown; retryDelayMs: number };
  /** The run did not end: its store failed, its lease was lost or its engine closed. It can be resumed. */
  "run.stopped": OfRun & { error: unknown };
  /** Only time or a signal leads on; `wakeAt` is null where only a signal does. The run keeps no lease meanwhile. */
  "run.waiting": OfRun & { wakeAt: number | null };
  "node.started": OfNode;
  /** It waits until an instant, in wall-clock milliseconds, or for a signal. */
  "node.waiting": OfNode & { wakeAt: number | null; signal: string | null };
  "node.completed": OfNode & { attempts: number; servedBy: string; durationMs: number };
  "node.failed": OfNode & { attempts: number; error: unknown };
  "attempt.started": OfNode & { attempt: number };
  "attempt.failed": OfNode & { attempt: number; error: unknown; retryDelayMs: number };
  /** What it did was undone for a run that is cancelled, or could not be. */
  "node.compensated": OfNode & { error: unknown };
  /** What a node says of how far it has come; nothing of it is stored. */
  "node.progress": OfNode & { report: unknown };
  /** What a node says by `ctx.log`. */
  "node.log": OfNode & {
    level: "debug" | "info" | "warn" | "error";
    message: string;
    fields: Readonly<Record<string, unknown>> | undefined;
  };
  "value.large": OfRun & { nodeId: string; bytes: number };
  "dead_letter.entered": OfNode & { deadLetterId: string };
  "dead_letter.redriven": OfRun & { nodeId: string };
  "dead_letter.settled": OfRun & { nodeId: string; deadLetterId: string; status: "succeeded" };
  "dead_letter.discarded": OfNode & { deadLetterId: string; reason: string };
  /** A round of the automatic redrive was cut short. The next one comes as if it had not been. */
  "dead_letter.round_failed": { error: unknown };
  "lease.lost": { runId: string; token: number };
  "journal.damaged": { runId: string; seq: number; why: string };
  /** Runs were deleted that had ended long enough ago, or beyond the number to be kept. */
  "retention.pruned": { runs: number };
  /** Old runs could not be deleted; the next time comes all the same. */
  "retention.failed": { error: unknown };
  "schedule.started": OfSchedule & { runId: string; workflowId: string; scheduledAt: number };
  /** Due times were passed over; `count` is undefined where there were too many to count. */
  "schedule.missed": OfSchedule & { from: number; to: number; count: number | undefined; why: "late" | "overlap" };
  /** It is tried again after `retryDelayMs`. Where that is undefined, the due time is given up. */
  "schedule.failed": OfSchedule & { scheduledAt: number | undefined; error: unknown; retryDelayMs: number | undefined };
  /** A checkpoint that is passed over; an older one is used. */
  "checkpoint.damaged": { checkpointId: string; version: number; why: string };
  /** A save that `startAutoCheckpoint` has made by itself; the next one is tried all the same. */
  "checkpoint.failed": { checkpointId: string; error: unknown };
  "retry.scheduled": OfPolicy & { attempt: number; delayMs: number; error: unknown };
  "retry.exhausted": OfPolicy & { attempts: number; error: unknown; why: string };
  "retry.budget_rejected": OfPolicy & { budget: string; attempts: number; error: unknown };
  "breaker.changed": OfPolicy & { from: string; to: string };
  /** In a dry run the call went ahead. */
  "breaker.rejected": OfPolicy & { retryAfterMs: number | undefined; dryRun: boolean };
  /** The shared state does not answer: the breaker goes on by itself until `breaker.attached`. */
  "breaker.detached": OfPolicy & { error: unknown };
  "breaker.attached": OfPolicy;
  /** It has opened for its own process; the others that share its state fare well, or are too few that do not. */
  "breaker.alone": OfPolicy & { failures: number };
  timeout: OfPolicy & { timeoutMs: number };
  "attempt.late": OfPolicy & { outcome: "value" | "error"; error?: unknown; lateMs: number };
  fallback: OfPolicy & { error: unknown; served: boolean };
  "budget.reserved": OfBudget & { amount: number };
  "budget.settled": OfBudget & { amount: number; unconfirmed: number };
  "budget.released": OfBudget & { amount: number };
  /** What this process held of a shared budget was not renewed in time, and others may hold it now. */
  "budget.expired": OfBudget & { amount: number };
  /** In a dry run the call went ahead as it was. */
  "budget.exceeded": OfBudget & { amount: number; decision: BudgetDecision; dryRun: boolean };
  /** A call for which a hedge was started has settled. `wonBy` is the attempt that gave its value; 0 where none did. */
  hedge: OfPolicy & { hedges: number; wonBy: number; delayMs: number; errors: readonly unknown[] };
  chaos: OfPolicy & { injected: readonly string[] };
  "pipeline.order": OfPolicy & { outer: string; inner: string; why: string };
  /** `queued` calls wait now, this one included. In a dry run, that many would. */
  "bulkhead.queued": OfPolicy & { queued: number; dryRun: boolean };
  /** `waitMs` is 0 where the queue was full. In a dry run the call went ahead. */
  "bulkhead.rejected": OfPolicy & { waitMs: number; dryRun: boolean };
  /** It has grown after a round in which it was used up, or shrunk after a sign of overload. */
  "adaptive.limit_changed": OfPolicy & { from: number; to: number };
  /** `queued` calls wait now, this one included. In a dry run, that many would. */
  "adaptive.queued": OfPolicy & { priority: Priority; queued: number; dryRun: boolean };
  /** In a dry run the call went ahead. */
  "adaptive.rejected": OfPolicy & { priority: Priority; why: ShedWhy; waitMs: number; dryRun: boolean };
  "lock.contended": OfPolicy & { waitMs: number; holders: readonly string[] };
  "lock.timed_out": OfPolicy & { waitMs: number; holders: readonly string[] };
  /** A permit of a shared lock was not renewed in time. Somebody else may hold the lock while its holder goes on. */
  "lock.lost": OfPolicy & { holder: string; token: number; error: unknown };
  /** A call has been let through that had to wait. In a dry run it would have had to, and went ahead. */
  "limiter.waited": OfPolicy & { waitMs: number; dryRun: boolean };
  /** In a dry run the call went ahead. */
  "limiter.rejected": OfPolicy & { why: LimiterWhy; retryAfterMs: number | undefined; dryRun: boolean };
  /** The shared state does not answer: the limiter goes on by itself until `limiter.attached`. */
  "limiter.detached": OfPolicy & { error: unknown };
  "limiter.attached": OfPolicy;
  /** A server has said in its headers how much it has left, or to wait. */
  "limiter.upstream": OfPolicy & { remaining: Readonly<Record<string, number>>; retryAfterMs: number | undefined };
  /** Told to a reader of `engine.events()` alone, who was too slow for so many. */
  "events.dropped": { count: number };
  "listener.failed": { listening: string; error: unknown };
}

export type EventType = keyof EventTable;

/** One event: its `type`, the wall-clock instant `at` in milliseconds, a number that rises by one, and its fields. */
export type HoldfastEvent = { [K in EventType]: { type: K; at: number; seq: number } & EventTable[K] }[EventType];

export type EventListener = (event: HoldfastEvent) => void;

type Emit = <K extends EventType>(type: K, fields: EventTable[K]) => void;

/**
 * Where events go. `emit` is null while nobody listens, so that `events.emit?.(…)` builds no event and costs a
 * null check. A listener that throws is reported once as `listener.failed` and never reaches the call path (C0.6).
 */
export class Events {
  emit: Emit | null = null;
  readonly #clock: Clock;
  readonly #listeners = new Set<EventListener>();
  readonly #reported = new WeakSet<EventListener>();
  #seq = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `listener` with each event from now on; the returned function ends that. */
  on(listener: EventListener): () => void {
    this.#listeners.add(listener);
    this.emit = this.#deliver;
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.emit = null;
    };
  }

  readonly #deliver: Emit = (type, fields) => {
    const event = { type, at: this.#clock.wallNow(), seq: ++this.#seq, ...fields } as unknown as HoldfastEvent;
    for (const listener of this.#listeners) {
      guarded(listener, [event], (error) => {
        if (this.#reported.has(listener)) return;
        this.#reported.add(listener);
        this.#deliver("listener.failed", { listening: type, error });
      });
    }
  };
}

/** Runs a user's hook. What it throws becomes a `listener.failed` event and goes no further (C0.6). */
export function callHook<A extends unknown[]>(
  events: Events,
  name: string,
  hook: ((...args: A) => unknown) | undefined,
  ...args: A
): void {
  if (hook === undefined) return;
  guarded(hook, args, (error) => events.emit?.("listener.failed", { listening: name, error }));
}

/** Calls a function of a user's, which may be async although its type says that nobody waits for it. */
function guarded<A extends unknown[]>(fn: (...args: A) => unknown, args: A, failed: (error: unknown) => void): void {
  try {
    const result = fn(...args);
    if (result instanceof Promise) result.catch(failed);
  } catch (error) {
    failed(error);
  }
}
