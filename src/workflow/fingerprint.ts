import { crc32c, utf8Bytes } from "../core/bytes.ts";
import type { WorkflowDefinition } from "./definition.ts";

/**
 * The structure of a workflow as text: what a run remembers of the definition that it was started with (C5.10).
 * Policies are left out on purpose: another number of attempts does not change what a journal means. Functions cannot
 * be compared; whoever changes what a node means gives the workflow another version.
 */
export function outlineOf({ id, version, nodes, edges, fallbacks }: WorkflowDefinition): string {
  const any = nodes.filter(({ join }) => join === "any").map((node) => node.id);
  const handoffs = nodes.flatMap(({ id: from, handoffTo }) => handoffTo.map((to) => ({ from, to })));
  const outline: Outline = {
    workflow: id,
    version,
    nodes: nodes.map((node) => node.id).sort(),
    edges: edges.map(({ from, to, mapping, when }) => ({
      from,
      to,
      ...(mapping && { mapping: Object.entries(mapping).sort() }),
      ...(when && { when: true as const }),
    })),
    fallbacks: fallbacks.map(({ primary, backup }) => ({ primary, backup })),
    ...(any.length > 0 && { any: any.sort() }),
    ...(handoffs.length > 0 && { handoffs }),
  };
  outline.edges = sortedByText(outline.edges);
  if (outline.handoffs !== undefined) outline.handoffs = sortedByText(outline.handoffs);
  return JSON.stringify(outline);
}

/** Each is turned into text once: a graph of thousands of edges would else spend most of its planning on that. */
function sortedByText<T>(all: readonly T[]): T[] {
  return all
    .map((one) => ({ one, text: JSON.stringify(one) }))
    .sort((a, b) => (a.text < b.text ? -1 : 1))
    .map(({ one }) => one);
}

/** An outline in eight characters. */
export function fingerprintOf(outline: string): string {
  return crc32c(utf8Bytes(outline)).toString(16).padStart(8, "0");
}

/** What two outlines differ in, in words. */
export function outlineChanges(before: string, after: string): string {
  const [was, is] = [before, after].map(linesOf) as [string[], string[]];
  const changes = [
    ...was.filter((line) => !is.includes(line)).map((line) => `it had ${line}`),
    ...is.filter((line) => !was.includes(line)).map((line) => `it now has ${line}`),
  ];
  return changes.join(", ") || "the order of its fallbacks has changed";
}

/** An outline as data. */
export interface Outline {
  workflow: string;
  version: string;
  nodes: string[];
  edges: OutlineEdge[];
  fallbacks: { primary: string; backup: string }[];
  /** Nodes that start with the first edge that delivers. */
  any?: string[];
  handoffs?: { from: string; to: string }[];
}

interface OutlineEdge {
  from: string;
  to: string;
  mapping?: [string, string][];
  when?: true;
}

/**
 * Why a run that has begun these nodes cannot go on with another definition; undefined where it can. What it has begun
 * must still be there, get its input in the same way, and fail over in the same way; what it has not come to yet may
 * change. Another version says that nodes mean something else, and fits nothing.
 */
export function incompatibility(before: string, after: string, begun: ReadonlySet<string>): string | undefined {
  const [was, is] = [before, after].map((outline) => JSON.parse(outline) as Outline) as [Outline, Outline];
  if (was.version !== is.version) return `it had the version "${was.version}", and has "${is.version}" now`;
  for (const id of begun) {
    if (!is.nodes.includes(id)) return `the run has begun its node "${id}", which is gone`;
    if (feedOf(was, id) !== feedOf(is, id)) return `the run has begun its node "${id}", which other edges lead to now`;
    if (backupsOf(was, id) !== backupsOf(is, id))
      return `the run has begun its node "${id}", which has other fallbacks now`;
  }
  return undefined;
}

function feedOf({ edges, any, handoffs }: Outline, id: string): string {
  const into = ({ to }: { to: string }): boolean => to === id;
  return JSON.stringify([edges.filter(into), any?.includes(id) ?? false, handoffs?.filter(into) ?? []]);
}

function backupsOf({ fallbacks }: Outline, id: string): string {
  return JSON.stringify(fallbacks.filter(({ primary }) => primary === id));
}

function linesOf(outline: string): string[] {
  const { version, nodes, edges, fallbacks, any = [], handoffs = [] } = JSON.parse(outline) as Outline;
  const quoted = JSON.stringify;
  return [
    `the version ${quoted(version)}`,
    ...nodes.map((id) => `the node ${quoted(id)}`),
    ...any.map((id) => `the join "any" at ${quoted(id)}`),
    ...handoffs.map(({ from, to }) => `the hand-off from ${quoted(from)} to ${quoted(to)}`),
    ...edges.map(({ from, to, mapping, when }) => {
      const fields = mapping?.map(([out, into]) => `${quoted(out)} to ${quoted(into)}`).join(" and ");
      return `the edge from ${quoted(from)} to ${quoted(to)}${fields === undefined ? "" : ` with ${fields || "no fields"}`}${when ? " on a condition" : ""}`;
    }),
    ...fallbacks.map(({ primary, backup }) => `the fallback from ${quoted(primary)} to ${quoted(backup)}`),
  ];
}
