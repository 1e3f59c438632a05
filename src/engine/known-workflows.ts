import { NotFoundError } from "../core/errors.ts";
import type { Runtime } from "../core/runtime.ts";
import type { DeadLetter } from "../core/store.ts";
import type { CircuitBreaker } from "../policies/circuit-breaker.ts";
import type { WorkflowDefinition } from "../workflow/definition.ts";
import { type Plan, planOf } from "../workflow/plan.ts";
import { type NodeGuards, nodeGuards } from "./node-policies.ts";
import type { Runnable } from "./runnable.ts";

/** A plan with its policies: what is worked out once for each definition. */
export interface Prepared {
  readonly plan: Plan;
  readonly guards: ReadonlyMap<string, NodeGuards>;
}

/** The workflows that an engine has been given or has run. A store does not keep their code. */
export class KnownWorkflows {
  readonly #runtime: Runtime;
  readonly #prepared = new WeakMap<WorkflowDefinition, Prepared>();
  readonly #newest = new Map<string, WorkflowDefinition>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Checks a workflow when it is seen first, and knows it by its id from then on. */
  prepare({ definition }: Runnable): Prepared {
    let prepared = this.#prepared.get(definition);
    if (prepared === undefined) {
      const plan = planOf(definition);
      prepared = { plan, guards: nodeGuards(plan, this.#runtime) };
      this.#prepared.set(definition, prepared);
    }
    this.#newest.set(definition.id, definition);
    return prepared;
  }

  /** The workflow that was last seen under an id. */
  byId(id: string): Runnable | undefined {
    const definition = this.#newest.get(id);
    return definition && { definition };
  }

  /** The workflow that a dead letter belongs to. */
  preparedOf({ id, workflowId }: DeadLetter): Prepared {
    const workflow = this.byId(workflowId);
    if (workflow !== undefined) return this.prepare(workflow);
    throw new NotFoundError(
      `This engine does not know the workflow "${workflowId}" of dead letter "${id}". Give it to createEngine({ workflows: [...] }).`,
    );
  }

  /** The breaker of a node. */
  breakerOf(workflow: Runnable, nodeId: string): CircuitBreaker {
    const breaker = this.prepare(workflow).guards.get(nodeId)?.breaker;
    if (breaker) return breaker;
    throw new NotFoundError(`Node "${nodeId}" of workflow "${workflow.definition.id}" has no circuit breaker.`);
  }
}
