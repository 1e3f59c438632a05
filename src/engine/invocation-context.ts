import { createHash } from "node:crypto";
import type { Call } from "../core/call.ts";
import { ConfigError } from "../core/errors.ts";
import { Handoff, type NodeContext, type StepContext } from "../core/node.ts";
import { checkId } from "../core/options.ts";
import { type InvocationId, invocationKey } from "../workflow/invocation-id.ts";
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

  constructor(run: ActiveRun, id: InvocationId, attempt: number, call: Call, undoes = false) {
    this.#run = run;
    this.#id = id;
    this.attempt = attempt;
    this.#call = call;
    this.#undoes = undoes;
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
    const { journal, settings } = this.#run;
    const stored = journal.state.steps.get(invocationKey(this.#id))?.get(name);
    if (stored !== undefined) return settings.codec.decode(stored) as T;
    this.#call.signal.throwIfAborted();
    const output = settings.codec.encode(
      await fn({ idempotencyKey: idempotencyKey(this.runId, this.#id, "step", name) }),
      `the output of step "${name}"`,
    );
    // An attempt whose time is up, or whose run has stopped, must not write any more.
    this.#call.signal.throwIfAborted();
    const at = settings.runtime.clock.wallNow();
    await journal.record({ kind: "step_completed", id: this.#id, step: name, output, at });
    return settings.codec.decode(output) as T;
  }

  handoff(nodeId: string, message: unknown): Handoff {
    return new Handoff(nodeId, message);
  }

  progress(report: unknown): void {
    const { runId, nodeId, invocationId, workflowId } = this;
    this.#run.settings.runtime.events.emit?.("node.progress", { runId, workflowId, nodeId, invocationId, report });
  }
}
