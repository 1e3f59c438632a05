import type { EdgeDefinition, FieldMapping } from "./definition.ts";

/** Nothing was mapped: the output is no object, or lacks the field. Names both, since one of them is misspelt. */
export class MappingError extends TypeError {
  static {
    Object.defineProperty(this.prototype, "name", { value: "MappingError", writable: true, configurable: true });
  }
}

/**
 * The input of a node for which edges have met (C5.3): an object in which each mapping fills the fields it names, and
 * an edge without one puts its whole output under the id of the node that it comes from.
 */
export function gatherInput(inbound: readonly EdgeDefinition[], outputOf: (nodeId: string) => unknown): unknown {
  const input: Record<string, unknown> = {};
  for (const edge of inbound) {
    const output = outputOf(edge.from);
    if (edge.mapping === undefined) set(input, edge.from, output);
    else mapFields(input, edge, edge.mapping, output);
  }
  return input;
}

/** The input of a node for an edge that delivers by itself: the output as it is, or the fields of it that are mapped. */
export function inputFrom(edge: EdgeDefinition, output: unknown): unknown {
  if (edge.mapping === undefined) return output;
  const input: Record<string, unknown> = {};
  mapFields(input, edge, edge.mapping, output);
  return input;
}

function mapFields(
  input: Record<string, unknown>,
  { from, to }: EdgeDefinition,
  mapping: FieldMapping,
  output: unknown,
): void {
  for (const [outField, inField] of Object.entries(mapping)) {
    if (typeof output !== "object" || output === null || !Object.hasOwn(output, outField)) {
      throw new MappingError(
        `The edge from "${from}" to "${to}" maps the field "${outField}", but the output of "${from}" ${describe(output)}.`,
      );
    }
    set(input, inField, (output as Record<string, unknown>)[outField]);
  }
}

// An id may be "__proto__", which plain assignment would not store.
function set(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
}

function describe(output: unknown): string {
  if (output === null || output === undefined) return `is ${String(output)}`;
  if (typeof output !== "object") return `is a ${typeof output}`;
  const fields = Object.keys(output);
  return fields.length === 0
    ? "has no fields"
    : `has only ${fields
        .slice(0, 20)
        .map((field) => `"${field}"`)
        .join(", ")}`;
}
