import { childrenOf, type Node, parse } from "../syntax.ts";
import { read } from "../repository.ts";

/** A type or value that a source file declares, by its name. */
function declared(path: string, name: string): Node {
  const pending: Node[] = [parse(path, read(path)).program];
  for (let node; (node = pending.pop()) !== undefined;) {
    if ((node["id"] as Node | undefined)?.["name"] === name) return node;
    pending.push(...childrenOf(node));
  }
  throw new Error(`${path} declares no ${name}.`);
}

/** Each kind of event and each of its fields, as "kind.field", by the type that the source declares. */
export function eventFields(): string[] {
  const path = "src/workflow/run-state.ts";
  const fieldsOf = (node: Node): [name: string, type: Node][] => {
    switch (node.type) {
      case "TSIntersectionType":
        return (node["types"] as Node[]).flatMap(fieldsOf);
      case "TSParenthesizedType":
        return fieldsOf(node["typeAnnotation"] as Node);
      case "TSTypeReference":
        return fieldsOf(declared(path, (node["typeName"] as Node)["name"] as string)["body"] as Node);
      case "TSTypeLiteral":
      case "TSInterfaceBody":
        return ((node["members"] ?? node["body"]) as Node[]).map((member) => [
          (member["key"] as Node)["name"] as string,
          (member["typeAnnotation"] as Node)["typeAnnotation"] as Node,
        ]);
      default:
        throw new Error(`The type of events has a part that is not understood: ${node.type}.`);
    }
  };
  const union = declared(path, "RunEvent")["typeAnnotation"] as Node;
  return (union["types"] as Node[]).flatMap((member) => {
    const fields = fieldsOf(member);
    const [, kind] = fields.find(([name]) => name === "kind")!;
    return fields.map(([name]) => `${String((kind["literal"] as Node)["value"])}.${name}`);
  });
}

/** The kinds of values that the codec can read, by its source: what stands behind "$" in the text. */
export function valueKinds(): string[] {
  const keysOf = (name: string): string[] => {
    let init = declared("src/core/codec.ts", name)["init"] as Node;
    while (init.type.startsWith("TS")) init = init["expression"] as Node;
    const properties = init["properties"] as Node[];
    return properties.flatMap((property) =>
      property.type === "SpreadElement" ? [] : [(property["key"] as Node)["name"] as string],
    );
  };
  return ["type", ...keysOf("REVIVERS"), ...keysOf("TYPED_ARRAYS")];
}
