import { invocationIdOf, type InvocationId, invocationKey, visitKey } from "../workflow/invocation-id.ts";
import type { EdgeDefinition } from "../workflow/definition.ts";
import { gatherInput, inputFrom } from "../workflow/mapping.ts";
import type { PlannedNode } from "../workflow/plan.ts";
import type { ActiveRun } from "./run.ts";

/** The input of an invocation, decoded anew: nobody shares it. A backup gets what its primary got. */
export function inputOf(run: ActiveRun, id: InvocationId): unknown {
  const { codec } = run.settings;
  const { plan, readiness, journal } = run;
  const node = plan.nodes.get(id.node)!;
  const { fork } = journal.state;
  if (fork?.input !== undefined && fork.node === id.node && id.iteration === 0) return codec.decode(fork.input);
  const { from, by } = journal.state.invocations.get(invocationKey(id)) ?? {};
  const outputOf = (visit: string): unknown => codec.decode(readiness.servedBy(visit)!.output);
  if (by !== undefined) {
    const source = readiness.servedBy(by)!;
    if (source.handoff === id.node) return codec.decode(source.output);
    const edge = edgeFrom(plan.nodes.get(source.id.node)!, id.node);
    return edge === null ? codec.decode(source.output) : inputFrom(edge, codec.decode(source.output));
  }
  const edges = node.inbound.flatMap(({ definition }) => definition ?? []);
  if (edges.length === 0) return codec.decode(journal.state.input);
  const visits = from ?? edges.map((edge) => visitKey({ node: edge.from, iteration: 0 }));
  if (edges.length === 1) return inputFrom(edges[0]!, outputOf(visits[0]!));
  const visitOf = new Map(visits.map((visit) => [invocationIdOf(visit).node, visit]));
  return gatherInput(
    edges.filter((edge) => visitOf.has(edge.from)),
    (source) => outputOf(visitOf.get(source)!),
  );
}

function edgeFrom(source: PlannedNode, to: string): EdgeDefinition | null {
  return source.outbound.find((edge) => edge.to === to && edge.definition !== null)?.definition ?? null;
}
