import { createHash } from "node:crypto";
import { promiseMistake } from "../core/at-once.ts";
import type { Call } from "../core/call.ts";
import { ConfigError } from "../core/errors.ts";
import { Handoff, type NodeBudget, type NodeContext, type NodeLog, type StepContext } from "../core/node.ts";
import { checkId } from "../core/options.ts";
import type { SqlTransaction } from "../core/store.ts";
import { type InvocationId, invocationKey } from "../workflow/invocation-id.ts";
import type { StepCompleted } from "../workflow/run-state.ts";
import { nodeBudget } from "./node-budget.ts";
import type { ActiveRun } from "./run.ts";

/**
 * The idempotency key of a node visit: a hash of run, node and iteration, not of the attempt nor of who serves, so that
 * it is the same after a retry, a crash, a takeover and a redrive (C6.1). A step has one of its own.
 */
export function idempotencyKey(runId: string, { node, iteration }: InvocationId, ...step: string[]): string {
  return createHash("sha256")
    .update(JSON.stringify([runId, node, iteration, ...step]))
    .digest("hex");
}

/** What the function of a node gets to see and to do, for one attempt. */
export class InvocationContext implements NodeContext {
  readonly #run: ActiveRun;
  readonly #id: InvocationId;
  readonly #call: Call;
  readonly attempt: number;
  readonly #stepped = new Set<string>();

  /** Whether it is that of a compensation, which is no part of the invocation and has another key. */
  readonly #undoes: boolean;

  readonly #onSpent: (amount: number) => void;

  constructor(
    run: ActiveRun,
    id: InvocationId,
    attempt: number,
    call: Call,
    { undoes = false, onSpent = () => {} }: { undoes?: boolean; onSpent?: (amount: number) => void } = {},
  ) {
    this.#run = run;
    this.#id = id;
    this.attempt = attempt;
    this.#call = call;
    this.#undoes = undoes;
    this.#onSpent = onSpent;
  }

  get runId(): string {
    return this.#run.runId;
  }

  get workflowId(): string {
    return this.#run.plan.definition.id;
  }

  get nodeId(): string {
    return this.#id.backup ?? this.#id.node;
  }

  get invocationId(): string {
    return invocationKey(this.#id);
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get deadline(): number {
    return this.#call.deadline;
  }

  get idempotencyKey(): string {
    return idempotencyKey(this.#run.runId, this.#id, ...(this.#undoes ? ["compensate"] : []));
  }

  get fencingToken(): number {
    return this.#run.journal.token;
  }

  async step<T>(name: string, fn: (step: StepContext) => T | PromiseLike<T>): Promise<T> {
    const stored = this.#begun(name);
    const { journal, settings } = this.#run;
    if (stored !== undefined) return settings.codec.decode(stored) as T;
    this.#call.signal.throwIfAborted();
    const value = await fn({ idempotencyKey: idempotencyKey(this.runId, this.#id, "step", name) });
    const done = this.#completed(name, value);
    // An attempt whose time is up, or whose run has stopped, must not write any more.
    this.#call.signal.throwIfAborted();
    await journal.record(done);
    return settings.codec.decode(done.output) as T;
  }

  async transaction<T>(work: (sql: SqlTransaction) => T, name: string = "transaction"): Promise<T> {
    let output = this.#begun(name);
    const { journal, settings } = this.#run;
    if (output === undefined) {
      this.#call.signal.throwIfAborted();
      await journal.transact((sql) => {
        this.#call.signal.throwIfAborted();
        const value = work(sql);
        const why = "a transaction cannot wait for it. Do what takes time before it, and only run SQL in it.";
        const mistake = promiseMistake(value, "The function of a transaction", why);
        if (mistake !== null) throw mistake;
        const done = this.#completed(name, value);
        output = done.output;
        return done;
      });
    }
    return settings.codec.decode(output!) as T;
  }

  /** Checks the name of a step that begins; gives what it has stored. */
  #begun(name: string): string | undefined {
    checkId("the name of a step", name);
    if (this.#undoes)
      throw new ConfigError(
        `The compensation of node "${this.nodeId}" has no steps: it is done again whole. Give ctx.idempotencyKey to whatever must not happen twice.`,
      );
    if (this.#stepped.has(name))
      throw new ConfigError(
        `Node "${this.nodeId}" has two steps called "${name}" in one attempt. Give each a name of its own, such as one with a number in it.`,
      );
    this.#stepped.add(name);
    return this.#run.journal.state.steps.get(invocationKey(this.#id))?.get(name);
  }

  #completed(step: string, value: unknown): StepCompleted {
    const { codec, runtime } = this.#run.settings;
    const output = codec.encode(value, `the output of step "${step}"`);
    return { kind: "step_completed", id: this.#id, step, output, at: runtime.clock.wallNow() };
  }

  get budget(): NodeBudget {
    return nodeBudget(this.#run.budgets.of(this.nodeId), this.#onSpent);
  }

  get degraded(): boolean {
    return this.#call.degraded;
  }

  get log(): NodeLog {
    const { runId, nodeId, invocationId, workflowId } = this;
    const { events } = this.#run.settings.runtime;
    const at =
      (level: keyof NodeLog): NodeLog["info"] =>
      (message, fields) =>
        events.emit?.("node.log", { runId, workflowId, nodeId, invocationId, level, message, fields });
    return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  }

  handoff(nodeId: string, message: unknown): Handoff {
    return new Handoff(nodeId, message);
  }

  progress(report: unknown): void {
    const { runId, nodeId, invocationId, workflowId } = this;
    this.#run.settings.runtime.events.emit?.("node.progress", { runId, workflowId, nodeId, invocationId, report });
  }
}
