import { bare, childrenOf, isNode, lineAt, nameOf, type Node, parse, walk } from "./syntax.ts";

/** A block whose claims report themselves when it runs. */
export interface Instrumented {
  code: string;
  /** Whether the parser understood it. */
  readable: boolean;
  /** The lines of the claims within the block, from 1, by their numbers. */
  claims: number[];
  /** Claims that cannot be checked as they stand, with their lines. */
  problems: { line: number; what: string }[];
}

/** Where the functions come from that a claim calls: the name of the parameter object in the copy of a block. */
const PRELUDE = (reporter: string): string => `import * as __claims from ${JSON.stringify(reporter)}; `;

/** Something that a reader takes for a claim, though it is spelled differently. */
const LOOKS_LIKE_A_CLAIM = /^\s*(=+>|-+>|→|⇒|throws\b)/;
const VALUE = /^ => (\S.*)$/;
const THROWS = /^ throws ("(?:[^"\\]|\\.)+")$/;

/**
 * The code of a block in which each `// => value` and `// throws "text"` behind a statement is checked when it is
 * reached. Lines stay where they are. `reporter` is the module with `value`, `throws`, `throwsLater` and `end`.
 */
export function instrument(code: string, reporter: string): Instrumented {
  const { program, comments, errors } = parse("block.ts", code);
  const claims: number[] = [];
  const problems = errors.map(({ message, offset }) => ({
    line: lineAt(code, offset),
    what: `cannot be read: ${message}`,
  }));
  const edits: { at: number; text: string }[] = [{ at: 0, text: PRELUDE(reporter) }];
  for (const { type, value: text, start } of errors.length === 0 ? comments : []) {
    if (!LOOKS_LIKE_A_CLAIM.test(text)) continue;
    const line = lineAt(code, start);
    const [, expected] = VALUE.exec(text.trimEnd()) ?? [];
    const [, message] = THROWS.exec(text.trimEnd()) ?? [];
    const statement = statementBefore(program, code, start);
    const found =
      type !== "Line" || (expected === undefined && message === undefined)
        ? `"${text.trim()}" looks like a claim. Write // => value or // throws "text".`
        : statement === undefined
          ? "the claim stands behind no statement. Put it on the last line of the one that it is about."
          : message !== undefined
            ? throwing(statement, claims.length, message)
            : valued(statement, claims.length, expected!);
    if (typeof found === "string") problems.push({ line, what: found });
    else {
      edits.push(...found);
      claims.push(line);
    }
  }
  edits.push({ at: code.length, text: "\n;__claims.end();" });
  return { code: edited(code, edits), readable: errors.length === 0, claims, problems };
}

/** The innermost statement that ends on the line of a comment, before it, with nothing between. */
function statementBefore(program: Node, code: string, offset: number): Node | undefined {
  let found: Node | undefined;
  walk(program, (node) => {
    if (node.start >= offset) return false;
    if (!/Statement$|Declaration$/.test(node.type) || node.end > offset) return;
    if (/^[^\S\n]*$/.test(code.slice(node.end, offset)) && (found === undefined || node.end >= found.end)) found = node;
  });
  return found;
}

type Edit = { at: number; text: string };

/** The edits that let a statement report its value, or what is wrong with the claim. */
function valued(statement: Node, claim: number, expected: string): Edit[] | string {
  if (parse("value.ts", `(${expected}\n);`).errors.length > 0) return `"${expected}" is no value that can be compared.`;
  const value = valueOf(statement);
  if (typeof value === "string") return value;
  return [
    { at: value.start, text: `__claims.value(${claim}, ` },
    { at: value.end, text: `, () => (${expected}))` },
  ];
}

/** The expression whose value a reader takes the claim to be about. */
function valueOf(statement: Node): Node | string {
  if (statement.type === "VariableDeclaration") {
    const [only, ...others] = statement.declarations as Node[];
    return others.length === 0 && isNode(only?.init) ? only.init : "a claim needs a declaration of one variable.";
  }
  if (statement.type === "ReturnStatement" && isNode(statement.argument)) return statement.argument;
  if (statement.type !== "ExpressionStatement") return `a claim cannot stand behind a ${statement.type}.`;
  const expression = bare(statement.expression)!;
  const callee = bare(expression.callee);
  if (callee?.type !== "MemberExpression" || nameOf(callee.object) !== "console") return expression;
  const [shown, ...others] = expression.arguments as Node[];
  return others.length === 0 && shown !== undefined && shown.type !== "SpreadElement"
    ? shown
    : "a claim needs a console.log of one value.";
}

/** The edits that let a statement report that it threw. What it declares is out of reach afterwards, as it would be. */
function throwing(statement: Node, claim: number, message: string): Edit[] | string {
  if (!/^(Expression|Throw|Block|If|For|ForOf|ForIn|While|Try)Statement$|^VariableDeclaration$/.test(statement.type))
    return `a claim cannot stand behind a ${statement.type}.`;
  const waits = containsAwait(statement);
  return [
    {
      at: statement.start,
      text: waits ? `await __claims.throwsLater(${claim}, async () => {` : `__claims.throws(${claim}, () => {`,
    },
    { at: statement.end, text: `}, ${message});` },
  ];
}

/** Whether a statement awaits something itself, and not only in a function within it. */
function containsAwait(node: Node): boolean {
  if (node.type === "AwaitExpression" || (node.type === "ForOfStatement" && node.await === true)) return true;
  return !/Function/.test(node.type) && childrenOf(node).some(containsAwait);
}

// From the back to the front, so that no edit moves the place of another. Those at one place keep their order.
function edited(code: string, edits: readonly Edit[]): string {
  let text = code;
  for (const { at, text: added } of [...edits].reverse().sort((a, b) => b.at - a.at))
    text = text.slice(0, at) + added + text.slice(at);
  return text;
}
