import { parseSync } from "oxc-parser";

/** A node of a syntax tree (ESTree, with TypeScript's nodes beside it), as far as the guards need to know it. */
export interface Node {
  type: string;
  start: number;
  end: number;
  [key: string]: unknown;
}

interface Comment {
  /** `Line` or `Block`. */
  type: string;
  /** The text between the marks. */
  value: string;
  start: number;
  end: number;
}

export interface Parsed {
  text: string;
  program: Node;
  comments: Comment[];
  /** What the parser did not understand. The tree is then not to be trusted. */
  errors: { message: string; offset: number }[];
}

export function parse(path: string, text: string): Parsed {
  const { program, comments, errors } = parseSync(path, text, { sourceType: "module" });
  return {
    text,
    program: program as unknown as Node,
    comments,
    errors: errors.map(({ message, labels }) => ({ message, offset: labels[0]?.start ?? 0 })),
  };
}

export function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && typeof (value as { type?: unknown }).type === "string";
}

/** The nodes right below one, in the order of the text. */
export function childrenOf(node: Node): Node[] {
  return Object.values(node)
    .flatMap((value) => (Array.isArray(value) ? (value as unknown[]) : [value]))
    .filter(isNode);
}

/**
 * Calls `visit` with each node, from the outside in, and with the nodes around it, innermost first. A subtree for
 * which it returns false is left out.
 */
export function walk(
  node: Node,
  visit: (node: Node, around: readonly Node[]) => boolean | void,
  around: readonly Node[] = [],
): void {
  if (visit(node, around) === false) return;
  const inner = [node, ...around];
  for (const child of childrenOf(node)) walk(child, visit, inner);
}

/** The text that an expression is bound to have: a string, or a template without holes. */
export function staticText(node: unknown): string | undefined {
  if (!isNode(node)) return undefined;
  if (node.type === "Literal" && typeof node.value === "string") return node.value;
  if (node.type !== "TemplateLiteral" || (node.expressions as Node[]).length > 0) return undefined;
  return (node.quasis as { value: { cooked: string } }[])[0]?.value.cooked;
}

/** An expression without the parentheses and type assertions around it. */
export function bare(node: unknown): Node | undefined {
  let inner = node;
  while (isNode(inner) && /^(ParenthesizedExpression|TS.*Expression|TSTypeAssertion)$/.test(inner.type))
    inner = inner.expression;
  return isNode(inner) ? inner : undefined;
}

/** The name of an identifier, or undefined for any other node. */
export function nameOf(node: unknown): string | undefined {
  return isNode(node) && node.type === "Identifier" ? (node.name as string) : undefined;
}

/** The property that a member expression names: `x.name`, `x["name"]`; undefined where it is worked out. */
export function memberName(node: Node): string | undefined {
  return node.computed === true ? staticText(node.property) : nameOf(node.property);
}

/** The line of an offset, from 1. */
export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}
