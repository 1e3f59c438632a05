import { WorkflowDefinitionError } from "../core/errors.ts";
import { anId, show } from "../core/options.ts";
import { aSchema } from "../core/schema.ts";
import type {
  EdgeDefinition,
  FailureMode,
  NodeDefinition,
  ReadyNode,
  SignalNode,
  WaitNode,
  WorkflowDefinition,
} from "./definition.ts";
import { fingerprintOf, outlineOf } from "./fingerprint.ts";
import { visitKey } from "./invocation-id.ts";
import { type Arrow, walkGraph } from "./loops.ts";

/** An edge in its place: what a node does with it when it delivers. */
export interface PlannedEdge {
  readonly from: string;
  readonly to: string;
  /** The edge as it was connected; null for a hand-off that a node has announced. */
  readonly definition: EdgeDefinition | null;
  /** Whether it leads back to where a loop began. Such an edge starts its node anew, by itself. */
  readonly isBack: boolean;
  /** The loop that it leads out of: it is followed when that loop has ended. */
  readonly leaves: number | undefined;
  /** The loop that it leads into from outside. */
  readonly enters: number | undefined;
}

/** A node in its place in the graph. */
export interface PlannedNode {
  readonly definition: NodeDefinition;
  /** Edges that it waits for; what leads back to it and what is handed to it starts it without them. */
  readonly inbound: readonly PlannedEdge[];
  readonly outbound: readonly PlannedEdge[];
  /** The edges that it waits for, as they were connected, and the first visits of their sources. */
  readonly feeds: readonly EdgeDefinition[];
  readonly firstSources: readonly string[];
  /** The edges that lead on, as they were connected, and whether any of them has a condition. */
  readonly leads: readonly EdgeDefinition[];
  readonly isConditional: boolean;
  /** Who stands in when it fails, in order, depth first. */
  readonly backups: readonly string[];
  readonly onFailure: FailureMode;
  /** The loop that it is part of. */
  readonly loop: number | undefined;
}

/** A checked workflow: what the engine runs. */
export interface Plan {
  readonly definition: WorkflowDefinition;
  readonly nodes: ReadonlyMap<string, PlannedNode>;
  /** Nodes that get the input of the run. */
  readonly starts: readonly string[];
  /** Nodes whose output is the result of the run. */
  readonly ends: readonly string[];
  /** Whether nodes hand off to one another: the result is then the output of whoever handed to nobody. */
  readonly handsOff: boolean;
  /** By loop: the edges that lead out of it, and how many lead into it. */
  readonly loops: readonly { readonly exits: readonly PlannedEdge[]; readonly entries: number }[];
  /** The structure as text: what a run remembers of the definition that it was started with. */
  readonly outline: string;
  readonly fingerprint: string;
}

const KINDS: ReadonlySet<string> = new Set<ReadyNode["kind"]>(["wait", "signal", "workflow"]);

const PLANS = new WeakMap<WorkflowDefinition, Plan>();

/** The plan of a definition, which follows from nothing else: worked out once, however many engines run it. */
export function planOf(definition: WorkflowDefinition): Plan {
  let plan = PLANS.get(definition);
  if (plan === undefined) PLANS.set(definition, (plan = planWorkflow(definition)));
  return plan;
}

/** Checks a definition whole and puts it in order. Throws `WorkflowDefinitionError` with everything that is wrong. */
export function planWorkflow(definition: WorkflowDefinition): Plan {
  const { nodes: all, edges } = definition;
  const ids = new Set(all.map((node) => node.id));
  const handoffs = all.flatMap(({ id, handoffTo }) => handoffTo.map((to) => ({ from: id, to })));
  const { back, loopOf } = walkGraph(
    [...ids],
    [...edges, ...handoffs].filter(({ from, to }) => ids.has(from) && ids.has(to)),
  );
  const problems = [
    ...namingProblems(definition),
    ...edgeProblems(definition, back),
    ...fallbackProblems(definition),
    ...policyProblems(definition),
    // Without an arrow that leads back there is no loop to look at.
    ...(back.size === 0 ? [] : loopProblems(definition)),
  ];
  if (problems.length > 0) throw new WorkflowDefinitionError(definition.id, problems);

  const backups = backupChains(definition);
  const inGraph = [...ids].filter((id) => !isStandby(definition, id));
  const placed = (arrow: Arrow, edge: EdgeDefinition | null): PlannedEdge => {
    const [from, to] = [loopOf.get(arrow.from), loopOf.get(arrow.to)];
    const crosses = from !== to;
    const isBack = back.has(arrow);
    return {
      from: arrow.from,
      to: arrow.to,
      definition: edge,
      isBack,
      leaves: crosses ? from : undefined,
      enters: crosses ? to : undefined,
    };
  };
  const arrows = [...edges.map((edge) => placed(edge, edge)), ...handoffs.map((arrow) => placed(arrow, null))];
  const inbound = grouped(
    arrows.filter(({ isBack }) => !isBack),
    (edge) => edge.to,
  );
  const outbound = grouped(arrows, (edge) => edge.from);
  const nodes = new Map<string, PlannedNode>();
  for (const node of all) {
    const [into, onward] = [inbound.get(node.id) ?? [], outbound.get(node.id) ?? []];
    const feeds = connected(into);
    const leads = connected(onward);
    nodes.set(node.id, {
      definition: node,
      inbound: into,
      outbound: onward,
      feeds,
      firstSources: feeds.map(({ from }) => visitKey({ node: from, iteration: 0 })),
      leads,
      isConditional: leads.some(({ when }) => when !== undefined),
      backups: backups(node.id),
      onFailure: node.onFailure ?? definition.onFailure,
      loop: loopOf.get(node.id),
    });
  }
  const starts = inGraph.filter((id) => nodes.get(id)!.inbound.length === 0);
  const ends = inGraph.filter((id) => nodes.get(id)!.outbound.every(({ isBack }) => isBack));
  if (definition.output !== undefined && ends.length > 1 && handoffs.length === 0)
    throw new WorkflowDefinitionError(definition.id, [
      `it has a schema for its output, and the end nodes ${ends.map(show).join(", ")}, each with an output of its own. Give them schemas instead, or join them in one node.`,
    ]);
  const loops = [...new Set(loopOf.values())].map((loop) => ({
    exits: arrows.filter(({ leaves }) => leaves === loop),
    entries: arrows.filter(({ enters }) => enters === loop).length,
  }));
  const outline = outlineOf(definition);
  return {
    definition,
    nodes,
    starts,
    ends,
    handsOff: handoffs.length > 0,
    loops,
    outline,
    fingerprint: fingerprintOf(outline),
  };
}

function connected(edges: readonly PlannedEdge[]): EdgeDefinition[] {
  return edges.flatMap(({ definition }) => definition ?? []);
}

/** Whether a node runs only when another one fails: nothing leads to it. */
export function isStandby({ nodes, edges, fallbacks }: WorkflowDefinition, id: string): boolean {
  if (!fallbacks.some(({ backup }) => backup === id)) return false;
  return !edges.some(({ to }) => to === id) && !nodes.some(({ handoffTo }) => handoffTo.includes(id));
}

function namingProblems({ nodes }: WorkflowDefinition): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  if (nodes.length === 0) problems.push("it has no nodes. Add one with addNode(id, fn).");
  const ids = new Set(nodes.map((node) => node.id));
  for (const { id, run, handoffTo, join, onFailure, input, output } of nodes) {
    if (!anId.allows(id)) problems.push(`a node id must be ${anId.says}, got ${show(id)}.`);
    if (seen.has(id)) problems.push(`there are two nodes called ${show(id)}.`);
    if (typeof run !== "function" && !KINDS.has((run as { kind?: unknown } | undefined)?.kind as string))
      problems.push(`node ${show(id)} must be a function or a ready-made node, got ${show(run)}.`);
    if (join !== "all" && join !== "any")
      problems.push(`the join of node ${show(id)} must be "all" or "any", got ${show(join)}.`);
    if (onFailure !== undefined && onFailure !== "fail" && onFailure !== "continue")
      problems.push(`onFailure of node ${show(id)} must be "fail" or "continue", got ${show(onFailure)}.`);
    for (const [side, schema] of Object.entries({ input, output })) {
      if (schema !== undefined && !aSchema.allows(schema))
        problems.push(`the ${side} of node ${show(id)} must be ${aSchema.says}, got ${show(schema)}.`);
    }
    for (const to of handoffTo) {
      if (!ids.has(to)) problems.push(`node ${show(id)} may hand off to ${show(to)}, which is no node. ${known(ids)}`);
    }
    seen.add(id);
  }
  return problems;
}

function edgeProblems({ nodes, edges }: WorkflowDefinition, back: ReadonlySet<Arrow>): string[] {
  const problems: string[] = [];
  const ids = new Set(nodes.map((node) => node.id));
  const any = new Set(nodes.filter(({ join }) => join === "any").map((node) => node.id));
  const seen = new Set<string>();
  const filled = new Map<string, string>();
  const sources = new Map<string, Set<string>>();
  for (const edge of edges) {
    const { from, to, when } = edge;
    if (!back.has(edge)) sources.set(to, (sources.get(to) ?? new Set()).add(from));
    if (when !== undefined && typeof when !== "function")
      problems.push(`when of connect(${show(from)}, ${show(to)}) must be a function of the output, got ${show(when)}.`);
  }
  for (const given of edges) {
    const { from, to, mapping } = given;
    for (const id of [from, to]) {
      if (!ids.has(id))
        problems.push(`connect(${show(from)}, ${show(to)}) names ${show(id)}, which is no node. ${known(ids)}`);
    }
    const edge = JSON.stringify([from, to]);
    if (seen.has(edge))
      problems.push(`${show(from)} and ${show(to)} are connected twice. Put both fields into one mapping.`);
    seen.add(edge);
    // What delivers by itself shares the input with nobody.
    if (back.has(given) || any.has(to)) continue;
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
  if (fallbacks.length === 0) return [];
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

/** A loop must have a way not to go round once more: an edge with a condition, or a node that hands off. */
function loopProblems({ nodes, edges }: WorkflowDefinition): string[] {
  const ids = new Set(nodes.map((node) => node.id));
  const handing = new Set(nodes.filter(({ handoffTo }) => handoffTo.length > 0).map((node) => node.id));
  const always = grouped(
    edges.filter(({ from, to, when }) => when === undefined && !handing.has(from) && ids.has(to)),
    (edge) => edge.from,
  );
  const cycle = findCycle([...ids], (id) => (always.get(id) ?? []).map(({ to }) => to));
  if (cycle === undefined) return [];
  return [
    `the nodes ${chain(cycle)} form a loop that nothing ends. Give one of its edges a condition: connect(from, to, mapping, { when }).`,
  ];
}

function policyProblems({ nodes, policies }: WorkflowDefinition): string[] {
  const ids = new Set(nodes.map((node) => node.id));
  const asleep = new Set(nodes.filter(({ run }) => sleeps(run)).map((node) => node.id));
  const problems: string[] = [];
  for (const [id, options] of policies) {
    const names = Object.keys(options).join(", ");
    if (!ids.has(id)) problems.push(`${names} is configured for ${show(id)}, which is no node. ${known(ids)}`);
    if (asleep.has(id)) problems.push(`${names} is configured for ${show(id)}, which only waits: nothing is called.`);
  }
  return problems;
}

/** Whether a node waits for time or for a signal, without a process. */
export function sleeps(run: NodeDefinition["run"] | undefined): run is WaitNode | SignalNode {
  const kind = typeof run === "object" ? run?.kind : undefined;
  return kind === "wait" || kind === "signal";
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
