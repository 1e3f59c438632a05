import { lineAt, memberName, nameOf, type Node, parse, staticText, walk } from "./syntax.ts";

/** A clause of the contract, and whether this version builds it, at least in part. */
export interface Clause {
  id: string;
  built: boolean;
}

/** The clauses of the page, in its order: a number in bold at the start of a line, with its mark on the line below. */
export function clausesOf(page: string): Clause[] {
  return [...page.matchAll(/^\*\*(C\d+\.\d+)\*\*[^\S\n]*(\n\*\(Planned\.\)\*)?/gm)].map(([, id, planned]) => ({
    id: id!,
    built: planned === undefined,
  }));
}

/** The clauses that a title cites at its end: `… (C2.3)` or `… (C2.3, C3.1)`. */
const CITATION = /\((C\d+\.\d+(?:, C\d+\.\d+)*)\)$/;
/** A number of a clause anywhere, also where the form above is missed by a character. */
const NUMBER = /\bC\d+\.\d+\b/g;

/**
 * Complaints about a contract and the tests that cite it, by path: a clause that is built and stands in no title, and a
 * title that cites an unknown clause, or one in another form than at its end. A test that does not run cites nothing,
 * so leaving one out, or all others, is a complaint too.
 */
export function contractClauses(page: string, tests: ReadonlyMap<string, string>): string[] {
  const complaints: string[] = [];
  const clauses = clausesOf(page);
  const known = new Set(clauses.map(({ id }) => id));
  const cited = new Set<string>();
  for (const { id } of clauses.filter(({ id }, index) => clauses.findIndex((other) => other.id === id) !== index))
    complaints.push(`the contract has two clauses ${id}.`);
  for (const [path, text] of tests) {
    const complain = (node: Node, what: string): void =>
      void complaints.push(`${path}:${lineAt(text, node.start)} ${what}`);
    walk(parse(path, text).program, (node) => {
      const held = heldBack(node);
      if (held !== undefined) complain(node, `has a test with .${held}.`);
      const title = titleOf(node);
      if (title === undefined) return;
      const inForm = CITATION.exec(title)?.[1]?.split(", ") ?? [];
      for (const id of title.match(NUMBER) ?? []) {
        if (!known.has(id)) complain(node, `cites the unknown clause ${id}.`);
        else if (!inForm.includes(id)) complain(node, `names ${id}, but not at its end as (${id}).`);
        else cited.add(id);
      }
    });
  }
  for (const { id, built } of clauses)
    if (built && !cited.has(id)) complaints.push(`no title of a test cites ${id}, which is built.`);
  return complaints;
}

/** How a test is held back, if it is. A condition that the code works out, as in `skipIf`, is none. */
function heldBack(node: Node): string | undefined {
  if (node.type !== "MemberExpression" || !/^(it|test|describe|bench)$/.test(nameOf(rootOf(node)) ?? ""))
    return undefined;
  const member = memberName(node);
  return member !== undefined && /^(skip|only|todo|fails)$/.test(member) ? member : undefined;
}

function rootOf(node: Node): Node {
  let root = node;
  while (root.type === "MemberExpression" || root.type === "CallExpression")
    root = (root.type === "MemberExpression" ? root.object : root.callee) as Node;
  return root;
}

/**
 * The text of a string that may be a title: any that ends like one, since tables hold titles too, and whatever stands
 * first in a call of `test`, `it` or `describe`. Of a template it is the text behind the last hole.
 */
function titleOf(node: Node): string | undefined {
  if (node.type === "CallExpression" && /^(it|test|describe)$/.test(nameOf(rootOf(node)) ?? "")) {
    const text = lastText((node.arguments as Node[])[0]);
    return text !== undefined && CITATION.test(text) ? undefined : text;
  }
  const text = lastText(node);
  return text !== undefined && CITATION.test(text) ? text : undefined;
}

function lastText(node: Node | undefined): string | undefined {
  if (node?.type !== "TemplateLiteral") return staticText(node);
  return (node.quasis as { value: { cooked: string } }[]).at(-1)?.value.cooked;
}
