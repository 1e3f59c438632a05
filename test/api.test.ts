import { describe, expect, test } from "vitest";
import { publicNames } from "./public-names.ts";
import { read } from "./repository.ts";

const { exports } = JSON.parse(read("package.json")) as {
  exports: Record<string, { types: string } | string>;
};

const ENTRIES = Object.entries(exports).flatMap(([subpath, target]) =>
  typeof target === "string"
    ? []
    : [[subpath === "." ? "holdfast" : `holdfast/${subpath.slice(2)}`, target.types] as const],
);

const apiOf = (types: string): Map<string, string> => publicNames(types.replace("./", ""), read);

test("the public API has the entries that package.json exports", () => {
  expect(ENTRIES.map(([name]) => name)).toEqual(["holdfast", "holdfast/policies", "holdfast/testing"]);
});

// `npm run api` writes these files anew. A change in one is a change of the public API and belongs in CHANGELOG.md.
test.each(ENTRIES)("%s exports what is committed", async (name, types) => {
  const policies = name === "holdfast/policies" ? new Map<string, string>() : apiOf("dist/policies/index.d.ts");
  const sections = [...apiOf(types)].map(([title, text]) =>
    policies.get(title) === text ? `${title}: as in holdfast/policies` : `${title}\n\n${text}`,
  );
  await expect(`${sections.join("\n\n")}\n`).toMatchFileSnapshot(`api/${name.replace("/", "-")}.txt`);
});

describe("the text of an API", () => {
  const FILES: Record<string, string> = {
    "index.d.ts": 'export { A as Renamed, type B } from "./a.js";\nexport * from "./c.js";\n',
    "a.d.ts":
      'import type { Hidden } from "./c.js";\n/** A. */\nexport declare class A {\n    #private;\n    /** Of it. */\n    readonly b: B;\n}\nexport interface B extends Hidden {\n    option: string;\n}\n',
    "c.d.ts":
      "interface Hidden {\n    deep: Deeper | Promise<string>;\n}\ntype Deeper = 1;\ntype Unseen = 2;\nexport declare const c: number;\nexport type { Hidden };\nexport declare function f(): void;\nexport declare function f(x: number): void;\n",
  };
  const api = (changes: Record<string, string> = {}): Record<string, string> =>
    Object.fromEntries(publicNames("index.d.ts", (path) => ({ ...FILES, ...changes })[path]!));

  test("has every public name with its type, and what its types mention", () => {
    expect(api()).toEqual({
      B: "interface B extends Hidden {\n    option: string;\n}",
      Hidden: "interface Hidden {\n    deep: Deeper | Promise<string>;\n}",
      Renamed: "class A {\n    #private;\n    readonly b: B;\n}",
      c: "const c: number;",
      f: "function f(): void;\nfunction f(x: number): void;",
      "~ Deeper of c.d.ts": "type Deeper = 1;",
    });
  });

  test.each([
    ["an option that is renamed", "a.d.ts", "option: string", "choice: string"],
    ["a type that changes in a part that is not exported", "c.d.ts", "Deeper = 1", "Deeper = 2"],
    ["a name that is gone", "c.d.ts", "export declare const c: number;", ""],
    ["an overload that is gone", "c.d.ts", "export declare function f(x: number): void;", ""],
  ])("shows %s", (_, path, before, after) => {
    expect(api({ [path]: FILES[path]!.replace(before, after) })).not.toEqual(api());
  });

  test.each([
    ["another comment", "a.d.ts", "Of it.", "About it."],
    ["what nobody can see", "c.d.ts", "Unseen = 2", "Unseen = 3"],
  ])("does not show %s", (_, path, before, after) => {
    expect(api({ [path]: FILES[path]!.replace(before, after) })).toEqual(api());
  });
});
