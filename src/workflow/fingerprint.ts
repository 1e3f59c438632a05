import { crc32c, utf8Bytes } from "../core/bytes.ts";
import type { WorkflowDefinition } from "./definition.ts";

/**
 * The structure of a workflow as text: what a run remembers of the definition that it was started with (C5.10).
 * Policies are left out on purpose: another number of attempts does not change what a journal means. Functions cannot
 * be compared; whoever changes what a node means gives the workflow another version.
 */
export function outlineOf({ id, version, nodes, edges, fallbacks }: WorkflowDefinition): string {
  return JSON.stringify({
    workflow: id,
    version,
    nodes: nodes.map((node) => node.id).sort(),
    edges: edges
      .map(({ from, to, mapping }) => ({ from, to, mapping: mapping && Object.entries(mapping).sort() }))
      .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
    fallbacks: fallbacks.map(({ primary, backup }) => ({ primary, backup })),
  });
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
  edges: { from: string; to: string; mapping?: [string, string][] }[];
  fallbacks: { primary: string; backup: string }[];
}

function linesOf(outline: string): string[] {
  const { version, nodes, edges, fallbacks } = JSON.parse(outline) as Outline;
  const quoted = JSON.stringify;
  return [
    `the version ${quoted(version)}`,
    ...nodes.map((id) => `the node ${quoted(id)}`),
    ...edges.map(({ from, to, mapping }) => {
      const fields = mapping?.map(([out, into]) => `${quoted(out)} to ${quoted(into)}`).join(" and ");
      return `the edge from ${quoted(from)} to ${quoted(to)}${fields === undefined ? "" : ` with ${fields || "no fields"}`}`;
    }),
    ...fallbacks.map(({ primary, backup }) => `the fallback from ${quoted(primary)} to ${quoted(backup)}`),
  ];
}
