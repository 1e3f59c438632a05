import type { NodeDefinition } from "./definition.ts";
import { isStandby, type Plan, type PlannedEdge, type PlannedNode } from "./plan.ts";

/**
 * A workflow as the text of a Mermaid flowchart. A plain arrow is an edge, a thick one a hand-off, a dotted one leads to
 * a fallback. A hexagon starts with the first edge that delivers, and a rounded node runs only on failover. The shape
 * tells of the place in the graph, so what kind of node it is stands behind its id.
 */
export function mermaidOf({ definition, nodes }: Plan): string {
  const names = new Map([...nodes.keys()].map((id, i) => [id, `n${i}`]));
  const arrow = (from: string, line: string, label: string, to: string): string =>
    `  ${names.get(from)} ${line}${label === "" ? "" : `|"${escaped(label)}"|`} ${names.get(to)}`;
  const lines = [...nodes].map(([id, node]) => `  ${names.get(id)}${shape(node, isStandby(definition, id))}`);
  for (const { outbound } of nodes.values())
    for (const edge of outbound)
      lines.push(arrow(edge.from, edge.definition === null ? "==>" : "-->", labelOf(edge), edge.to));
  for (const [id] of nodes) {
    const backups = definition.fallbacks.filter(({ primary }) => primary === id);
    for (const [i, { backup }] of backups.entries())
      lines.push(arrow(id, "-.->", backups.length > 1 ? `fallback ${i + 1}` : "fallback", backup));
  }
  // JSON is YAML, whatever is in the name.
  return ["---", `title: ${JSON.stringify(visible(definition.name))}`, "---", "flowchart TD", ...lines, ""].join("\n");
}

function shape({ definition }: PlannedNode, standsBy: boolean): string {
  const { id, join } = definition;
  const notes = notesOn(definition).join(", ");
  const text = `"${escaped(notes === "" ? id : `${id} (${notes})`)}"`;
  if (standsBy) return `([${text}])`;
  return join === "any" ? `{{${text}}}` : `[${text}]`;
}

function notesOn({ id, run, compensate }: NodeDefinition): string[] {
  const notes: string[] = [];
  if (typeof run === "object") {
    if (run.kind === "wait") notes.push("wait");
    else if (run.kind === "workflow") notes.push(`workflow ${run.workflow.definition.id}`);
    else notes.push(run.name === undefined || run.name === id ? "signal" : `signal ${run.name}`);
  }
  if (compensate !== undefined) notes.push("compensated");
  return notes;
}

function labelOf({ definition: edge, isBack }: PlannedEdge): string {
  const parts: string[] = [];
  if (edge === null) parts.push("hands off");
  if (edge?.when !== undefined) parts.push(edge.when.name === "when" ? "when" : `when ${edge.when.name}`.trim());
  if (isBack) parts.push("again");
  for (const [out, into] of Object.entries(edge?.mapping ?? {})) parts.push(out === into ? out : `${out} → ${into}`);
  return parts.join(", ");
}

/**
 * A text as it stands between quotes. Everything is written as a number that Mermaid, or the Markdown and HTML that it
 * makes of a label, may take for something: quotes, its own `#` and `;`, directives, the start of a list.
 */
function escaped(text: string): string {
  return visible(text)
    .replace(/[^\p{L}\p{M}\p{N}\p{So} _,/()=?!@$'→.+-]/gu, numbered)
    .replace(/^(\d*)([.)+-])/, (_, digits: string, mark: string) => digits + numbered(mark));
}

function numbered(character: string): string {
  return `#${character.codePointAt(0)};`;
}

/** Characters that nobody can see, or that no text can hold, as the escapes of JSON. */
function visible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    [...Array(character.length).keys()]
      .map((i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
