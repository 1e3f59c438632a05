import { expect, test } from "vitest";
import { pathsBelow, read } from "./repository.ts";
import { lineAt, parse, walk } from "./syntax.ts";

/** Where a declaration says `any`, which would turn off the checks of everybody who uses it. */
function anysIn(path: string, text: string): string[] {
  const { program, errors } = parse(path, text);
  if (errors.length > 0) return [`${path} cannot be read: ${errors[0]!.message}`];
  const found: string[] = [];
  walk(program, (node) => {
    if (node.type === "TSAnyKeyword") found.push(`${path}:${lineAt(text, node.start)}`);
  });
  return found;
}

test("no type of the package is any, written or inferred", () => {
  const paths = pathsBelow("dist", /\.d\.ts$/);
  expect(paths.length).toBeGreaterThan(50);
  expect(paths.flatMap((path) => anysIn(path, read(path)))).toEqual([]);
});

test.each([
  "export declare function parse(text: string): any;",
  "export interface Options {\n    hook?: (...args: any[]) => void;\n}",
  "export type Deep = Promise<Map<string, any>>;",
  "export declare class A<T = any> {\n}",
])("%s: is found", (text) => {
  expect(anysIn("a.d.ts", text)).toHaveLength(1);
});

test("a comment, a name and a text that say any are not", () => {
  expect(anysIn("a.d.ts", '/** any */\nexport declare const any: "any";\n')).toEqual([]);
});
