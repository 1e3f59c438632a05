import { WorkflowDefinitionError } from "../core/errors.ts";
import { anId, show } from "../core/options.ts";
import type { EdgeDefinition, NodeDefinition, WorkflowDefinition } from "./definition.ts";
import { fingerprintOf, outlineOf } from "./fingerprint.ts";

/** A node in its place in the graph. */
interface PlannedNode {
  readonly definition: NodeDefinition;
  readonly inbound: readonly EdgeDefinition[];
  readonly successors: readonly string[];
  /** Who stands in when it fails, in order, depth first. */
  readonly backups: readonly string[];
}

/** A checked workflow: what the engine runs. */
export interface Plan {
  readonly definition: WorkflowDefinition;
  readonly nodes: ReadonlyMap<string, PlannedNode>;
  /** Nodes that get the input of the run. */
  readonly starts: readonly string[];
  /** Nodes whose output is the result of the run. */
  readonly ends: readonly string[];
  /** The structure as text: what a run remembers of the definition that it was started with. */
  readonly outline: string;
  readonly fingerprint: string;
}

/** Checks a definition whole and puts it in order. Throws `WorkflowDefinitionError` with everything that is wrong. */
export function planWorkflow(definition: WorkflowDefinition): Plan {
  const problems = [
    ...namingProblems(definition),
    ...edgeProblems(definition),
    ...fallbackProblems(definition),
    ...policyProblems(definition),
  ];
  if (problems.length > 0) throw new WorkflowDefinitionError(definition.id, problems);

  const backups = backupChains(definition);
  const targets = new Set(definition.edges.map((edge) => edge.to));
  const inbound = grouped(definition.edges, (edge) => edge.to);
  const outbound = grouped(definition.edges, (edge) => edge.from);
  const nodes = new Map<string, PlannedNode>();
  for (const node of definition.nodes) {
    nodes.set(node.id, {
      definition: node,
      inbound: inbound.get(node.id) ?? [],
      successors: (outbound.get(node.id) ?? []).map((edge) => edge.to),
      backups: backups(node.id),
    });
  }
  const inGraph = definition.nodes.map((node) => node.id).filter((id) => !isStandby(definition, id));
  const starts = inGraph.filter((id) => !targets.has(id));
  const ends = inGraph.filter((id) => nodes.get(id)!.successors.length === 0);
  const cycle = findCycle(inGraph, (id) => nodes.get(id)!.successors);
  if (cycle !== undefined) {
    throw new WorkflowDefinitionError(definition.id, [
      `the nodes ${chain(cycle)} form a loop, which this version does not run.`,
    ]);
  }
  const outline = outlineOf(definition);
  return {
    definition,
    nodes,
    starts,
    ends,
    outline,
    fingerprint: fingerprintOf(outline),
  };
}

/** Whether a node runs only when another one fails: nothing leads to it. */
function isStandby({ edges, fallbacks }: WorkflowDefinition, id: string): boolean {
  return fallbacks.some(({ backup }) => backup === id) && !edges.some(({ to }) => to === id);
}

function namingProblems({ nodes }: WorkflowDefinition): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  if (nodes.length === 0) problems.push("it has no nodes. Add one with addNode(id, fn).");
  for (const { id, run } of nodes) {
    if (!anId.allows(id)) problems.push(`a node id must be ${anId.says}, got ${show(id)}.`);
    if (seen.has(id)) problems.push(`there are two nodes called ${show(id)}.`);
    if (typeof run !== "function") problems.push(`node ${show(id)} must be a function, got ${show(run)}.`);
    seen.add(id);
  }
  return problems;
}

function edgeProblems({ nodes, edges }: WorkflowDefinition): string[] {
  const problems: string[] = [];
  const ids = new Set(nodes.map((node) => node.id));
  const seen = new Set<string>();
  const filled = new Map<string, string>();
  const sources = new Map<string, Set<string>>();
  for (const { from, to } of edges) sources.set(to, (sources.get(to) ?? new Set()).add(from));
  for (const { from, to, mapping } of edges) {
    for (const id of [from, to]) {
      if (!ids.has(id))
        problems.push(`connect(${show(from)}, ${show(to)}) names ${show(id)}, which is no node. ${known(ids)}`);
    }
    if (from === to) problems.push(`connect(${show(from)}, ${show(to)}) leads from a node to itself.`);
    const edge = JSON.stringify([from, to]);
    if (seen.has(edge))
      problems.push(`${show(from)} and ${show(to)} are connected twice. Put both fields into one mapping.`);
    seen.add(edge);
    // Where edges meet, one without a mapping fills the field that is named after its node.
    const whole = sources.get(to)!.size > 1 ? [from] : [];
    for (const field of mapping === undefined ? whole : Object.values(mapping)) {
      const place = JSON.stringify([to, field]);
      const other = filled.get(place);
      if (other !== undefined) {
        problems.push(
          `${show(other)} and ${show(from)} both fill the field ${show(field)} of ${show(to)}. Map one of them to another field.`,
        );
      }
      filled.set(place, from);
    }
  }
  return problems;
}

function fallbackProblems(definition: WorkflowDefinition): string[] {
  const { nodes, edges, fallbacks } = definition;
  const problems: string[] = [];
  const ids = new Set(nodes.map((node) => node.id));
  for (const { from, to } of edges) {
    if (!ids.has(from) || !isStandby(definition, from)) continue;
    problems.push(
      `connect(${show(from)}, ${show(to)}) leads from a node that only stands in for others: its output takes the place of theirs and goes where theirs goes. Leave the edge out.`,
    );
  }
  for (const { primary, backup } of fallbacks) {
    for (const id of [primary, backup]) {
      if (!ids.has(id))
        problems.push(
          `addFallback(${show(primary)}, ${show(backup)}) names ${show(id)}, which is no node. ${known(ids)}`,
        );
    }
  }
  const of = grouped(
    fallbacks.filter(({ backup }) => ids.has(backup)),
    ({ primary }) => primary,
  );
  const cycle = findCycle([...ids], (id) => (of.get(id) ?? []).map(({ backup }) => backup));
  if (cycle !== undefined) {
    problems.push(`the fallbacks ${chain(cycle)} form a cycle: a node would end up standing in for itself.`);
  }
  return problems;
}

function policyProblems({ nodes, policies }: WorkflowDefinition): string[] {
  const ids = new Set(nodes.map((node) => node.id));
  return [...policies]
    .filter(([id]) => !ids.has(id))
    .map(
      ([id, options]) =>
        `${Object.keys(options).join(", ")} is configured for ${show(id)}, which is no node. ${known(ids)}`,
    );
}

function known(ids: ReadonlySet<string>): string {
  return `There are: ${[...ids].map(show).join(", ") || "none"}.`;
}

function chain(cycle: readonly string[]): string {
  return [...cycle, cycle[0]!].map(show).join(" -> ");
}

/** Items by a key, each group in the order of the items. Looking through all edges for each node would be quadratic. */
function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

/** The nodes of one cycle, or undefined. Iterative, since a chain of nodes may be longer than the stack is deep. */
function findCycle(ids: readonly string[], next: (id: string) => readonly string[]): string[] | undefined {
  const done = new Set<string>();
  for (const start of ids) {
    const path: string[] = [];
    const onPath = new Set<string>();
    const stack: { id: string; leave: boolean }[] = [{ id: start, leave: false }];
    while (stack.length > 0) {
      const { id, leave } = stack.pop()!;
      if (leave) {
        onPath.delete(path.pop()!);
        done.add(id);
        continue;
      }
      if (onPath.has(id)) return path.slice(path.indexOf(id));
      if (done.has(id)) continue;
      path.push(id);
      onPath.add(id);
      stack.push({ id, leave: true }, ...next(id).map((successor) => ({ id: successor, leave: false })));
    }
  }
  return undefined;
}

/** For each node its backups in the order of failover: depth first, each once. */
function backupChains({ fallbacks }: WorkflowDefinition): (id: string) => string[] {
  const direct = new Map<string, string[]>();
  for (const { primary, backup } of fallbacks) direct.set(primary, [...(direct.get(primary) ?? []), backup]);
  return (id) => {
    const order = new Set<string>();
    const visit = (primary: string): void => {
      for (const backup of direct.get(primary) ?? []) {
        if (order.has(backup)) continue;
        order.add(backup);
        visit(backup);
      }
    };
    visit(id);
    return [...order];
  };
}
