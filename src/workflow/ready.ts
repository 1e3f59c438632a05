import type { Plan } from "./plan.ts";
import { type Invocation, type InvocationId, invocationKey, type RunState } from "./run-state.ts";

/**
 * What may start now. Kept in counters of inputs that are still missing, updated with each end of an invocation:
 * looking at all nodes again after each step would make long runs quadratic.
 */
export class Readiness {
  readonly #plan: Plan;
  readonly #state: RunState;
  readonly #missing = new Map<string, number>();
  readonly #servedBy = new Map<string, Invocation & { status: "completed" }>();
  readonly #failed: InvocationId[] = [];

  constructor(plan: Plan, state: RunState) {
    this.#plan = plan;
    this.#state = state;
    for (const [id, node] of plan.nodes) this.#missing.set(id, node.inbound.length);
  }

  /** Node visits that no backup could save. While there is one, nothing new starts. */
  get failed(): readonly InvocationId[] {
    return this.#failed;
  }

  /** The invocation whose output stands for the node, its own or that of a backup. */
  servedBy(nodeId: string): (Invocation & { status: "completed" }) | undefined {
    return this.#servedBy.get(nodeId);
  }

  /** Invocations that the start of a run makes ready. */
  atStart(): InvocationId[] {
    return this.#notBegun(this.#plan.starts.map((node) => ({ node, iteration: 0 })));
  }

  /** Invocations that the end of this one makes ready: successors, or the next backup. */
  afterEnd(invocation: Invocation): InvocationId[] {
    const { node: nodeId, iteration } = invocation.id;
    const node = this.#plan.nodes.get(nodeId)!;
    if (invocation.status === "completed") {
      this.#servedBy.set(nodeId, invocation);
      const complete = node.successors.filter((successor) => this.#oneLess(successor) === 0);
      return this.#notBegun(complete.map((successor) => ({ node: successor, iteration: 0 })));
    }
    if (invocation.status !== "failed") return [];
    const position = invocation.id.backup === undefined ? -1 : node.backups.indexOf(invocation.id.backup);
    const backup = node.backups[position + 1];
    if (backup !== undefined) return this.#notBegun([{ node: nodeId, iteration, backup }]);
    this.#failed.push({ node: nodeId, iteration });
    return [];
  }

  // A journal that is replayed ends invocations whose successors have begun long since.
  #notBegun(ids: InvocationId[]): InvocationId[] {
    return ids.filter((id) => !this.#state.invocations.has(invocationKey(id)));
  }

  #oneLess(nodeId: string): number {
    const missing = this.#missing.get(nodeId)! - 1;
    this.#missing.set(nodeId, missing);
    return missing;
  }
}
