import { Handoff, type NodeContext, type NodeFunction } from "../core/node.ts";
import { validate } from "../core/schema.ts";
import type { NodeDefinition, WorkflowDefinition } from "../workflow/definition.ts";
import type { Plan } from "../workflow/plan.ts";

/**
 * Calls the function of a node with what its schema makes of the input, and gives what the other one makes of the
 * output. A message that is handed off is judged by the node that it goes to.
 */
export function callNode(
  node: NodeDefinition,
  run: NodeFunction<never>,
  input: unknown,
  context: NodeContext,
): unknown {
  const isJudged = node.input !== undefined || node.output !== undefined;
  return isJudged ? callJudged(node, run, input, context) : run(input as never, context);
}

async function callJudged(
  node: NodeDefinition,
  run: NodeFunction<never>,
  input: unknown,
  context: NodeContext,
): Promise<unknown> {
  const { id, input: takes, output: gives } = node;
  let taken = input;
  if (takes !== undefined) {
    taken = await validate(takes, input, `the input of node "${id}"`);
    // The time of the attempt may be up by now, and another one have begun.
    context.signal.throwIfAborted();
  }
  const value = await run(taken as never, context);
  if (gives === undefined || value instanceof Handoff) return value;
  return validate(gives, value, `the output of node "${id}"`);
}

/** Whether an output may become that of the run, and has to fit the schema of the workflow. */
export function isJudgedResult(
  { definition, nodes, ends, handsOff }: Plan,
  nodeId: string,
  { next, handoff }: { next?: readonly string[]; handoff?: string },
): boolean {
  if (definition.output === undefined || handoff !== undefined) return false;
  const edges = nodes.get(nodeId)!.outbound.filter((edge) => edge.definition !== null);
  return (next ?? edges).length === 0 && (handsOff || ends.includes(nodeId));
}

/** What an output becomes as that of the run. */
export async function givenByWorkflow({ id, output }: WorkflowDefinition, value: unknown): Promise<unknown> {
  return output === undefined ? value : validate(output, value, `the output of workflow "${id}"`);
}
