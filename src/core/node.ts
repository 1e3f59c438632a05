import type { SqlTransaction } from "./store.ts";

/** What a node function gets beside its input. */
export interface NodeContext {
  readonly runId: string;
  readonly workflowId: string;
  readonly nodeId: string;
  readonly invocationId: string;
  /** Which call of this invocation this is, from 1; those of an earlier life count. */
  readonly attempt: number;
  /** Aborts when the run is cancelled or stopped, and when the attempt's time is up. */
  readonly signal: AbortSignal;
  /** By when the attempt must have settled, on the monotonic clock; `Infinity` without a timeout. */
  readonly deadline: number;
  /**
   * Names this invocation to the outside world: equal across attempts, restarts, takeovers and redrives, different
   * across runs and nodes. Give it to whatever must not happen twice. 64 hexadecimal characters.
   */
  readonly idempotencyKey: string;
  /** Rises with each executor of the run: lets an outside resource refuse a stalled former one. */
  readonly fencingToken: number;
  /**
   * Does something once for this invocation: `fn` is called, and what it gives is stored before `step` resolves to it;
   * later attempts, lives and redrives get what was stored. Names are unique within an invocation.
   */
  step<T>(name: string, fn: (step: StepContext) => T | PromiseLike<T>): Promise<T>;
  /**
   * A step that is SQL on the database of the store: it runs in the transaction that stores what it gives, so that both
   * happen, exactly once, or neither. `work` returns its value at once and awaits nothing; it may be called again after
   * all that it did was undone. Throws `ConfigError` on a store that is no SQL database. @default name "transaction"
   */
  transaction<T>(work: (sql: SqlTransaction) => T, name?: string): Promise<T>;
  /** What this node may still spend in this run, by `configureBudget`; without that it only counts. */
  readonly budget: NodeBudget;
  /** Whether its budget does not cover the usual call, and a cheaper one is to be made. */
  readonly degraded: boolean;
  /** Says something about this invocation, as the event `node.log`. Nothing of it is stored. */
  readonly log: NodeLog;
  /** Ends the node: `return ctx.handoff(id, message)` makes `message` the input of that node, and no edge is taken. */
  handoff(nodeId: string, message: unknown): Handoff;
  /** Reports how far the node has come, as the event `node.progress`. Nothing of it is stored. */
  progress(report: unknown): void;
}

/** The budget of a node in one run. Amounts are in the unit of its limit; without a limit they are US dollars. */
export interface NodeBudget {
  /** Counts what has been spent, also where it is more than there was. */
  charge(amount: number): void;
  /** Holds an amount until it is settled with what was really spent, or released. Throws `BudgetExceededError`. */
  reserve(amount: number): { settle(actual: number): void; release(): void };
  readonly remaining: number;
}

/** Says things as events, at four levels. */
export type NodeLog = Readonly<
  Record<"debug" | "info" | "warn" | "error", (message: string, fields?: Readonly<Record<string, unknown>>) => void>
>;

/** What the function of a step gets. */
export interface StepContext {
  /** Like that of the node, and different for each step. */
  readonly idempotencyKey: string;
}

/** What a node returns that leaves the choice of its successor to itself. Made by `ctx.handoff`. */
export class Handoff {
  readonly to: string;
  readonly message: unknown;

  /** @internal */
  constructor(to: string, message: unknown) {
    this.to = to;
    this.message = message;
  }
}

/** A step of a workflow: gets its mapped input and the context. */
export type NodeFunction<In = never, Out = unknown> = (input: In, context: NodeContext) => Out | PromiseLike<Out>;
