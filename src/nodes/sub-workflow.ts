import { ConfigError } from "../core/errors.ts";
import type { TypedNode, WorkflowDefinition } from "../workflow/definition.ts";

/** A workflow as a node: `signature` exists for inference only. */
interface Nested<In, Out> {
  readonly definition: WorkflowDefinition;
  readonly signature?: (input: In) => Out;
}

/**
 * A node that runs another workflow, as a run of its own with a journal of its own: its id is that of the outer run
 * with the invocation appended (`order-7/ship#0`). Its output is the output of the node; where it fails, the node fails
 * with the `WorkflowExecutionError` of the inner run. A retry or a redrive of the node takes the inner run up again
 * from the node that has failed in it: what is done stays done. Cancelling the outer run cancels it.
 *
 * @example
 * ```ts
 * import { MemoryStore, subWorkflow, Workflow } from "holdfast";
 *
 * const ship = new Workflow({ id: "ship" }).addNode("label", (order: { id: number }) => `label ${order.id}`);
 * const sale = new Workflow({ id: "sale" }).addNode("ship", subWorkflow(ship));
 *
 * console.log(await sale.execute({ id: 7 }, { store: new MemoryStore() })); // => "label 7"
 * ```
 */
export function subWorkflow<In, Out>(workflow: Nested<In, Out>): TypedNode<In, Out> {
  if (typeof workflow?.definition !== "object")
    throw new ConfigError("subWorkflow must be given a workflow, such as new Workflow({ id }), got something else.");
  return { kind: "workflow", workflow };
}
