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
  const { by } = journal.state.invocations.get(invocationKey(id)) ?? {};
  const outputOf = (visit: string): unknown => codec.decode(readiness.servedBy(visit)!.output);
  if (by !== undefined) {
    const source = readiness.servedBy(by)!;
    if (source.handoff === id.node) return codec.decode(source.output);
    const edge = edgeFrom(plan.nodes.get(source.id.node)!, id.node);
    return edge === null ? codec.decode(source.output) : inputFrom(edge, codec.decode(source.output));
  }
  const edges = node.inbound.flatMap(({ definition }) => definition ?? []);
  if (edges.length === 0) return codec.decode(journal.state.input);
  const visits = sourcesOf(run, id);
  if (edges.length === 1) return inputFrom(edges[0]!, outputOf(visits[0]!));
  const visitOf = new Map(visits.map((visit) => [invocationIdOf(visit).node, visit]));
  return gatherInput(
    edges.filter((edge) => visitOf.has(edge.from)),
    (source) => outputOf(visitOf.get(source)!),
  );
}

/** The visits that the input of an invocation comes from. */
function sourcesOf({ plan, journal }: ActiveRun, id: InvocationId): readonly string[] {
  const { from, by } = journal.state.invocations.get(invocationKey(id)) ?? {};
  if (by !== undefined) return [by];
  const edges = plan.nodes.get(id.node)!.inbound.flatMap(({ definition }) => definition ?? []);
  return from ?? edges.map((edge) => visitKey({ node: edge.from, iteration: 0 }));
}

/** The invocations whose outputs an invocation works on, itself among them: it has made steps. */
export function workedOn(run: ActiveRun, id: InvocationId): string[] {
  const served = sourcesOf(run, id).flatMap((visit) => run.readiness.servedBy(visit) ?? []);
  return [id, ...served.map((source) => source.id)].map(invocationKey);
}

function edgeFrom(source: PlannedNode, to: string): EdgeDefinition | null {
  return source.outbound.find((edge) => edge.to === to && edge.definition !== null)?.definition ?? null;
}
