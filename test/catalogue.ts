import { bare, isNode, nameOf, type Node, parse, staticText, walk } from "./syntax.ts";

/** Something that a page must list: an event or an error code, with the names of its fields in order. */
export interface Entry {
  key: string;
  /** The class of an error; for an event, nothing. */
  className?: string;
  fields: string[];
}

/** The members of `EventTable` in a source file, with the fields of each. */
export function eventsIn(source: string): Entry[] {
  const types = new Map<string, Node>();
  const { program } = parse("events.ts", source);
  walk(program, (node) => {
    if (node.type === "TSInterfaceDeclaration") types.set(nameOf(node.id)!, node);
  });
  const fieldsOf = (type: unknown): string[] => {
    if (!isNode(type)) return [];
    if (type.type === "TSIntersectionType") return (type.types as Node[]).flatMap(fieldsOf);
    if (type.type === "TSTypeReference" || type.type === "TSInterfaceHeritage")
      return fieldsOf(types.get(nameOf(type.typeName ?? type.expression)!));
    if (type.type === "TSTypeLiteral") return (type.members as Node[]).map(keyOf);
    return [...(type.extends as Node[]).flatMap(fieldsOf), ...((type.body as Node).body as Node[]).map(keyOf)];
  };
  const table = (types.get("EventTable")!.body as Node).body as Node[];
  return table.map((member) => ({
    key: keyOf(member),
    fields: fieldsOf((member.typeAnnotation as Node).typeAnnotation),
  }));
}

/** Every code with which some source files make an error, the class that has it, and the fields of that class. */
export function errorsIn(sources: readonly string[]): Entry[] {
  const entries = new Map<string, Entry>();
  for (const source of sources) {
    walk(parse("source.ts", source).program, (node, around) => {
      const callee = bare(node.callee);
      const isNew = node.type === "NewExpression" && /^(HoldfastError|RefusedError)$/.test(nameOf(callee) ?? "");
      if (!isNew && callee?.type !== "Super") return;
      const owner = around.find(({ type }) => type === "ClassDeclaration");
      if (!isNew && !nameOf(owner?.superClass)?.endsWith("Error")) return;
      const code = staticText((node.arguments as Node[])[0]);
      if (code === undefined) return;
      const fields = isNew
        ? []
        : ((owner!.body as Node).body as Node[]).filter(({ type }) => type === "PropertyDefinition").map(keyOf);
      entries.set(code, { key: code, className: isNew ? nameOf(callee)! : nameOf(owner!.id)!, fields });
    });
  }
  return [...entries.values()];
}

function keyOf(member: Node): string {
  return nameOf(member.key) ?? staticText(member.key)!;
}

/**
 * Complaints about a page that lists entries in tables: a row for each, with the key in its first cell, for errors the
 * class in the second, and the fields in the next, all in backquotes; no other row; and no entry twice.
 */
export function wrongCatalogue(page: string, entries: readonly Entry[]): string[] {
  const complaints: string[] = [];
  const known = new Map(entries.map((entry) => [entry.key, entry]));
  const seen = new Set<string>();
  for (const line of page.split("\n")) {
    const cells = line.startsWith("| `") ? line.split("|").slice(1, -1) : [];
    const [key = "", ...others] = cells.map((cell) =>
      [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!).join(" "),
    );
    if (cells.length === 0) continue;
    const entry = known.get(key);
    if (entry === undefined) complaints.push(`${key} is listed, but does not exist.`);
    if (entry === undefined) continue;
    if (seen.has(key)) complaints.push(`${key} is listed twice.`);
    seen.add(key);
    const wanted = [...(entry.className === undefined ? [] : [entry.className]), entry.fields.join(" ")];
    for (const [index, text] of wanted.entries())
      if (others[index] !== text)
        complaints.push(`${key} is listed with "${others[index] ?? ""}" instead of "${text}".`);
    if ((cells.at(-1) ?? "").trim() === "") complaints.push(`${key} is listed without a word about it.`);
  }
  for (const { key } of entries) if (!seen.has(key)) complaints.push(`${key} is not listed.`);
  return complaints;
}
